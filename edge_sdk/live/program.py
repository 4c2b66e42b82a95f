"""One classifier from its settings to its end: what belongs together opened, and closed again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.artifact import MANIFEST_FILE, read_artifact
from edge_sdk.errors import CameraError, UsageError
from edge_sdk.live.drift import DriftWatch
from edge_sdk.live.frames import FrameSaver
from edge_sdk.live.health import Health, Heartbeat, HeartbeatFile, away_text, drift_text
from edge_sdk.live.lock import only_one
from edge_sdk.live.log import Log
from edge_sdk.live.loop import End, Loop
from edge_sdk.live.notify import Notifier
from edge_sdk.live.outputs import Answer, Callback, Lines, Sink, StatusLine
from edge_sdk.live.settings import Settings, parse_roi
from edge_sdk.live.source import Frames, open_frames
from edge_sdk.live.supervise import Supervisor
from edge_sdk.preprocess import fit_image
from edge_sdk.runtime import Classifier, Model, load_model

if TYPE_CHECKING:
    from edge_sdk.live.mqtt import MqttSink
    from edge_sdk.live.page import LivePage

PAGE_S = 1.0
# For loading a model and opening what is beside it, and for closing them.
START_S = 80.0
Load = Callable[[Settings], Model]


def run_live(
    settings: Settings,
    *,
    call: Callable[[Answer], object] | None = None,
    reread: Callable[[], Settings] | None = None,
    load: Load = lambda s: load_model(Path(s.model)),
    log: Log | None = None,
) -> int:
    """Classifies until the source ends, SIGTERM or SIGINT; how many answers there were.

    call: gets every answer, too. reread: the settings after SIGHUP; wrong ones are named and the
    old ones kept. Raises EdgeError for whatever should make a service manager start it again."""
    log = log or Log()
    notifier = Notifier()
    control = _Control(reread, notifier, log)
    extra = [Callback(call)] if call else []
    total = 0
    with Supervisor(notifier, log, stop=control.stop, reload=control.reload) as supervisor:
        while True:
            state = Path(settings.state) if settings.state else None
            with only_one(state), ExitStack() as stack:
                end, answers = _run(settings, load, extra, supervisor, control, stack)
            total += answers
            following = control.take() if end == "reload" else None
            if following is None:
                notifier.stopping()
                return total
            log("SIGHUP: the configuration was read again")
            settings = following


class _Control:
    """What signals do, over one loop after another. Its methods run in the supervisor's thread."""

    def __init__(self, reread: Callable[[], Settings] | None, notifier: Notifier, log: Log) -> None:
        self._reread, self.notifier, self.log = reread, notifier, log
        self._loop: Loop | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._following: Settings | None = None

    def attach(self, loop: Loop | None) -> None:
        """A signal that came while the model was loaded reaches the loop now."""
        self._loop = loop
        if loop is not None and self._ended:
            loop.stop()
        if loop is not None and self._following is not None:
            loop.reload()

    def take(self) -> Settings | None:
        with self._lock:
            following, self._following = self._following, None
            return following

    def stop(self) -> None:
        self._ended = True
        if loop := self._loop:
            loop.stop()

    def reload(self) -> None:
        if self._reread is None:
            self.log.warn("SIGHUP: there is no configuration file to read again")
            return
        try:
            following = self._reread()
        except UsageError as e:
            self.log.warn(f"SIGHUP: the old configuration is kept: {e}")
            return
        with self._lock:
            self._following = following
        self.notifier.reloading()
        if loop := self._loop:
            loop.reload()


def _run(
    settings: Settings,
    load: Load,
    extra: Sequence[Sink],
    supervisor: Supervisor,
    control: _Control,
    stack: ExitStack,
) -> tuple[End, int]:
    log = control.log
    supervisor.within(START_S)
    model = load(settings)
    for note in model.notes:
        log(f"note: {note}")
    opened = Classifier(model, backend=settings.backend, threads=settings.threads)
    classifier = stack.enter_context(opened)
    b = classifier.backend
    log(f"{model.name} on {b.name} {b.version}" + (f" ({b.note})" if b.note else ""))
    duties = Duties(settings, classifier, control.notifier, log, stack)
    lines: list[Sink] = [] if settings.output == "none" else [Lines(settings, log)]
    frames = open_frames(settings)
    stack.callback(frames.close)
    sinks = [duties, *extra, *lines, *duties.sinks]

    loop = Loop(
        settings,
        classifier,
        frames,
        sinks,
        between=lambda: duties.between(frames),
        waiting=lambda: duties.waiting(frames),
        within=supervisor.within,
    )
    control.attach(loop)
    try:
        end = loop.run()
    finally:
        control.attach(None)
        supervisor.within(START_S)
    if end == "ended" and not loop.answers:
        raise CameraError(f"camera '{settings.camera}' ended without a frame", "missing")
    duties.finish(frames)
    log(f"{loop.answers} answers; {duties.line(frames)}" if not settings.once else "one answer")
    return end, loop.answers


class Duties:
    """What is done beside the answers: heartbeat, status line, drift, saved frames, servers. sinks:
    what gets the answers after they were printed."""

    def __init__(
        self,
        settings: Settings,
        classifier: Classifier,
        notifier: Notifier,
        log: Log,
        stack: ExitStack,
    ) -> None:
        self._settings, self._notifier, self._log = settings, notifier, log
        self._spec = classifier.model.preprocess
        self._roi = parse_roi(settings.roi) if settings.roi else None
        self._drifted = self._ready = self._away = False
        self._beat_s = self._status_s = self._page_s = float("-inf")
        self.sinks: list[Sink] = []
        self._saver: FrameSaver | None = None
        self._mqtt: MqttSink | None = None
        self._page: LivePage | None = None
        self._status: StatusLine | None = None
        self._newest: Heartbeat | None = None
        self._file = HeartbeatFile(Path(settings.heartbeat), log) if settings.heartbeat else None
        disk = Path("/")
        if settings.save_frames is not None:
            self._saver = FrameSaver(settings.save_frames, log)
            self.sinks.append(self._saver)
            disk = Path(settings.save_frames.folder)
        elif settings.state is not None:
            disk = Path(settings.state)
        self._health = Health(classifier, settings.camera, disk, _drift_watch(settings, log))
        if not settings.once:
            self._status = StatusLine(log)
            stack.callback(self._status.close)
            self._status_s = time.monotonic()
        self._open_network(stack)

    def _open_network(self, stack: ExitStack) -> None:
        s = self._settings
        if s.prometheus is not None:
            from edge_sdk.live.prometheus import serve_metrics

            server = serve_metrics(s.prometheus, lambda: self._newest)
            stack.callback(server.close)
            self._log(f"metrics: http://{s.prometheus.address}:{server.port}/metrics")
        if s.page is not None:
            from edge_sdk.live.page import LivePage

            self._page = LivePage(s, s.page, self._log)
            stack.callback(self._page.close)
            self.sinks.append(self._page)
        if s.mqtt is not None:
            from edge_sdk.live.mqtt import MqttSink

            self._mqtt = MqttSink(s, s.mqtt, self._log)
            stack.callback(self._mqtt.close)
            self.sinks.append(self._mqtt)

    def write(self, answer: Answer) -> None:
        self._health.add(answer)
        watch, now = self._health.drift, answer.frame.taken_s
        if watch is not None and watch.due(now):
            pixels = (
                answer.frame.pixels if self._roi is None else self._roi.cut(answer.frame.pixels)
            )
            watch.add(fit_image(pixels, self._spec), now)

    def between(self, frames: Frames) -> None:
        """Called often; does what is due."""
        self._watch_camera(frames)
        now = time.monotonic()
        if not self._ready or now - self._beat_s >= self._settings.heartbeat_s:
            self._beat_s = now
            self._beat(frames)
        if not self._ready:
            self._ready = True
            self._notifier.ready(f"classifying frames of {self._settings.camera}")
        if self._status is not None and now - self._status_s >= self._status.every_s:
            self._status_s = now
            self._status.show(self.line(frames))
        if self._page is not None and now - self._page_s >= PAGE_S:
            self._page_s = now
            self._page.status(self.line(frames))

    def waiting(self, frames: Frames) -> None:
        """Called often while no frame comes. A service that gave no answer yet is not ready."""
        self._watch_camera(frames)
        if self._ready:
            self.between(frames)

    def _watch_camera(self, frames: Frames) -> None:
        trouble = frames.trouble
        if trouble is not None and not self._away:
            self._log.warn(away_text(trouble))
        elif trouble is None and self._away:
            self._log("the camera gives frames again")
        self._away = trouble is not None

    def finish(self, frames: Frames) -> None:
        if self._ready:
            self._beat(frames)

    def line(self, frames: Frames) -> str:
        return self._health.line(frames.counts)

    def _beat(self, frames: Frames) -> None:
        saved, not_saved = (self._saver.saved, self._saver.not_saved) if self._saver else (0, 0)
        beat = self._newest = self._health.beat(frames.counts, saved, not_saved, frames.trouble)
        if self._file is not None:
            self._file.write(beat)
        if self._mqtt is not None:
            self._mqtt.beat(beat)
        drifted = beat.drift is not None and bool(beat.drift.drifted)
        if drifted and not self._drifted and beat.drift is not None:
            self._log.warn(drift_text(beat.drift))
        elif self._drifted and not drifted:
            self._log("the input is again as the calibration images were")
        self._drifted = drifted


def _drift_watch(settings: Settings, log: Log) -> DriftWatch | None:
    path = Path(settings.model)
    if not (path / MANIFEST_FILE).is_file():
        return None
    statistics = read_artifact(path).manifest.input_statistics
    if statistics is None:
        log("drift is not watched: the artifact has no input statistics; convert it again")
        return None
    return DriftWatch(statistics)
