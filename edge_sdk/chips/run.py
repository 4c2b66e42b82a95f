"""Runs an experiment on chips: one process per core, each chip whole in one of them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk import metrics
from edge_sdk.backends.cim.chip import Chip, needs_images
from edge_sdk.backends.cim.converters import AdcRanges
from edge_sdk.backends.cim.deployed import Deployed, converter_ranges, open_deployed
from edge_sdk.backends.cim.kernel import short_names
from edge_sdk.backends.cim.mapping import map_network, require_fit
from edge_sdk.backends.cim.profile import CimProfile, load_cim_profile
from edge_sdk.backends.cim.sums import exact_sums
from edge_sdk.chips.images import Judged, calibration_images, judged_images, probabilities
from edge_sdk.chips.results import ChipsResult, Ideal, Row, points_of
from edge_sdk.chips.rows import RowsFile, missing
from edge_sdk.chips.settings import ChipsRequest, Setting, chip_of
from edge_sdk.errors import UsageError
from edge_sdk.files import sha256
from edge_sdk.progress import Progress, silent
from edge_sdk.runtime import Model, load_model
from edge_sdk.strict import to_plain

# Images between two seeds of read noise, so that a result does not depend on who computes it.
CHUNK = 64

Ranges = dict[int | None, AdcRanges]


@dataclass(frozen=True, eq=False)
class Bench:
    """What every chip of an experiment shares."""

    model: Model
    deployed: Deployed
    profile: CimProfile
    judged: Judged
    ideal: npt.NDArray[np.int64]
    digital: frozenset[str]
    ranges: Ranges
    compensate_drift: bool


def run_chips(request: ChipsRequest, progress: Progress = silent) -> ChipsResult:
    """Every setting on every chip.

    Raises UsageError for what cannot be (a chip too small, a temperature outside the profile's
    data, converters without images to calibrate them on) before anything runs, DataError and
    ModelError for what cannot be read."""
    profile = load_cim_profile(request.profile)
    model = load_model(request.model)
    deployed = open_deployed(model.path)
    require_fit(map_network(deployed.kernels, profile), profile)
    settings = request.settings()
    for setting in settings:  # each that cannot be, before hours of those that can
        Chip(
            chip_of(profile, setting),
            (),
            time_s=setting.time_s,
            temperature_c=setting.temperature_c,
        )
    digital = _whole_names(request.digital, model.name, [k.name for k in deployed.kernels])
    judged = judged_images(
        model, deployed.input, request.data, request.split_file, request.images, progress
    )
    calibration = calibration_images(
        model,
        deployed.input,
        request.calibration,
        (request.data, request.split_file),
        request.calibration_images,
        progress,
    )
    ideal = _calls(model, deployed, deployed.run(judged.levels, exact_sums, ()))
    bench = Bench(
        model=model,
        deployed=deployed,
        profile=profile,
        judged=judged,
        ideal=ideal[0],
        digital=frozenset(digital),
        ranges=_ranges(profile, deployed, settings, calibration, progress),
        compensate_drift=request.compensate_drift,
    )
    file = RowsFile(request.rows, _identity(request, bench, calibration))
    jobs = [(setting, seed) for setting in settings for seed in range(request.chips)]
    for row in _work(bench, missing(file.rows, jobs), request.processes, progress):
        file.add(row)
    order = {job: n for n, job in enumerate(jobs)}
    rows = [r for r in file.rows if (r.setting, r.seed) in order]
    rows.sort(key=lambda r: order[r.setting, r.seed])
    return ChipsResult(
        model=model.name,
        sha256=_digest(model.path),
        profile=f"{profile.name}:{profile.mode}" if profile.mode else profile.name,
        data=judged.name,
        simulated=judged.simulated,
        images=len(judged.truth),
        calibration_images=0 if calibration is None else len(calibration),
        chips=request.chips,
        ideal=Ideal(*_figures(bench, *ideal)[:2]),
        points=points_of(rows),
        images_per_s=len(rows) * len(judged.truth) / sum(r.seconds for r in rows),
        digital=request.digital,
    )


def _whole_names(given: Sequence[str], model: str, names: Sequence[str]) -> list[str]:
    """Layers by the names in the file, or by the short ones that tables print."""
    short = short_names(names)
    whole = {name: name for name in names} | {short[name]: name for name in names}
    if unknown := sorted(set(given) - set(whole)):
        raise UsageError(
            f"--digital {unknown[0]} is no layer with weights of {model}: "
            f"{', '.join(short.values())}"
        )
    return [whole[name] for name in given]


def _identity(request: ChipsRequest, bench: Bench, calibration: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "model": _digest(bench.model.path),
        "profile": to_plain(bench.profile),
        "data": bench.judged.name,
        "images": len(bench.judged.truth),
        "calibration_images": 0 if calibration is None else len(calibration),
        "digital": sorted(bench.digital),
        "compensate_drift": request.compensate_drift,
    }


def _digest(path: Path) -> str:
    return sha256(path / "model.npz" if path.is_dir() else path)


def _ranges(
    profile: CimProfile,
    deployed: Deployed,
    settings: Sequence[Setting],
    calibration: Any,
    progress: Progress,
) -> Ranges:
    """Converters' ranges by their bits."""
    found: Ranges = {}
    needed = dict.fromkeys(s.adc_bits for s in settings)
    for done, bits in enumerate(needed):
        progress("calibrate converters", done, len(needed))
        described = chip_of(profile, Setting(adc_bits=bits))
        if needs_images(described) and calibration is None:
            raise UsageError(
                f"profile {profile.name}: adc.range is '{described.adc.range}', so its converters "
                "are calibrated on images that are not judged: give --calibration DIR, or "
                "--split-file of a training"
            )

        found[bits] = converter_ranges(deployed, described, calibration)
    progress("calibrate converters", len(needed), len(needed))
    return found


def one_chip(bench: Bench, setting: Setting, seed: int) -> Row:
    """All images through one chip."""
    start = time.perf_counter()
    kernels = bench.deployed.kernels
    chip = Chip(
        chip_of(bench.profile, setting),
        kernels,
        seed=seed,
        time_s=setting.time_s,
        temperature_c=setting.temperature_c,
        digital=bench.digital,
        ranges=bench.ranges[setting.adc_bits],
        compensate_drift=bench.compensate_drift,
    )
    exact = chip.exact
    raw = []
    for chunk, first in enumerate(range(0, len(bench.judged.levels), CHUNK)):
        chip.new_reads(chunk)
        levels = bench.judged.levels[first : first + CHUNK]
        raw.append(bench.deployed.run(levels, chip, exact))
    found = _calls(bench.model, bench.deployed, np.concatenate(raw))
    accuracy, area, agreement = _figures(bench, *found)
    return Row(setting, seed, accuracy, agreement, area, time.perf_counter() - start)


def _calls(
    model: Model, deployed: Deployed, raw: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], metrics.Floats]:
    """Class numbers and probabilities of output levels."""
    p = probabilities(model, deployed.output, raw)
    return p.argmax(1), p


def _figures(
    bench: Bench, calls: npt.NDArray[np.int64], p: metrics.Floats
) -> tuple[float, float | None, float]:
    """Accuracy, ROC area of the first of two classes, agreement with exact arithmetic."""
    truth = bench.judged.truth
    area = None
    if p.shape[1] == 2 and 0 < (truth == 0).sum() < len(truth):
        area = float(metrics.areas(p[:, 0], truth == 0, np.ones((1, len(truth))))[0][0])
    return float((calls == truth).mean()), area, float((calls == bench.ideal).mean())


# --- processes -----------------------------------------------------------------------------

_bench: Bench | None = None


def _work(
    bench: Bench, jobs: Sequence[tuple[Setting, int]], processes: int, progress: Progress
) -> Iterator[Row]:
    if processes == 1 or len(jobs) < 2:
        for done, job in enumerate(jobs):
            progress("chips", done, len(jobs))
            yield one_chip(bench, *job)
        progress("chips", len(jobs), max(1, len(jobs)))
        return
    with tempfile.TemporaryDirectory() as folder, _one_thread_each():
        levels = Path(folder) / "levels.npy"
        np.save(levels, bench.judged.levels)
        shared = (
            bench.model, bench.profile, levels, bench.judged.truth, bench.ideal, bench.digital,
            bench.ranges, bench.compensate_drift,
        )  # fmt: skip
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(processes, len(jobs)), _open_bench, shared) as pool:
            progress("chips", 0, len(jobs))
            for done, row in enumerate(pool.imap_unordered(_in_process, jobs), start=1):
                yield row
                progress("chips", done, len(jobs))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Matrix libraries of processes that start inside take one thread each."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _open_bench(model: Model, profile: CimProfile, levels: Path, truth: Any, *rest: Any) -> None:
    global _bench  # what a pool's process keeps between its jobs
    judged = Judged("", False, np.load(levels, mmap_mode="r"), truth)
    _bench = Bench(model, open_deployed(model.path), profile, judged, *rest)


def _in_process(job: tuple[Setting, int]) -> Row:
    assert _bench is not None
    return one_chip(_bench, *job)
