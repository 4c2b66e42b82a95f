"""The slide that is open: its store, model, gates and camera. One thread alone works with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.camera import Frame
from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.live.source import WAITING
from edge_sdk.screening import session
from edge_sdk.screening.gates import Gates
from edge_sdk.screening.make_record import report as write_reports
from edge_sdk.screening.make_session import open_session_camera
from edge_sdk.screening.reader import FieldReader, pixels_hash
from edge_sdk.screening.record import VERDICTS
from edge_sdk.screening.review import ReviewCells, review_cells, set_verdict
from edge_sdk.screening.store import REPORT, Store
from edge_sdk.screening.texts import statement
from edge_sdk.serve.feed import Feed, Newest, OneByOne
from edge_sdk.serve.lights import Preview, preview
from edge_sdk.serve.settings import ServeSettings
from edge_sdk.serve.state import figures

KEPT = 3  # previews: a tap is about a picture of a second ago
EVERY_S = 1.0  # between two previews of a camera that runs by itself
SOON_S = 0.1
TARGET_REACHED = "enough red cells are counted: finish the slide"


class ConflictError(UsageError):
    """What cannot be done as the slide stands now."""


class StaleError(ConflictError):
    """A verdict that replaces another one than is stored. verdicts: all of them, by cell."""

    def __init__(self, message: str, verdicts: Mapping[int, str | None]) -> None:
        super().__init__(message)
        self.verdicts = dict(verdicts)


@dataclass(frozen=True)
class Snapshot:
    """What browsers see of the open slide. pictures: JPEG by frame number, the newest last."""

    slide: str
    state: Mapping[str, Any]
    pictures: Mapping[int, bytes]


class OpenSlide:
    """Takes up a slide where it stands; close it. numbers: of previews, none twice.

    Raises EdgeError where it is open elsewhere, is damaged, or its model is not there."""

    def __init__(self, folder: Path, settings: ServeSettings, numbers: Iterator[int]) -> None:
        self.id = folder.name
        self.automatic = False
        self.error: str | None = None
        self._numbers = numbers
        self._reader: FieldReader | None = None
        self._feed: Feed | None = None
        self._previews: list[Preview] = []
        self._last: dict[str, Any] | None = None
        self._cells: ReviewCells | None = None
        self.store = Store(folder, write=True)
        try:
            self.operator = self.store.settings.operator
            self._gates = Gates(stain=self.store.settings.stain)
            if self.store.state == "purged":
                raise ConflictError(f"slide {self.id} was purged: only its log is left")
            if self.store.state in ("new", "capturing"):
                self._reader = FieldReader(
                    self.store.settings, backend=settings.backend, threads=settings.threads
                )
                session.begin(self.store, self._reader, self.operator, self._gates)
            self._figures = figures(self.store)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._end_capture()
        self.store.close()

    def _end_capture(self) -> None:
        self.automatic = False
        self._previews = []
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # --- what is on the screen

    def look(self) -> float:
        """One preview where one is due, or what `automatic` does with the last one. Gives the
        seconds until the next look."""
        if self._reader is None or self._figures.full:
            return EVERY_S
        if self._feed is None:
            self._feed = self._open_feed()
        if self._previews and self.automatic and self._previews[-1].seen.green:
            self.take(self._previews[-1].number)
            return 0.0
        if self._previews and self._feed.waits:
            if not self.automatic:
                return SOON_S
            self._previews = []
        frame, digest = self._next_frame(self._feed)
        if frame is None:
            return SOON_S
        made = preview(next(self._numbers), frame.pixels, digest, self._reader, self._gates)
        self._previews = [*self._previews[1 - KEPT :], made]
        return 0.0 if self.automatic and (made.seen.green or self._feed.waits) else EVERY_S

    def _open_feed(self) -> Feed:
        settings, taken = self.store.settings, len(self.store.fields())
        feed = OneByOne if settings.camera in WAITING else Newest
        return feed(lambda: open_session_camera(settings, taken))

    def _next_frame(self, feed: Feed) -> tuple[Frame | None, str]:
        """Pictures that were taken before, to the pixel, are passed over: a folder may be given
        again."""
        for _ in range(session.PATIENCE):
            frame = feed.read()
            if frame is None:
                break
            digest = pixels_hash(frame.pixels)
            if not self.store.knows(digest):
                return frame, digest
        return None, ""

    def _shown(self, number: int) -> Preview:
        found = next((p for p in self._previews if p.number == number), None)
        if found is None:
            raise ConflictError(
                "this picture is no longer the one on the screen, or was taken: look at the new one"
            )
        return found

    # --- commands

    def take(self, number: int) -> None:
        """Counts the picture that was shown with this number. Raises ConflictError where it is not
        on the screen any more; nothing is counted twice."""
        self._need("capturing")
        assert self._reader is not None
        if self._figures.full:
            raise ConflictError(TARGET_REACHED)
        shown = self._shown(number)
        step = session.take(self.store, shown.seen, self._reader, self._gates, self.operator)
        # The others were judged before this one was remembered.
        self._previews = []
        self._last = {
            "field": step.field.number,
            "accepted": step.field.accepted,
            "cells": step.field.cells,
            "flagged": step.field.flagged,
            "instructions": [g.instruction for g in step.field.gates if not g.passed],
        }
        self._changed()
        self.automatic = self.automatic and step.counted < step.target

    def skip(self, number: int) -> None:
        self._need("capturing")
        if self._feed is None or not self._feed.waits:
            raise ConflictError("only pictures of a folder or a drawn slide can be skipped")
        self._shown(number)
        self._previews = []

    def set_automatic(self, on: bool) -> None:
        self._need("capturing")
        if on and self._figures.full:
            raise ConflictError(TARGET_REACHED)
        self.automatic = on

    def finish(self, counted: int) -> None:
        """Ends counting, once; again with the same count changes nothing."""
        stored = self.store.counts()[1]
        if counted != stored:
            raise ConflictError(f"{stored} red cells are counted, not {counted}: look again")
        if self.store.state in ("review", "reported"):
            return
        self._need("capturing")
        session.finish(self.store, self.operator)
        self._end_capture()
        self._changed()

    def verdict(self, cell: int, was: str | None, now: str | None) -> None:
        """Raises StaleError where another verdict is stored than `was`; one that is stored
        already is no change."""
        self._need("review")
        verdicts = {c.number: c.verdict for c in self.store.cells()}
        if cell not in verdicts:
            raise UsageError(f"flagged cell {cell} does not exist: they are 1 to {len(verdicts)}")
        if now is not None and now not in VERDICTS:
            raise UsageError(f"verdict must be one of {', '.join(VERDICTS)} or null")
        if verdicts[cell] == now:
            return
        if verdicts[cell] != was:
            raise StaleError(f"cell {cell} was judged elsewhere in the meantime", verdicts)
        set_verdict(self.store, cell, now, self.operator)
        self._changed()

    def report(self) -> None:
        """Writes the reports and ends the review; what was reported is not written again."""
        if self.store.state == "reported" and self.report_files():
            return
        self._need("review", "reported")
        write_reports(self.store, self.operator)
        self._changed()

    def _need(self, *states: str) -> None:
        if self.store.state not in states:
            raise ConflictError(
                f"slide {self.id} is in state '{self.store.state}': this needs "
                f"{' or '.join(states)}"
            )

    # --- what is there

    def cells(self) -> ReviewCells:
        """The flagged cells with their pictures. Raises ConflictError before counting ended."""
        self._need("review", "reported")
        if self._cells is None:
            self._cells = review_cells(self.store)
        return self._cells

    def review_list(self) -> list[dict[str, Any]]:
        shown = self.cells()
        verdicts = {c.number: c.verdict for c in self.store.cells()}
        return [
            {
                "cell": c.number,
                "field": c.field,
                "box": list(c.box),
                "size": shown.sizes.get(c.field),
                "probability": c.probability,
                "verdict": verdicts[c.number],
                "picture": c.number in shown.thumbnails,
            }
            for c in shown.cells
        ]

    def report_files(self) -> dict[str, Path]:
        """The report's files by name: a request's is looked up in here, never joined to a path."""
        folder = self.store.folder / REPORT
        if self.store.state != "reported" or not folder.is_dir():
            return {}
        return {p.name: p for p in sorted(folder.iterdir()) if p.is_file() and not p.is_symlink()}

    def said(self) -> str:
        """The outcome in one sentence, in the slide's language."""
        s = self.store.settings
        return statement(session.result_of(self.store), s.rule, s.language)

    def summary(self) -> dict[str, Any]:
        s = self.store.settings
        return dict(session.session_summary(self.store)) | {
            "operator": s.operator,
            "device": s.device,
            "language": s.language,
        }

    def failed(self, error: EdgeError) -> None:
        """Keeps what went wrong with the disk, the camera or the model on the screen."""
        self.error = str(error)

    def _changed(self) -> None:
        self.error = None
        self._figures = figures(self.store)

    def snapshot(self) -> Snapshot:
        newest = self._previews[-1] if self._previews else None
        return Snapshot(
            self.id,
            {
                "id": self.id,
                "automatic": self.automatic,
                "camera": self._camera(),
                "live": None if newest is None else newest.live(),
                "last": self._last,
                "error": self.error,
                **self._figures.state,
            },
            {p.number: p.jpeg for p in self._previews},
        )

    def _camera(self) -> dict[str, str]:
        status, message = "starting", ""
        if self._feed is not None:
            status, message = self._feed.status, self._feed.message
        if self._figures.full or self._reader is None:
            status, message = "ended", TARGET_REACHED if self._reader is not None else ""
        return {"name": self.store.settings.camera, "status": status, "message": message}
