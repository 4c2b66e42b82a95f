import {Away, Refused, ask, byId, number, page, pressed, said, show, sure, wait} from './common.js';

const here = `/api/slide/${page.slide}`;
const cells = page.cells;
const grid = byId('grid');
const SIGNS = {confirmed: '\u2713 ', rejected: '\u2717 ', unsure: '? '};
let at = Math.max(0, cells.findIndex(c => !c.verdict));
let busy = Promise.resolve();
let waiting = 0;
let over = false;

const share = c => number(c.probability, 3);
const name = c => `${said('cell')} ${c.cell}, ${said('probability')} ${share(c)}, ` +
  said(`verdict.${c.verdict || 'none'}`);

cells.forEach((c, i) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.tabIndex = -1;  // one stop for Tab: within the grid the arrows move
  if (c.picture) {
    const image = document.createElement('img');
    image.src = `${here}/cell/${c.cell}.png`;
    image.alt = '';
    image.loading = 'lazy';
    button.append(image);
  }
  button.append(document.createElement('span'));
  button.addEventListener('click', () => select(i));
  grid.append(button);
  c.button = button;
  paint(c);
});

function paint(c) {
  c.button.lastChild.textContent = (SIGNS[c.verdict] || '') + share(c);
  c.button.dataset.verdict = c.verdict || '';
  c.button.setAttribute('aria-label', name(c));
  show(byId('progress'), said('review.progress',
    {done: number(cells.filter(x => x.verdict).length), all: number(cells.length)}));
}

function select(i, focus = true) {
  if (!cells.length) return;
  cells[at].button.removeAttribute('aria-current');
  cells[at].button.tabIndex = -1;
  at = Math.min(Math.max(i, 0), cells.length - 1);
  const c = cells[at], large = byId('large'), place = byId('place');
  c.button.setAttribute('aria-current', 'true');
  c.button.tabIndex = 0;
  if (focus) c.button.focus({preventScroll: true});
  c.button.scrollIntoView({block: 'nearest'});
  large.hidden = !c.picture;
  large.alt = name(c);
  if (c.picture) large.src = `${here}/cell/${c.cell}.png`; else large.removeAttribute('src');
  show(byId('facts'), `${name(c)}; ${said('field')} ${c.field}, x ${c.box[0]}, y ${c.box[1]}`);
  place.hidden = !c.size;
  if (!c.size) return;
  const [w, h] = c.size, mark = byId('mark'), field = place.firstElementChild;
  place.style.aspectRatio = `${w} / ${h}`;
  field.alt = said('place in field');
  if (field.dataset.n !== String(c.field)) {
    field.dataset.n = c.field;
    field.hidden = false;
    field.src = `${here}/field/${c.field}.png`;
  }
  mark.style.left = `${100 * c.box[0] / w}%`;
  mark.style.top = `${100 * c.box[1] / h}%`;
  mark.style.width = `${100 * c.box[2] / w}%`;
  mark.style.height = `${100 * c.box[3] / h}%`;
}
byId('place').firstElementChild.addEventListener('error', e => { e.target.hidden = true; });

function tell(words, bad = false) {
  show(byId('said'), bad ? '' : words);
  show(byId('bad'), bad ? words : '');
  byId('bad').hidden = !bad;
}

/** Sends until the server answers: a verdict says what it replaces, so twice changes nothing. */
async function stored(cell, verdict) {
  const was = cell.verdict;
  for (let pause = 700; ; pause = Math.min(4000, pause + 700)) {
    try {
      return await ask(`${here}/verdict`, {cell: cell.cell, was, now: verdict});
    } catch (e) {
      // Stored already by a request whose answer was lost.
      if (e instanceof Refused && e.status === 409 && e.body.verdicts &&
        (e.body.verdicts[cell.cell] ?? null) === verdict) return {};
      if (!(e instanceof Away)) throw e;
      tell(said('review.waiting', {left: number(waiting)}), true);
      await wait(pause);
    }
  }
}

// One request after the other.
function give(verdict) {
  if (over || !cells.length) return;
  const c = cells[at];
  waiting++;
  c.button.classList.add('unsaved');
  busy = busy.then(async () => {
    try {
      await stored(c, verdict);
      c.verdict = verdict;
      tell(said('review.saved'));
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      if (e.status === 409 && e.body.verdicts) {
        for (const x of cells) { x.verdict = e.body.verdicts[x.cell] ?? null; paint(x); }
        tell(said('review.stale'), true);
      } else tell(said('failed', {error: e.message}), true);
    } finally {
      waiting--;
      c.button.classList.remove('unsaved');
      paint(c);
      if (cells[at] === c) select(at, false);
    }
  });
  // Who works with Tab and Enter stays on the button.
  const grasped = document.activeElement.closest('.bar') !== null;
  if (verdict && at + 1 < cells.length) select(at + 1, !grasped);
}

async function finish() {
  if (over) return;
  await busy;
  const left = cells.filter(c => !c.verdict).length;
  if (left && !await sure(said('review.left.title'), said('review.left', {left: number(left)}),
    said('review.go on'), said('review.to report'))) return;
  over = true;
  enable(false);
  tell(said('review.writing'));
  for (;;) {
    try {
      location.assign((await ask(`${here}/report`, {})).url);
      return;
    } catch (e) {
      if (e instanceof Away) { await wait(2000); continue; }
      over = false;
      enable(true);
      if (!(e instanceof Refused)) throw e;
      tell(said('failed', {error: e.message}), true);
      return;
    }
  }
}

function enable(yes) {
  document.querySelectorAll('.bar button').forEach(b => { b.disabled = !yes; });
}

addEventListener('beforeunload', e => { if (waiting) e.preventDefault(); });

const across = () => getComputedStyle(grid).gridTemplateColumns.split(' ').length;
const keys = {
  '1': () => give('confirmed'), '2': () => give('rejected'), '3': () => give('unsure'),
  '0': () => give(null), ArrowRight: () => select(at + 1), ArrowLeft: () => select(at - 1),
  ArrowDown: () => select(at + across()), ArrowUp: () => select(at - across()),
  Home: () => select(0), End: () => select(cells.length - 1),
};
document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.altKey || e.metaKey || !keys[e.key] || byId('ask').open) return;
  e.preventDefault();
  keys[e.key]();
});
pressed('confirm', keys['1']);
pressed('reject', keys['2']);
pressed('unsure', keys['3']);
pressed('clear', keys['0']);
pressed('done', finish);
select(at);
new ResizeObserver(() => cells[at]?.button.scrollIntoView({block: 'nearest'})).observe(grid.parentElement);
if (!cells.length) {
  byId('none').hidden = false;
  byId('selected').hidden = true;
  for (const id of ['confirm', 'reject', 'unsure', 'clear']) byId(id).hidden = true;
}
