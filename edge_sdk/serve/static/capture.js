import {Away, Refused, ask, byId, number, page, pressed, said, show, sure, wait} from './common.js';
import {drawLimit, drawShare} from './charts.js';

const here = `/api/slide/${page.slide}`;
const GATES = ['focus', 'exposure', 'density', 'duplicate', 'stain'];
const SIGNS = {pass: 'pass', fail: 'fail', 'not judged': 'none'};
const PAGED = ['folder', 'simulated'];
const SVG = 'http://www.w3.org/2000/svg';

let state = null;  // the newest that was read
let onScreen = null;  // `live` of the picture that is seen
let lastField = null;
let wasReady = false;
let used = null;  // number of the picture that was taken or skipped: it is seen until the next one
let acting = false;
let leaving = false;
let nudge = () => {};

// --- what the server says, on the page

const instruction = words => page.instructions[words] || words;

function light(gate) {
  const item = document.createElement('li');
  item.dataset.gate = gate;
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'use'));
  const name = document.createElement('b');
  name.textContent = said(`light.${gate}`);
  item.append(svg, name, document.createElement('span'));
  byId('lights').append(item);
  return item;
}
const lamps = Object.fromEntries(GATES.map(gate => [gate, light(gate)]));

function lamp(gate, verdict) {
  const item = lamps[gate] || (lamps[gate] = light(gate));
  if (item.dataset.verdict === verdict) return;
  item.dataset.verdict = verdict;
  item.querySelector('use').setAttribute('href', `#sign-${SIGNS[verdict]}`);
  item.lastChild.textContent = said(`light.${verdict}`);
}

const wrong = live => live.lights.filter(l => l.verdict === 'fail');

function paintLights(live) {
  const given = Object.fromEntries((live ? live.lights : []).map(l => [l.gate, l.verdict]));
  for (const gate of new Set([...GATES, ...Object.keys(given)])) {
    lamp(gate, given[gate] || 'not judged');
  }
  const todo = live ? wrong(live).map(l => [said(`light.${l.gate}`), instruction(l.instruction)])
    : [];
  const words = todo.length ? todo.map(t => t.join(': ')).join('\n')
    : live && live.green ? said('light.all') : '';
  const box = byId('todo');
  if (box.dataset.words === words) return;
  box.dataset.words = words;
  box.className = todo.length ? '' : 'quiet';  // green is seen by the lights
  box.replaceChildren(...(todo.length ? todo : words ? [['', words]] : []).map(([name, what]) => {
    const line = document.createElement('p');
    if (name) {
      line.className = 'red';
      const strong = document.createElement('b');
      strong.textContent = name;
      line.append(strong, ' ');
    }
    line.append(what);
    return line;
  }));
}

function paintCounts() {
  const {counts, last} = state;
  show(byId('counted'), said('capture.of',
    {counted: number(counts.counted), target: number(counts.target)}));
  show(byId('flagged'), number(counts.flagged));
  byId('progress').max = counts.target;
  byId('progress').value = Math.min(counts.counted, counts.target);
  show(byId('fields'), said('capture.fields',
    {accepted: number(counts.fields_accepted), rejected: number(counts.fields_rejected)}));
  drawShare(state);
  drawLimit(state);
  show(byId('needed'), state.limits && counts.counted
    ? said('capture.needed', {flags: number(state.limits.flags_needed)}) : '');
  const became = state.ready_to_finish && !wasReady;
  wasReady = state.ready_to_finish;
  if (last && last.field !== lastField) {
    lastField = last.field;
    tell(last.accepted
      ? said('capture.last.counted', {field: number(last.field), cells: number(last.cells),
        flagged: number(last.flagged)})
      : said('capture.last.rejected', {field: number(last.field),
        why: last.instructions.map(instruction).join(' ')}), !last.accepted);
  }
  if (became) tell(`${byId('said').textContent} ${said('capture.ready')}`);
}

function paintButtons() {
  const live = onScreen && onScreen.number !== used ? onScreen : null, taking = acting === 'take';
  const ready = state !== null && state.ready_to_finish;
  const take = byId('take');
  take.setAttribute('aria-disabled', String(!live || !live.green || acting !== false || ready));
  show(byId('take-word'), said(taking ? 'capture.taking' : 'capture.take'));
  if (!state) return;
  byId('automatic').setAttribute('aria-checked', String(state.automatic));
  byId('automatic').setAttribute('aria-disabled', String(ready));
  byId('skip').hidden = !PAGED.includes(state.camera.name);
  byId('skip').setAttribute('aria-disabled', String(!live || acting !== false));
  document.body.classList.toggle('ready', ready || state.camera.status === 'ended');
}

function paintCamera() {
  const {camera} = state;
  const words = camera.status === 'live' && byId('live') ? ''
    : state.ready_to_finish ? said('capture.ready')
      : [said(`camera.${camera.status === 'live' ? 'waiting' : camera.status}`), camera.message]
        .filter(Boolean).join(' ');
  show(byId('camera-says'), words);
  byId('camera-says').hidden = !words;
}

let troubled = '';

/** What is wrong for as long as it is; it takes its own words back, and no others. */
function trouble(words) {
  if (words) tell(words, true);
  else if (troubled && byId('bad').textContent === troubled) tell(byId('said').textContent);
  troubled = words;
}

function tell(words, bad = false) {
  const [now, other] = bad ? [byId('bad'), byId('said')] : [byId('said'), byId('bad')];
  show(now, words);
  now.hidden = false;
  other.hidden = true;
  if (bad) show(other, '');
}

// The picture and its lights change together: what is taken is what is seen.
async function picture(live) {
  if (!live) {
    // Dimmed until the next one comes; gone where none will.
    const coming = state.camera.status === 'live' && !state.ready_to_finish;
    if (coming) byId('live')?.classList.add('old'); else byId('live')?.remove();
    onScreen = null;
    return;
  }
  if (onScreen && onScreen.number === live.number) { onScreen = live; return; }
  const image = new Image();
  image.src = `${here}/live.jpg?n=${live.number}`;
  try { await image.decode(); } catch (e) { return; }  // there is a newer one by now
  image.id = 'live';
  image.alt = said('capture.live');
  byId('live')?.remove();
  byId('picture').prepend(image);
  onScreen = live;
}

async function read() {
  state = await ask(`${here}/state`);
  if (state.state === 'review' || state.state === 'reported') {
    leaving = true;
    location.assign(`/slide/${page.slide}`);
    return;
  }
  const ended = ['ended', 'gone'].includes(state.camera.status);
  await picture(ended ? null : state.live);
  paintLights(onScreen);
  paintCounts();
  paintCamera();
  paintButtons();
  trouble(state.error || '');
}

async function watch() {
  let pause = 0;
  while (!leaving) {
    if (!document.hidden) {
      try {
        await read();
        pause = 450;
      } catch (e) {
        pause = Math.min(4000, pause + 700);
        if (e instanceof Refused) trouble(said('failed', {error: e.message}));
        else if (!(e instanceof Away)) throw e;
      }
    }
    await Promise.race([wait(pause), new Promise(done => { nudge = done; })]);
  }
}
document.addEventListener('visibilitychange', () => nudge());

// --- what a person does

/** One action after the other; what the server refuses is said, and the page brought up to date. */
async function act(name, path, body, refused) {
  if (acting !== false || leaving) return null;
  acting = name;
  paintButtons();
  try {
    return await ask(`${here}/${path}`, body);
  } catch (e) {
    if (e instanceof Refused) {
      tell(e.status === 409 && refused ? refused : said('failed', {error: e.message}), true);
    } else if (!(e instanceof Away)) throw e;
    return null;
  } finally {
    acting = false;
    paintButtons();
    nudge();
  }
}

async function take() {
  if (!onScreen || onScreen.number === used || acting !== false || state.ready_to_finish) {
    if (state && state.ready_to_finish) tell(said('capture.ready'));
    return;
  }
  if (!onScreen.green) {
    const why = wrong(onScreen).map(l => instruction(l.instruction)).join(' ');
    tell(said('capture.not ready', {why}), true);
    return;
  }
  const {number: taken} = onScreen;
  if (await act('take', 'take', {number: taken}, said('capture.overtaken'))) after(taken);
}

async function skip() {
  if (!onScreen || onScreen.number === used || acting !== false) return;
  const {number: skipped} = onScreen;
  if (!await act('skip', 'skip', {number: skipped}, said('capture.overtaken'))) return;
  after(skipped);
  tell(said('capture.skipped'));
}

function after(picture) {
  used = picture;
  paintButtons();
}

async function automatic() {
  if (!state || state.ready_to_finish) return;
  const on = !state.automatic;
  const done = await act('automatic', 'automatic', {on});
  if (!done) return;
  state.automatic = on;
  paintButtons();
  tell(said(on ? 'capture.auto on' : 'capture.auto off'));
}

async function finish() {
  if (!state) return;
  const {counted, target} = state.counts;
  const values = {counted: number(counted), target: number(target)};
  const early = counted < target;
  const yes = await sure(said(early ? 'capture.finish.early' : 'capture.finish.ready'),
    said(early ? 'capture.finish.why' : 'capture.finish.ready why', values),
    said(early ? 'capture.finish.go on' : 'cancel'), said('capture.finish'));
  if (!yes) return;
  const done = await act('finish', 'finish', {counted});
  if (!done) return;
  leaving = true;
  location.assign(`/slide/${page.slide}/review`);
}

pressed('take', take);
pressed('skip', skip);
pressed('automatic', automatic);
pressed('finish', finish);
document.addEventListener('keydown', e => {
  if (e.key !== ' ' || e.repeat || e.ctrlKey || e.altKey || e.metaKey || byId('ask').open) return;
  if (e.target.closest('button, a, input')) return;
  e.preventDefault();
  take();
});

// The screen stays on while slides are moved by hand.
async function awake() {
  if ('wakeLock' in navigator && !document.hidden) {
    await navigator.wakeLock.request('screen').catch(() => {});
  }
}
document.addEventListener('visibilitychange', awake);
awake();
paintLights(null);
watch();
