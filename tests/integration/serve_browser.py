"""A served program that can be killed, a browser, and what is wrong with a page by itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WAIT_S = 60.0
TOKEN = "a-token-of-the-browser-tests"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}}

# Overflow, clipped words, targets under 44 px, and text whose contrast is under 4.5 to 1 (3 to 1
# where it is large), as WCAG 2.1 has it.
FAULTS = r"""(touch) => {
  const found = [], name = e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') +
    ' "' + (e.textContent || '').trim().slice(0, 30) + '"';
  const seen = e => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) &&
    !e.closest('.quiet, .away, .skip');
  const root = document.documentElement;  // innerWidth grows with what a phone zooms out to
  if (root.scrollWidth > root.clientWidth) found.push('wider than the screen');
  const rgb = text => {
    const n = text.match(/[\d.]+/g).map(Number);
    return {c: n.slice(0, 3), a: n.length > 3 ? n[3] : 1};
  };
  const over = (top, below) => top.c.map((v, i) => v * top.a + below[i] * (1 - top.a));
  const behind = e => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const layer = rgb(getComputedStyle(at).backgroundColor);
      if (layer.a) layers.unshift(layer);
      if (layer.a === 1) break;
    }
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = c => {
    const [r, g, b] = c.map(v => v / 255).map(v =>
      v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  for (const e of document.body.querySelectorAll('*')) {
    if (!seen(e)) continue;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (e.scrollWidth > e.clientWidth + 1 && style.display !== 'inline' && e.clientWidth) {
      found.push(name(e) + ' is clipped');
    }
    if (touch && e.matches('button, a, input:not([type=radio]), select, summary, .choice') &&
        (box.width < 43.5 || box.height < 43.5)) {
      found.push(`${name(e)} is ${box.width} x ${box.height}`);
    }
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('script')) {
      continue;
    }
    const under = behind(e), ink = rgb(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(over(ink, under)), light(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 ||
      size >= 18.66 && Number(style.fontWeight) >= 700;
    if ((a + .05) / (b + .05) < (large ? 3 : 4.5)) {
      found.push(`${name(e)} has contrast ${((a + .05) / (b + .05)).toFixed(2)}`);
    }
  }
  return found;
}"""
ROLES = {"button", "link", "textbox", "spinbutton", "combobox", "radio", "switch", "progressbar",
         "dialog", "img", "image"}  # fmt: skip


class Served:
    """`edge-sdk serve --camera simulated`, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self.sessions = folder / "slides"
        self._token, self._log = folder / "token", folder / "log"
        self._token.write_text(TOKEN)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "edge_sdk.cli", "serve", "--camera", "simulated",
            "--port", str(self.port), "--token-file", str(self._token),
            "--sessions", str(self.sessions),
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + WAIT_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.base}/enter", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.05)

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(WAIT_S)
            self._process = None


class Watched:
    """A page of a browser's context; what it said to its console, every address it asked for."""

    def __init__(self, context: Any, base: str) -> None:
        self.context, self.base = context, base
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        context.on("request", lambda request: self.asked.append(request.url))

    def _heard(self, message: Any) -> None:
        # A picture may be counted between its number and itself: then there is a newer one.
        gone = "404" in message.text and "/live.jpg" in message.location["url"]
        if message.type in ("error", "warning") and not gone:
            self.said.append(message.text)

    def enter(self) -> None:
        """Opens the first page with the token in the address."""
        self.page.goto(f"{self.base}/enter?token={TOKEN}")
        assert self.page.url == f"{self.base}/"

    def until(self, code: str, given: object = None) -> Any:
        """Playwright's own wait_for_function is what the pages' policy forbids: eval."""
        end = time.monotonic() + WAIT_S
        while not (found := self.page.evaluate(code, given)):
            assert time.monotonic() < end, f"never true: {code}; the page said {self.said}"
            time.sleep(0.03)
        return found

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def faults(self, *, touch: bool = False) -> list[str]:
        return [*self.page.evaluate(FAULTS, touch), *self.nameless()]

    def nameless(self) -> list[str]:
        """What the browser itself finds no accessible name for."""
        link = self.context.new_cdp_session(self.page)
        nodes = link.send("Accessibility.getFullAXTree")["nodes"]
        link.detach()
        return [
            f"a {n['role']['value']} without a name"
            for n in nodes
            if not n["ignored"]
            and n["role"]["value"] in ROLES
            and not n.get("name", {}).get("value", "").strip()
        ]

    def elsewhere(self) -> list[str]:
        """Addresses of another host than the program's."""
        here = urlsplit(self.base).netloc
        return [a for a in self.asked if urlsplit(a).netloc not in (here, "")]


def settled(watched: Watched) -> str:
    """Waits for a picture with its lights, or for the target; gives green, red or ready."""
    return str(
        watched.until(
            "() => document.body.classList.contains('ready') ? 'ready'"
            " : !document.querySelector('#live') ? ''"
            " : document.querySelector('#lights [data-verdict=fail]') ? 'red'"
            " : document.querySelector('#take').getAttribute('aria-disabled') === 'false'"
            " ? 'green' : ''"
        )
    )


def counted_after(watched: Watched, act: Callable[[], object]) -> None:
    """Does it and waits until the counts have changed."""
    before = watched.text("#counted")
    act()
    watched.until("before => document.querySelector('#counted').innerText !== before", before)


def start_slide(watched: Watched, *, target: int, language: str = "en") -> str:
    """Fills in the form; gives the slide's id."""
    page = watched.page
    page.fill("#operator", "op-1")
    page.select_option("#language", language)
    page.fill("#target", str(target))
    page.fill("#parasitaemia", "20")
    page.wait_for_selector("#start:enabled")
    page.press("#target", "Enter")
    page.wait_for_url("**/slide/*", timeout=1000 * WAIT_S)
    return urlsplit(page.url).path.rpartition("/")[2]
