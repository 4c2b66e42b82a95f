"""The review page itself: style and script inside, nothing loaded but its own pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from edge_sdk.screening.texts import text

_STYLE = """
* { box-sizing: border-box } :root { color-scheme: light }
html, body { height: 100%; margin: 0 }
body { font: 16px/1.35 system-ui, sans-serif; color: #16191d; background: #fff; display: grid;
  grid-template: auto 1fr auto / 1fr 19rem; grid-template-areas: "top top" "grid side" "low low" }
header { grid-area: top; display: flex; flex-wrap: wrap; align-items: center; gap: .2rem 1rem;
  padding: .35rem .75rem; border-bottom: 1px solid #c9d0d7 }
h1 { font-size: 1.05rem; margin: 0 } header p { margin: 0 }
.simulated { background: #fff5df; border: 2px solid #7a4b00; font-weight: 700; font-size: 1.25rem;
  letter-spacing: .1em; padding: 0 .6rem }
#said { font-weight: 600; min-height: 1.35em } #said.bad { color: #b00020 }
#grid { grid-area: grid; overflow-y: auto; padding: .6rem; display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); align-content: start }
#grid button { min-height: 6.5rem; font: inherit; font-size: .85rem; padding: .3rem; margin: 0;
  display: grid; align-content: space-between; justify-items: center; gap: .1rem;
  background: #fff; border: 2px solid #c9d0d7; border-radius: 6px; color: inherit; width: 100% }
#grid img { width: 100%; height: 4.7rem; object-fit: contain; background: #000; display: block }
#grid button[aria-current=true] { outline: 4px solid #0b5394; outline-offset: 1px }
#grid [data-verdict=confirmed] { border-color: #b03a00; background: #ffeee5 }
#grid [data-verdict=rejected] { border-color: #374151; background: #e6e9ed }
#grid [data-verdict=rejected] img { opacity: .45 }
#grid [data-verdict=unsure] { border: 2px dashed #6d28a8; background: #f4ecfb }
aside { grid-area: side; border-left: 1px solid #c9d0d7; padding: .6rem; overflow-y: auto;
  display: grid; grid-template-rows: auto auto 1fr; gap: .5rem; align-content: start }
#large { width: 100%; height: 9rem; object-fit: contain; background: #000 }
#place { position: relative; background: #eef1f4; border: 1px solid #5b636c; justify-self: center;
  width: 100%; overflow: hidden }
#place img { width: 100%; height: 100%; display: block }
#mark { position: absolute; border: 3px solid #ff3b00; min-width: 12px; min-height: 12px;
  box-shadow: 0 0 0 1px #fff }
#facts { margin: 0; font-size: .9rem }
nav { grid-area: low; display: grid; gap: .5rem;
  grid-template-columns: repeat(3, 2fr) repeat(2, minmax(6.5rem, 1fr)); padding: .5rem .75rem;
  border-top: 1px solid #c9d0d7 }
nav button { min-height: 56px; font: 600 1.05rem/1.1 system-ui, sans-serif; border-radius: 6px;
  border: 2px solid #16191d; background: #fff; color: #16191d; padding: .2rem; min-width: 0;
  overflow-wrap: anywhere }
nav button:active { background: #dfe3e8 } nav kbd { font: .8rem ui-monospace, monospace }
#confirm { border-color: #b03a00 } #unsure { border: 2px dashed #6d28a8 }
.label { grid-column: 1 / -1; margin: 0; font-size: .8rem; font-weight: 600 }
.label small { font-weight: 400 }
:focus-visible { outline: 4px solid #0b5394; outline-offset: 1px }
@media (max-height: 33rem) { #large { height: 6rem } nav { padding: .3rem .75rem }
  nav button { min-height: 50px } }
@media (max-width: 44rem) { body { grid-template: auto 1fr auto auto / 1fr;
    grid-template-areas: "top" "grid" "side" "low" }
  aside { border-left: 0; border-top: 1px solid #c9d0d7; padding: .4rem .6rem;
    grid-template: auto auto / 1fr 1fr; gap: .4rem }
  #large { height: 7rem } #place { height: 7rem; width: auto }
  #facts { grid-column: 1 / -1 }
  nav { grid-template-columns: repeat(6, 1fr); padding: .4rem .6rem }
  nav button { grid-column: span 2; font-size: .95rem; min-height: 52px }
  nav #clear, nav #done { grid-column: span 3; min-height: 44px }
  .label small { display: none } }
"""

_SCRIPT = """
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const {cells, token, said} = data;
const byId = id => document.getElementById(id);
const grid = byId('grid'), says = byId('said');
const url = (path, n) => path + '?n=' + n + '&token=' + encodeURIComponent(token);
let at = Math.max(0, cells.findIndex(c => !c.verdict)), busy = Promise.resolve(), over = false;

const share = c => c.probability.toLocaleString(document.documentElement.lang,
  {minimumFractionDigits: 3, maximumFractionDigits: 3});
const name = c => said.cell + ' ' + c.cell + ', ' + said.probability + ' ' +
  share(c) + ', ' + said[c.verdict || 'none'];

cells.forEach((c, i) => {
  const button = document.createElement('button');
  button.type = 'button';
  if (c.picture) {
    const image = document.createElement('img');
    image.src = url('/cell', c.cell); image.alt = ''; image.loading = 'lazy';
    button.append(image);
  }
  button.append(document.createElement('span'));
  button.addEventListener('click', () => select(i));
  grid.append(button); c.button = button; paint(c);
});

function paint(c) {
  const sign = {confirmed: '\\u2713 ', rejected: '\\u2717 ', unsure: '? '}[c.verdict] || '';
  c.button.lastChild.textContent = sign + share(c);
  c.button.dataset.verdict = c.verdict || '';
  c.button.setAttribute('aria-label', name(c));
  byId('progress').textContent = said.progress
    .replace('{done}', cells.filter(x => x.verdict).length).replace('{all}', cells.length);
}

function select(i) {
  if (!cells.length) return;
  cells[at].button.removeAttribute('aria-current');
  at = Math.min(Math.max(i, 0), cells.length - 1);
  const c = cells[at], large = byId('large'), place = byId('place');
  c.button.setAttribute('aria-current', 'true');
  c.button.focus({preventScroll: true}); c.button.scrollIntoView({block: 'nearest'});
  large.hidden = !c.picture; large.alt = name(c);
  if (c.picture) large.src = url('/cell', c.cell); else large.removeAttribute('src');
  byId('facts').textContent = name(c) + '; ' + said.field + ' ' + c.field + ', x ' + c.box[0] +
    ', y ' + c.box[1];
  place.hidden = !c.size;
  if (!c.size) return;
  const [w, h] = c.size, mark = byId('mark'), field = place.firstElementChild;
  place.style.aspectRatio = w + ' / ' + h;
  field.alt = said.place;
  if (field.dataset.n !== String(c.field)) {
    field.dataset.n = c.field; field.hidden = false; field.src = url('/field', c.field);
  }
  mark.style.left = 100 * c.box[0] / w + '%'; mark.style.top = 100 * c.box[1] / h + '%';
  mark.style.width = 100 * c.box[2] / w + '%'; mark.style.height = 100 * c.box[3] / h + '%';
}
byId('place').firstElementChild.addEventListener('error', e => { e.target.hidden = true; });

function tell(words, bad) { says.textContent = words; says.className = bad ? 'bad' : ''; }

function post(path, body) {
  return fetch(path, {method: 'POST', body: JSON.stringify(body),
    headers: {'X-Token': token, 'Content-Type': 'application/json'}});
}

// One request after the other: each says what it replaces.
function give(verdict) {
  if (over || !cells.length) return;
  const c = cells[at];
  busy = busy.then(async () => {
    const was = c.verdict;
    try {
      const answer = await post('/verdict', {cell: c.cell, was: was, now: verdict});
      const found = await answer.json();
      if (answer.ok) { c.verdict = verdict; paint(c); tell(said.saved); }
      else if (answer.status === 409) {
        for (const x of cells) { x.verdict = found.verdicts[x.cell]; paint(x); }
        tell(said.stale, true);
      } else tell(said.failed + ' ' + found.error, true);
    } catch (e) { tell(said.failed, true); }
  });
  if (verdict && at + 1 < cells.length) select(at + 1);
}

async function finish() {
  await busy;
  const left = cells.filter(c => !c.verdict).length;
  if (over || (left && !confirm(said.left.replace('{left}', left)))) return;
  try {
    const answer = await post('/done', null);
    if (!answer.ok) throw answer;
    over = true;
    document.querySelectorAll('nav button').forEach(b => { b.disabled = true; });
    tell(said.finished);
  } catch (e) { tell(said.failed, true); }
}

const across = () => getComputedStyle(grid).gridTemplateColumns.split(' ').length;
const keys = {
  '1': () => give('confirmed'), '2': () => give('rejected'), '3': () => give('unsure'),
  '0': () => give(null), ArrowRight: () => select(at + 1), ArrowLeft: () => select(at - 1),
  ArrowDown: () => select(at + across()), ArrowUp: () => select(at - across()),
  Home: () => select(0), End: () => select(cells.length - 1),
};
document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.altKey || e.metaKey || !keys[e.key]) return;
  e.preventDefault(); keys[e.key]();
});
for (const [id, act] of [['confirm', keys['1']], ['reject', keys['2']], ['unsure', keys['3']],
  ['clear', keys['0']], ['done', finish]]) byId(id).addEventListener('click', act);
select(at);
if (!cells.length) byId('progress').textContent = said.empty;
"""

_SAID = {
    "cell": "cell",
    "probability": "probability",
    "field": "field",
    "place": "review.place",
    "saved": "review.saved",
    "failed": "review.failed",
    "stale": "review.stale",
    "finished": "review.finished",
    "empty": "gallery.none",
    "none": "verdict.none",
    "confirmed": "verdict.confirmed",
    "rejected": "verdict.rejected",
    "unsure": "verdict.unsure",
}


def review_html(
    cells: Sequence[dict[str, Any]], token: str, language: str, nonce: str, *, simulated: bool
) -> str:
    """cells: in the order they are shown. nonce: of the policy that lets style and script run."""

    def said(key: str) -> str:
        return escape(text(key, language))

    words = {name: text(key, language) for name, key in _SAID.items()}
    # These the page fills in itself.
    words["progress"] = text("review.progress", language, done="{done}", all="{all}")
    words["left"] = text("review.left", language, left="{left}")
    data = json.dumps({"cells": cells, "token": token, "said": words}).replace("<", "\\u003c")
    drawn = f'<p class="simulated">{said("simulated")}</p>' if simulated else ""
    buttons = "".join(
        f'<button type="button" id="{name}">{said(f"review.{name}")} <kbd>{key}</kbd></button>'
        for name, key in (("confirm", "1"), ("reject", "2"), ("unsure", "3"), ("clear", "0"))
    )
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{said("review.title")}</title>
<style nonce="{nonce}">{_STYLE}</style>
</head>
<body>
<header>{drawn}<h1>{said("review.title")}</h1><p id="progress"></p>
<p id="said" role="status" aria-live="polite"></p></header>
<main id="grid" aria-label="{said("gallery")}"></main>
<aside aria-label="{said("cell")}"><img id="large" alt="">
<div id="place"><img alt=""><div id="mark"></div></div><p id="facts"></p></aside>
<nav>{buttons}<button type="button" id="done">{said("review.done")}</button>
<p class="label">{said("label")} <small>{said("review.keys")}</small></p></nav>
<script type="application/json" id="data" nonce="{nonce}">{data}</script>
<script nonce="{nonce}">{_SCRIPT}</script>
</body>
</html>
"""
