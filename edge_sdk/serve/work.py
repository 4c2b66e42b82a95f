"""The one thread that works with the open slide, and what others may ask of it.

Requests are callables in its queue, each answered by a Future; what browsers poll is a frozen
snapshot, published after every step, that nobody waits for.
"""

from __future__ import annotations

import itertools
import queue
import secrets
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from edge_sdk.errors import EdgeError
from edge_sdk.live.log import ERROR, Log
from edge_sdk.screening.session import session_folder
from edge_sdk.serve.new_slide import make_slide, prepare
from edge_sdk.serve.open_slide import ConflictError, OpenSlide, Snapshot
from edge_sdk.serve.settings import ServeSettings

T = TypeVar("T")
WATCHED_S = 5.0  # without a poll for so long nothing is previewed, nothing taken
BUSY_S = 10.0  # a slide that somebody polled in this time is not closed by another's poll
IDLE_S = 300.0  # without a poll for so long the slide is closed
AT_ONCE = 64  # requests that may wait
PAUSE_S = 2.0  # after an error, before the next look
CLOSE_S = 20.0


class BusyError(EdgeError):
    pass


class FaultError(EdgeError):
    """An error nobody expected: its traceback is in the log."""


class Work:
    """Close it: the slide that is open is then left as after any interruption."""

    def __init__(self, settings: ServeSettings, log: Log | None = None) -> None:
        self.settings = settings
        self._log = log or Log()
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue(
            AT_ONCE
        )
        self._slide: OpenSlide | None = None
        self._snapshot: Snapshot | None = None
        self._polled_s = 0.0
        self._due_s = 0.0
        self._ended = False
        # Never the number of a picture that another run of the program showed.
        self._numbers = itertools.count(secrets.randbelow(2**30) << 20)
        if settings.camera == "simulated":
            self.do(lambda: prepare(settings))
        self._thread = threading.Thread(target=self._run, name="work", daemon=True)
        self._thread.start()

    # --- from any thread

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    def poll(self, slide: str) -> Snapshot | None:
        """The open slide's state, which somebody watches; None where another or none is open."""
        found = self._snapshot
        if found is None or found.slide != slide:
            return None
        self._polled_s = time.monotonic()
        return found

    def with_slide(
        self, slide: str, command: Callable[[OpenSlide], T], *, polite: bool = False
    ) -> Future[T]:
        """Does something with a slide, which is opened for it. polite: not where somebody is at
        work on another one. Gives EdgeErrors as they are, FaultError for everything else."""
        return self.do(lambda: command(self._opened(slide, polite)))

    def new_slide(self, body: Any) -> Future[tuple[str, bool]]:
        """The id of a new slide, or of the one that the same request made before; and whether it
        is new."""
        return self.do(lambda: make_slide(self.settings, body))

    def do(self, job: Callable[[], T]) -> Future[T]:
        answer: Future[T] = Future()
        try:
            if self._ended:
                raise BusyError("the program is ending")
            self._queue.put_nowait((job, answer))
        except queue.Full:
            answer.set_exception(BusyError("too much is asked at once: try again"))
        except BusyError as e:
            answer.set_exception(e)
        return answer

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._queue.put(None)
        self._thread.join(CLOSE_S)

    # --- in the thread

    def _run(self) -> None:
        try:
            while (job := self._next_job()) is not False:
                if job is not None:
                    self._do(*job)
                elif self._slide is not None:
                    self._idle(self._slide)
                    self._publish()
        finally:
            self._close_slide()
            self._publish()
            self._refuse_the_rest()

    def _next_job(self) -> Any:
        """None where there is none; False at the end."""
        wait_s = 0.2
        if self._slide is not None:
            wait_s = min(wait_s, max(0.0, self._due_s - time.monotonic()))
        try:
            job = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
        except queue.Empty:
            return None
        return False if job is None else job

    def _do(self, job: Callable[[], Any], answer: Future[Any]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        self._due_s = 0.0
        result: Any = None
        error: EdgeError | None = None
        try:
            result = job()
        except EdgeError as e:
            # A disk or a camera that fails stays on the screen; a wrong request is its sender's.
            if e.exit_code != 2:
                self._failed(str(e), e)
            error = e
        except Exception as e:
            error = self._fault(e)
        # Before the answer: whoever has it sees what it did.
        self._publish()
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def _idle(self, slide: OpenSlide) -> None:
        now = time.monotonic()
        unwatched_s = now - self._polled_s
        if unwatched_s > IDLE_S:
            self._close_slide()
        elif unwatched_s > WATCHED_S:
            self._due_s = now + 0.2
        elif now >= self._due_s:
            try:
                wait_s = slide.look()
            except EdgeError as e:
                self._failed(str(e), e)
                wait_s = PAUSE_S
            except Exception as e:
                self._fault(e)
                wait_s = PAUSE_S
            self._due_s = time.monotonic() + wait_s

    def _failed(self, words: str, error: EdgeError) -> None:
        self._log(words, ERROR)
        if self._slide is not None:
            self._slide.automatic = False
            self._slide.failed(error)

    def _fault(self, error: Exception) -> FaultError:
        told = FaultError(
            f"the program failed ({type(error).__name__}): what was counted is kept; its log on "
            "the device says more"
        )
        for line in traceback.format_exception(error):
            for part in line.splitlines():
                self._log(part, ERROR)
        self._failed(str(told), told)
        return told

    def _opened(self, slide: str, polite: bool) -> OpenSlide:
        folder = session_folder(self.settings.sessions, slide)
        if folder.name != slide:
            raise ConflictError(f"slide '{slide}' is no whole id")
        there = self._slide
        if there is not None and there.id == slide:
            self._polled_s = time.monotonic()
            return there
        if there is not None:
            if polite and time.monotonic() - self._polled_s < BUSY_S:
                raise ConflictError(
                    f"slide {there.id} is being worked on at this device: open this one from the "
                    "list to close that one"
                )
            self._close_slide()
        self._slide = OpenSlide(folder, self.settings, self._numbers)
        self._polled_s = time.monotonic()
        return self._slide

    def _close_slide(self) -> None:
        slide, self._slide = self._slide, None
        if slide is not None:
            try:
                slide.close()
            except Exception as e:
                self._fault(e)

    def _publish(self) -> None:
        try:
            self._snapshot = None if self._slide is None else self._slide.snapshot()
        except Exception as e:
            self._snapshot = None
            self._fault(e)
            self._close_slide()

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None and job[1].set_running_or_notify_cancel():
                job[1].set_exception(BusyError("the program is ending"))
