// Shown by the service worker in place of a page that could not be fetched.

async function again() {
  try {
    await fetch('/static/icon.svg', {cache: 'no-store', method: 'HEAD'});
    location.reload();
  } catch (e) {
    setTimeout(again, 1500);
  }
}
setTimeout(again, 1500);
