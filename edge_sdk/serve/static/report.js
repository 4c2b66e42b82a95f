import {Away, Refused, ask, byId, page, wait} from './common.js';
import {drawLimit, drawShare} from './charts.js';

async function figures() {
  for (let pause = 1000; ; pause = Math.min(8000, 2 * pause)) {
    try {
      const state = await ask(`/api/slide/${page.slide}/state`);
      byId('figures').hidden = false;
      drawShare(state);
      drawLimit(state);
      return;
    } catch (e) {
      if (e instanceof Refused) return;  // the page has its figures without the drawings
      if (!(e instanceof Away)) throw e;
      await wait(pause);
    }
  }
}

figures();
