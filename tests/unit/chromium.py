"""A headless Chromium led over its debugging pipe, by the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT = 30.0  # seconds
KEYS = {"ArrowRight": 39, "ArrowDown": 40}


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """A page of its own profile. said: what it wrote to its console as an error."""

    def __init__(self, out: int, back: int) -> None:
        self._out, self._back, self._buffer = out, back, b""
        self._number, self._session = 0, ""
        self.said: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        found = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return dict(found["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._back, 1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        if found.get("method") == "Log.entryAdded":
            self.said.append(found["params"]["entry"]["text"])
        if found.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(found["params"]["exceptionDetails"]))
        return found

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, code: str) -> Any:
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, code: str) -> None:
        end = time.monotonic() + WAIT
        while not self.value(code):
            assert time.monotonic() < end, f"never true: {code}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        code = KEYS.get(key, ord(key[0]))
        written = {"text": key} if len(key) == 1 else {}
        known = {"key": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **known, **written)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **known)

    def tap(self, selector: str) -> None:
        """Touches the middle of an element, as a finger does."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = (
            self.value(f"(b => b.{a} + b.{b} / 2)({box})")
            for a, b in (("x", "width"), ("y", "height"))
        )
        self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        size = {"width": width, "height": height}
        self.ask("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=touch)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=touch)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """folder: for the profile. Needs `chromium()`."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    command = (
        f"exec {chromium()} --headless --no-sandbox --disable-gpu --no-first-run "
        f"--disable-background-networking --disable-dev-shm-usage --remote-debugging-pipe "
        f"--user-data-dir='{folder}' 3<&{theirs_in} 4>&{theirs_out}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(theirs_in, theirs_out), stdout=log, stderr=log
        )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(WAIT)
        os.close(ours_in)
        os.close(ours_out)
