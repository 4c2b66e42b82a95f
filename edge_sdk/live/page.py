"""The live page: the newest frame, the part of it that is classified, and the answer."""

from __future__ import annotations

import hmac
import io
import json
import re
import secrets
from pathlib import Path
from typing import Any

from edge_sdk.errors import UsageError
from edge_sdk.live.log import NOTICE, Log
from edge_sdk.live.outputs import Answer, answer_record
from edge_sdk.live.server import LocalServer, Query, Reply, reply
from edge_sdk.live.settings import Page, Settings, parse_roi

JPEG_QUALITY = 80
HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>edge-sdk</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { margin: 1rem; font: 16px system-ui, sans-serif; background: #111; color: #eee }
#view { position: relative; display: inline-block; max-width: 100% }
img { display: block; max-width: 100%; min-width: 16rem; background: #222 }
#roi { position: absolute; border: 2px solid #fc0; box-sizing: border-box; pointer-events: none }
#said { font-size: 1.5rem; margin: .5rem 0 }
#note, #health { color: #bbb }
</style>
<div id="view"><img id="frame" alt="newest frame"><div id="roi" hidden></div></div>
<p id="said">waiting for an answer</p><p id="health"></p><p id="note"></p>
<script>
const token = new URLSearchParams(location.search).get("token") || "";
const at = (path) => path + "?token=" + encodeURIComponent(token);
const show = (id, text) => { document.getElementById(id).textContent = text; };
let last = -1;
async function tick() {
  try {
    const got = await fetch(at("/state.json"));
    if (!got.ok) throw new Error("HTTP " + got.status);
    const s = await got.json();
    if (s.answer) {
      show("said", s.answer.labels.map((l) => l.label + " " + l.probability.toFixed(3)).join(", ")
        || "below the threshold");
      show("note", s.answer.time + (s.answer.simulated ? " - simulated: a drawing" : ""));
      if (s.answer.frame !== last) {
        last = s.answer.frame;
        document.getElementById("frame").src = at("/frame.jpg") + "&frame=" + last;
      }
      const box = document.getElementById("roi");
      box.hidden = !s.roi;
      if (s.roi) [box.style.left, box.style.top, box.style.width, box.style.height] =
        s.roi.map((v) => v + "%");
    }
    show("health", s.health);
  } catch (e) { show("health", "no connection: " + e.message); }
  setTimeout(tick, 500);
}
tick();
</script></html>
"""


class LivePage:
    """A sink that keeps the newest answer, and the server that shows it. Every request needs the
    token. A frame becomes a JPEG when somebody looks, not before."""

    def __init__(self, settings: Settings, given: Page, log: Log) -> None:
        self._settings = settings
        self._roi = parse_roi(settings.roi) if settings.roi else None
        self._newest: Answer | None = None
        self._line = ""
        self._token = _token(given)
        self._server = LocalServer("page", given.address, given.port, self._reply)
        self.port = self._server.port
        end = "" if given.token_file else f"?token={self._token}"
        log(f"live page: http://{given.address}:{self.port}/{end}", NOTICE)

    def write(self, answer: Answer) -> None:
        self._newest = answer

    def status(self, line: str) -> None:
        self._line = line

    def close(self) -> None:
        self._server.close()

    def _reply(self, path: str, query: Query) -> Reply:
        given = query.get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return reply(403, "text/plain", b"give the token: ?token=...\n")
        answer = self._newest
        if path == "/":
            return reply(200, "text/html; charset=utf-8", HTML.encode())
        if path == "/state.json":
            return reply(200, "application/json", json.dumps(self._state(answer)).encode())
        if path == "/frame.jpg" and answer is not None:
            return reply(200, "image/jpeg", _jpeg(answer))
        return reply(404, "text/plain", b"not here\n")

    def _state(self, answer: Answer | None) -> dict[str, Any]:
        state: dict[str, Any] = {"health": self._line, "answer": None, "roi": None}
        if answer is not None:
            s = self._settings
            state["answer"] = answer_record(answer, max(s.top, 3), s.threshold)
            if self._roi is not None:
                height, width = answer.frame.pixels.shape[:2]
                x0, y0, x1, y1 = self._roi.box(width, height)
                state["roi"] = [
                    round(v, 3)
                    for v in (
                        100 * x0 / width, 100 * y0 / height,
                        100 * (x1 - x0) / width, 100 * (y1 - y0) / height,
                    )
                ]  # fmt: skip
        return state


def _jpeg(answer: Answer) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(answer.frame.pixels).save(made, "JPEG", quality=JPEG_QUALITY)
    return made.getvalue()


def _token(given: Page) -> str:
    if given.token_file is None:
        return secrets.token_urlsafe(24)
    try:
        token = Path(given.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"page.token_file {given.token_file} cannot be read: {e}") from e
    if not re.fullmatch(r"[\w.~-]{16,200}", token, re.ASCII):
        raise UsageError(
            f"page.token_file {given.token_file}: the token must be 16 to 200 letters, digits, -, _"
        )
    return token
