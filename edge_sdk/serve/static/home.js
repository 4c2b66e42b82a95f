import {Away, Refused, ask, byId, said, wait} from './common.js';

const form = byId('new-slide');
const bloods = ['red_cells', 'haematocrit'];

// randomUUID() is there on https and loopback only.
function newId() {
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = b[6] & 15 | 64;
  b[8] = b[8] & 63 | 128;
  const hex = Array.from(b, v => v.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function shown() {
  const blood = form.elements.blood.value;
  for (const id of bloods) {
    byId(id).hidden = id !== blood;
    byId(id).required = id === blood;
    byId(id).disabled = id !== blood;
  }
  byId('drawn').hidden = byId('camera').value !== 'simulated';
  byId('parasitaemia').disabled = byId('drawn').hidden;
}
form.addEventListener('change', shown);
shown();

function asked() {
  const body = {camera: byId('camera').value, camera_options: {}, target: +byId('target').value,
    operator: byId('operator').value.trim(), language: byId('language').value};
  const device = byId('device').value.trim();
  if (device) body.device = device;
  for (const id of [...bloods, 'parasitaemia', 'diameter']) {
    const input = byId(id);
    if (!input.disabled && input.value !== '') body[id] = +input.value;
  }
  return body;
}

function refuse(words) {
  const line = byId('said');
  line.textContent = words;
  line.hidden = !words;
  if (words) line.focus();
}

// One slide however often it is sent: the same form has the same request.
let request = newId(), before = '';

form.addEventListener('submit', async e => {
  e.preventDefault();
  const body = asked();
  if (JSON.stringify(body) !== before) [request, before] = [newId(), JSON.stringify(body)];
  const start = byId('start');
  start.disabled = true;
  start.textContent = said('new.making');
  refuse('');
  for (;;) {
    try {
      location.assign((await ask('/api/slides', {...body, request})).url);
      return;
    } catch (e) {
      if (e instanceof Away) { await wait(2000); continue; }
      if (!(e instanceof Refused)) throw e;
      refuse(said('failed', {error: e.message}));
      break;
    }
  }
  start.disabled = false;
  start.textContent = said('new.start');
});

byId('start').disabled = false;  // until here a browser would have sent the form by itself

// Back from another page: what is shown may be old.
addEventListener('pageshow', e => { if (e.persisted) location.reload(); });
