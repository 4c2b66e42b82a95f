"""The array model beside CrossSim 3.2 and aihwkit 1.2: matrix-vector cases that were run there.

    python tools/cim_golden.py ../shared/data/cim-golden

A case is an .npz with W (out, in), X (vectors, in), Y and params (JSON). Printed per case: outputs
that are equal (to float rounding), the same among outputs of which no converter sees a tie, and
the largest difference in steps of a converter. A tie is a sum half-way between two codes: which way
it goes hangs on the last bit of a floating-point sum, so on the order of additions.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_sdk.backends.cim import array, cells, folding, loops, noise
from edge_sdk.backends.cim import profile as parts
from edge_sdk.backends.cim.kernel import Kernel

Floats = npt.NDArray[np.floating[Any]]

_NAME = "golden"
# Share of the largest output within which float32 sums of other orders lie.
_ROUNDING = 1e-5
# Distance from half a code, in codes, within which a float32 sum can fall on either side.
_TIE = 1e-3


@dataclass(frozen=True)
class Case:
    name: str
    weights: npt.NDArray[np.int8]
    inputs: npt.NDArray[np.int32]
    outputs: Floats
    params: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """equal, tie_free: shares. arrays: over which an output is added up. lsb: largest difference in
    steps of a converter; rms: of the difference, share of the outputs' own; ours: (vectors, out).
    """

    case: Case
    equal: float
    tie_free: float
    ties: float
    arrays: int
    lsb: float
    rms: float
    ours: Floats


def load(path: Path) -> Case:
    with np.load(path) as data:
        params = json.loads(str(data["params"]))
        w, x, y = data["W"], data["X"], data["Y"]
    return Case(path.stem, w.T.astype(np.int8), x.astype(np.int32), y.astype(np.float64), params)


def compare(case: Case, *, exact_wires: bool = False) -> Compared:
    if "core_style" in case.params:
        ours, step, ties, arrays = _crosssim(case, exact_wires)
    else:
        ours, step, ties, arrays = _aihwkit(case)
    difference = np.abs(ours - case.outputs)
    equal = difference <= _ROUNDING * np.abs(case.outputs).max()
    free = float(equal[~ties].mean()) if not ties.all() else float("nan")
    rms = np.sqrt((difference**2).mean() / (case.outputs**2).mean())
    lsb = float((difference / step).max()) if np.all(step) else float("nan")
    return Compared(
        case, float(equal.mean()), free, float(ties.mean()), arrays, lsb, float(rms), ours
    )


def crosssim_profile(params: dict[str, Any]) -> parts.CimProfile:
    none = parts.Spread((0.0,), (0.0,), ((0.0,),))
    alpha = params.get("alpha_error", 0.0) if params["error_model"] != "none" else 0.0
    bits, slices = params["weight_bits"], params["Nslices"]
    balanced = params["core_style"] == "BALANCED"
    share = bits // slices if bits % slices == 0 else -(-(bits - balanced) // slices)
    return parts.CimProfile(
        _NAME,
        _NAME,
        parts.Chip(_NAME, "analog", "", 0, 0, True),
        parts.Array(params["NrowsMax"] or 1 << 15, params["NcolsMax"] or 1 << 15, 1 << 15, 0),
        parts.Cells(
            "balanced" if balanced else "offset",
            1,
            share,
            0 if params["infinite_on_off_ratio"] else params["Rmax"] / params["Rmin"],
        ),
        parts.Dac("parallel", params["input_bits"]),
        parts.Adc(
            params["adc_bits"] == 0,
            params["adc_bits"],
            "max" if params["adc_range_option"] == "MAX" else "percentile",
            100,
            0,
            0,
        ),
        parts.Errors(
            replace(none, sigma=((alpha,),)),
            none,
            parts.Drift(0, 0, 1),
            parts.Temperature(0, 25, 25, 25),
            0,
            0,
            params.get("Rp_row", 0.0),
            params.get("Rp_col", 0.0),
            params["Rmin"],
        ),
        parts.Layers("digital", "isolated"),
        parts.Costs(*[0.0] * 14),
        {},
        {},
    )


def crosssim_layer(case: Case, *, seed: int = 0, exact_wires: bool = False) -> array.Layer:
    params, profile = case.params, crosssim_profile(case.params)
    low, high = (int(v) for v in params["input_range"])
    bits = params["weight_bits"]
    kernel = Kernel(
        _NAME, "dense", case.weights, bits, 0, 0, low, high, (1, 1), (0, 0, 0, 0), (1, 1)
    )
    ranges = None
    if "adc_range" in params:
        found = np.atleast_2d(np.array(params["adc_range"], float)).max(axis=1)
        sliced = cells.sliced(case.weights, bits, profile.cells)
        ranges = {
            (_NAME, i): float(found[min(i, len(found) - 1)])
            * cells.level_scale(part, profile.cells)
            * max(high, -low)
            for i, part in enumerate(sliced)
        }
    state = folding.State(profile, seed, 0.0, 25.0, ranges, exact_wires=exact_wires)
    return folding.fold(kernel, state)


def _crosssim(case: Case, exact_wires: bool) -> tuple[Floats, Any, npt.NDArray[np.bool_], int]:
    layer = crosssim_layer(case, exact_wires=exact_wires)
    x = case.inputs[:, None].astype(layer.dtype)
    ours = array.accumulate(layer, x, array.Desk(noise.Stream((0,)))).astype(np.float64)
    ties = np.zeros(ours.shape, bool)
    steps = []
    for block in layer.blocks:
        if block.codes is None:
            continue
        codes = case.inputs[:, block.rows] @ block.weights / block.codes.step
        inside = (codes > block.codes.low) & (codes < block.codes.high)
        ties |= inside & (np.abs(codes - np.floor(codes) - 0.5) < _TIE)
        steps.append(block.codes.step * block.worth)
    arrays = len({b.rows.start for b in layer.blocks})
    if case.params["core_style"] == "OFFSET":
        # CrossSim leaves the lowest of 2^bits levels unused but takes all of them for the scale.
        ours *= 1 - 1 / ((1 << case.params["weight_bits"]) - 1)
    return ours, max(steps, default=0.0), ties, arrays


def _aihwkit(case: Case) -> tuple[Floats, Any, npt.NDArray[np.bool_], int]:
    """aihwkit's inference tile: inputs of a vector scaled by their largest magnitude and rounded,
    each column by its largest weight, outputs clipped at out_bound; all in float32."""
    params, number = case.params, np.float32
    bound, fine = params["out_bound"], number(2 * params["inp_res"])
    step = number(2 * bound * params["out_res"])
    high = round(bound / step)
    total = np.zeros(case.outputs.shape)
    ties, largest = np.zeros(total.shape, bool), np.zeros(total.shape)
    blocks = array.row_blocks(len(case.weights), params["rows"])
    for rows in blocks:
        x, w = case.inputs[:, rows].astype(number), case.weights[rows].astype(number)
        scale, column = np.abs(x).max(axis=1, keepdims=True), np.abs(w).max(axis=0)
        scale[scale == 0] = column[column == 0] = 1
        sums = (np.rint(x / scale / fine) * fine) @ (w / column)
        codes = np.zeros(sums.shape, number)
        loops.convert(sums, 1 / step, number(-high), number(high), number(1), codes, 0)
        exact = sums / step
        inside = np.abs(exact) < high
        ties |= inside & (np.abs(exact - np.floor(exact) - 0.5) < _TIE)
        worth = step * scale.astype(float) * column
        total += codes * worth
        largest = np.maximum(largest, worth)
    return total, largest, ties, len(blocks)


def sigma(case: Case, seeds: range) -> tuple[float, float]:
    """Standard deviation of outputs around X W, in the file and of our chips."""
    exact = case.inputs.astype(np.float64) @ case.weights
    desk = array.Desk(noise.Stream((0,)))
    found = []
    for seed in seeds:
        layer = crosssim_layer(case, seed=seed)
        x = case.inputs[:, None].astype(layer.dtype)
        found.append(np.var(array.accumulate(layer, x, desk) - exact))
    return float(np.std(case.outputs - exact)), float(np.sqrt(np.mean(found)))


def table(folder: Path) -> str:
    lines = [
        f"{'case':26s} {'arrays':>6s} {'equal %':>8s} {'tie-free %':>10s} {'ties %':>7s} "
        f"{'max LSB':>8s} {'rms %':>8s}"
    ]
    for path in sorted(folder.glob("*.npz")):
        case = load(path)
        if case.params.get("error_model", "none") != "none":
            theirs, ours = sigma(case, range(100))
            lines.append(f"{case.name:26s} sigma {theirs:.1f}, ours over 100 chips {ours:.1f}")
            continue
        wired = bool(case.params.get("Rp_row") or case.params.get("Rp_col"))
        for exact in (False, True) if wired else (False,):
            c = compare(case, exact_wires=exact)
            name = case.name + (" (reference)" if exact else " (first order)" if wired else "")
            lines.append(
                f"{name:26s} {c.arrays:6d} {100 * c.equal:8.3f} {100 * c.tie_free:10.3f} "
                f"{100 * c.ties:7.2f} {c.lsb:8.3f} {100 * c.rms:8.4f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    print(table(parser.parse_args().folder))
