// What every page's script shares: its words, requests, and what is said while the server is away.

const found = JSON.parse(document.getElementById('data').textContent);
export const page = found.page;
export const byId = id => document.getElementById(id);
const lang = document.documentElement.lang;

export const said = (key, values = {}) =>
  found.said[key].replace(/\{([a-z]+)\}/g, (blank, name) => name in values ? values[name] : blank);

export const number = (value, decimals = 0) => value.toLocaleString(lang,
  {minimumFractionDigits: decimals, maximumFractionDigits: decimals});

export const wait = ms => new Promise(done => setTimeout(done, ms));

/** The server did not answer, or wants the token first: whoever asks may go on asking. */
export class Away extends Error {}

/** The server refused. status: of HTTP; body: what it said. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error || String(status));
    this.status = status;
    this.body = body;
  }
}

let gone = false;
let shut = false;
let told = 0;

/** Says that the server is away, or is back; the word that it is back goes by itself. */
export function reachable(yes) {
  if (yes !== gone && !(yes && shut)) return;
  gone = !yes;
  shut = false;
  const line = byId('away');
  clearTimeout(told);
  line.textContent = said(yes ? 'back' : 'away');
  line.classList.toggle('fine', yes);
  line.hidden = false;
  document.body.classList.toggle('alone', gone);
  if (yes) told = setTimeout(() => { line.hidden = true; }, 4000);
}

/** A server that was started again knows nobody: the token is given here, and the page stays. */
function enterHere() {
  if (shut) return;
  shut = true;
  clearTimeout(told);
  const line = byId('away');
  const form = document.createElement('form');
  const label = document.createElement('label');
  const input = document.createElement('input');
  const button = document.createElement('button');
  label.textContent = said('no access');
  label.htmlFor = input.id = 'token';
  Object.assign(input, {type: 'password', name: 'token', required: true, autocomplete: 'off'});
  button.textContent = said('enter.go');
  form.append(label, input, button);
  form.addEventListener('submit', async e => {
    e.preventDefault();
    const body = new URLSearchParams({token: input.value});
    const answer = await fetch('/enter', {method: 'POST', body}).catch(() => null);
    if (!answer || !answer.ok) {
      label.textContent = said(answer ? 'enter.wrong' : 'away');
      input.select();
    } else await renewed().catch(() => {});
  });
  line.classList.remove('fine');
  line.replaceChildren(form);
  line.hidden = false;
}

const csrf = () => document.querySelector('meta[name=csrf]');

async function send(path, body, seconds) {
  const options = {headers: {Accept: 'application/json'}, redirect: 'follow'};
  if (seconds) options.signal = AbortSignal.timeout(1000 * seconds);
  if (body !== undefined) {
    options.method = 'POST';
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
    options.headers['X-CSRF'] = csrf().content;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (e) {
    reachable(false);
    throw new Away(String(e));
  }
  if (answer.status === 502 || answer.status === 504) {
    reachable(false);
    throw new Away(String(answer.status));
  }
  if (answer.status === 401) {
    enterHere();
    throw new Away('401');
  }
  reachable(true);
  return answer;
}

// A server that was started again may have another CSRF value: the page itself has the new one.
async function renewed() {
  const answer = await send(location.pathname, undefined, 10);
  if (!answer.ok || new URL(answer.url).pathname === '/enter') return false;  // still outside
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const value = fresh.querySelector('meta[name=csrf]');
  if (!value || value.content === csrf().content) return false;
  csrf().content = value.content;
  return true;
}

/** JSON of a GET, or of a POST where there is a body. Throws Away or Refused. */
export async function ask(path, body) {
  const seconds = body === undefined ? 10 : 0;
  let answer = await send(path, body, seconds);
  if (answer.status === 403 && body !== undefined && await renewed()) {
    answer = await send(path, body, seconds);
  }
  const text = await answer.text().catch(() => '');
  let json = {};
  try { json = JSON.parse(text); } catch (e) { if (answer.ok) throw new Refused(500, {}); }
  if (!answer.ok) throw new Refused(answer.status, json);
  return json;
}

/** A question with two answers; the first is the safe one. */
export function sure(title, words, no, yes) {
  const box = byId('ask');
  byId('ask-title').textContent = title;
  byId('ask-words').textContent = words;
  byId('ask-no').textContent = no;
  byId('ask-yes').textContent = yes;
  box.showModal();
  // Not by its event `close`, which comes later: the next question may be open by then.
  return new Promise(done => {
    const end = yes => e => { e.preventDefault(); box.close(); done(yes); };
    byId('ask-no').onclick = box.oncancel = end(false);
    byId('ask-yes').onclick = end(true);
  });
}

/** After a touch or a click the key Space is the page's again, not the button's. */
export function pressed(id, act) {
  byId(id).addEventListener('click', e => {
    if (e.detail) e.currentTarget.blur();
    act();
  });
}

/** Shows text, and touches the page only when it changed, so that it is read out once. */
export function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

if ('serviceWorker' in navigator) {
  navigator.serviceWorker.register('/sw.js').catch(() => {});  // without it the pages work as well
}
