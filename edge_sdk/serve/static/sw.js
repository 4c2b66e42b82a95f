// Keeps the static shell, and nothing else: no page, no picture, no answer of the server.

const KEPT = 'edge-sdk-shell-1';
const SHELL = ['/static/app.css', '/static/common.js', '/static/charts.js', '/static/home.js',
  '/static/capture.js', '/static/review.js', '/static/report.js', '/static/away.html',
  '/static/away.js', '/static/icon.svg', '/static/icon-192.png', '/manifest.webmanifest'];

addEventListener('install', e => {
  skipWaiting();
  e.waitUntil(caches.open(KEPT).then(kept => kept.addAll(SHELL)));
});

addEventListener('activate', e => {
  e.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== KEPT) await caches.delete(name);
    await clients.claim();
  })());
});

// The server first, so that no page meets an older script; what is kept is for when it is away.
async function shell(request) {
  try {
    const answer = await fetch(request);
    if (answer.ok) await (await caches.open(KEPT)).put(request, answer.clone());
    return answer;
  } catch (e) {
    const found = await caches.match(request, {ignoreSearch: true});
    if (found) return found;
    throw e;
  }
}

addEventListener('fetch', e => {
  const {request} = e, url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin) return;
  if (SHELL.includes(url.pathname)) e.respondWith(shell(request));
  else if (request.mode === 'navigate') {
    e.respondWith(fetch(request).catch(() => caches.match('/static/away.html')));
  }
});
