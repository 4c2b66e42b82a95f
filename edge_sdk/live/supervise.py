"""A thread beside the loop: takes signals, watches that the loop gets on, tells systemd so."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from edge_sdk.live.log import ERROR, Log
from edge_sdk.live.notify import Notifier

EXIT_HUNG = 70  # EX_SOFTWARE of sysexits.h
LOOK_S = 0.25


class Supervisor:
    """Use it in a `with`. The loop says with `within(s)` how soon it will be heard of again.

    stop, reload: called in this thread. A loop that is not heard of in time hangs in code that
    cannot be interrupted: `hung` ends the whole process."""

    def __init__(
        self,
        notifier: Notifier,
        log: Log,
        *,
        stop: Callable[[], None],
        reload: Callable[[], None],
        hung: Callable[[], None] = lambda: os._exit(EXIT_HUNG),
    ) -> None:
        self._notifier, self._log = notifier, log
        self._stop, self._reload, self._hung = stop, reload, hung
        # The one thing that a signal handler may safely put something into.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._deadline_s: float | None = None
        self._allowed_s = 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._old: dict[int, object] = {}

    def within(self, seconds: float) -> None:
        self._allowed_s = seconds
        self._deadline_s = time.monotonic() + seconds

    def __enter__(self) -> Supervisor:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._old[number] = signal.signal(number, self._take)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]
        self._signals.put(0)
        self._thread.join()

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signals.put(number)

    def _run(self) -> None:
        told_s = float("-inf")
        half_s = (self._notifier.watchdog_s or 0.0) / 2
        while True:
            try:
                number = self._signals.get(timeout=LOOK_S)
            except queue.Empty:
                number = -1
            if number == 0:
                return
            if number == signal.SIGHUP:
                self._reload()
            elif number > 0:
                self._log(f"{signal.Signals(number).name}: ending")
                self._stop()
            now, deadline = time.monotonic(), self._deadline_s
            if deadline is not None and now > deadline:
                self._log(f"the classifier did not get on for {self._allowed_s:g} s: ending", ERROR)
                self._deadline_s = None
                self._hung()
            elif self._notifier.watchdog_s is not None and now - told_s >= half_s:
                told_s = now
                self._notifier.alive()
