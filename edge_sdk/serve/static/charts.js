// Two bars with numbers: the flagged share with its interval, and the limit of detection.

import {byId, number, said, show} from './common.js';

const SVG = 'http://www.w3.org/2000/svg';
const [LEFT, RIGHT, TOP, HIGH] = [14, 326, 20, 16];  // of the bar, in units of the drawing

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function fresh(holder, words, box) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', box);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', words);
  draw(svg, 'rect', {x: LEFT, y: TOP, width: RIGHT - LEFT, height: HIGH, class: 'track'});
  holder.replaceChildren(svg);
  return svg;
}

function ticks(svg, places) {
  places.forEach(([x, words], i) => {
    draw(svg, 'line', {x1: x, x2: x, y1: TOP + HIGH, y2: TOP + HIGH + 4, class: 'tick'});
    const anchor = places.length > 1 && x > RIGHT - 6 ? 'end' : x < LEFT + 6 ? 'start' : 'middle';
    const shift = anchor === 'end' ? RIGHT + 8 : anchor === 'start' ? LEFT - 8 : x;
    draw(svg, 'text', {x: shift, y: TOP + HIGH + 17, 'text-anchor': anchor}, words);
  });
}

/** A step of 1, 2 or 5 times a power of ten that goes into `most` about four times. */
function step(most) {
  const power = 10 ** Math.floor(Math.log10(most / 4));
  return [1, 2, 5, 10].map(n => n * power).find(s => most / s <= 5);
}

/** Percent with as many decimals as tell it from its neighbours. */
const percent = (share, decimals = 2) => number(100 * share, decimals);

export function drawShare(state) {
  const {share, counts, limits} = state;
  const holder = byId('share');
  if (!share || !counts.counted) {
    show(byId('share-said'), said('capture.share.none'));
    holder.replaceChildren();
    return;
  }
  const told = {share: percent(share.value), low: percent(share.low), high: percent(share.high)};
  const words = said('capture.share.said', told);
  show(byId('share-said'), said('capture.share.short', told));
  const mark = limits ? limits.flags_needed / counts.counted : null;
  const near = mark !== null && mark <= 4 * share.high;
  const most = 100 * Math.max(share.high, near ? mark : 0) * 1.06;
  const every = step(most), top = Math.ceil(most / every) * every;
  const x = value => LEFT + (RIGHT - LEFT) * Math.min(1, 100 * value / top);
  const svg = fresh(holder, words, '0 0 340 56');
  draw(svg, 'rect', {x: x(share.low), y: TOP, height: HIGH, class: 'interval',
    width: Math.max(2, x(share.high) - x(share.low))});
  if (near) {
    const at = x(mark);
    draw(svg, 'line', {x1: at, x2: at, y1: TOP - 4, y2: TOP + HIGH + 4, class: 'mark'});
    draw(svg, 'text', {x: Math.min(Math.max(at, 40), 300), y: TOP - 7, 'text-anchor': 'middle',
      class: 'strong'}, said('capture.mark', {flags: number(limits.flags_needed)}));
  }
  draw(svg, 'circle', {cx: x(share.value), cy: TOP + HIGH / 2, r: 6, class: 'point'});
  const decimals = Math.max(0, -Math.floor(Math.log10(every)));
  const places = [];
  for (let i = 0; i * every <= top + every / 9; i++) {
    places.push([x(i * every / 100), `${number(i * every, decimals)} %`]);
  }
  ticks(svg, places);
}

/** To two significant digits, upwards, as reports have it. */
function roundUp(value) {
  const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
  return Math.ceil(value / unit - 1e-9) * unit;
}

const [FEWEST, DECADES] = [2, 4];  // 100 to 1,000,000 per uL

export function drawLimit(state) {
  const {limits} = state;
  const holder = byId('limit');
  const limit = limits ? limits.detection_per_ul : null;
  const why = !state.no_limits_why ? ''
    : said(state.counts.counted ? 'why.no site' : 'capture.share.none');
  show(byId('no-limits'), why);
  byId('no-limits').hidden = !why;
  byId('limit-key').hidden = limit === null;
  if (limit === null) {
    show(byId('limit-said'), said('capture.detection.none'));
    holder.replaceChildren();
    return;
  }
  const words = said('capture.detection.now', {limit: number(roundUp(limit))});
  show(byId('limit-said'), words);
  const x = decade => LEFT + (RIGHT - LEFT) * Math.min(1, Math.max(0, (decade - FEWEST) / DECADES));
  const at = x(Math.log10(limit));
  const svg = fresh(holder, words, '0 13 340 43');
  draw(svg, 'rect', {x: at, y: TOP, width: Math.max(0, RIGHT - at), height: HIGH, class: 'sure'});
  draw(svg, 'line', {x1: at, x2: at, y1: TOP - 5, y2: TOP + HIGH + 5, class: 'edge'});
  ticks(svg, Array.from({length: DECADES + 1},
    (_, i) => [x(FEWEST + i), number(10 ** (FEWEST + i))]));
}
