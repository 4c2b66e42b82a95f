"""What executed code says where no timing does: int4 beside int8, and int8 beside float.

Instructions are not time. How far the ratio of executed instructions and the ratio of published
latencies lie apart is therefore taken from the tables that time both data types on a core that is
counted; their mean corrects the ratio int8 / float, and their scatter widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean

from edge_sdk.benchmark.executed import CORE, core_of, count_model
from edge_sdk.benchmark.tables import shipped_tables
from edge_sdk.cost import ModelCost, cost_of_architecture
from edge_sdk.profiles import load_profile, profile_names

# An int8 value takes a quarter of a float's bytes.
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Both:
    """One table that times both data types on a counted core, means over the models it has twice:
    latency and instructions int8 / float, and how far apart they are (a logarithm)."""

    table: str
    cpu: str
    models: int
    latency: float
    instructions: float

    @property
    def apart(self) -> float:
        return math.log(self.latency / self.instructions)


@dataclass(frozen=True)
class Borrowed:
    """factor: from the estimate that is there to the one that is not. uncertainty: of it, a
    logarithm. said: what it rests on."""

    factor: float
    uncertainty: float
    said: str


@lru_cache(maxsize=1)
def both_timed() -> tuple[Both, ...]:
    """Every such table, but for boards whose core is not counted."""
    cores = {p.device: core_of(p.hardware.cpu) for p in map(load_profile, profile_names())}
    tables = shipped_tables()
    found = []
    for name, dtype_class in tables:
        if dtype_class != "float" or (name, "int8") not in tables:
            continue
        first, second = tables[name, "float"], tables[name, "int8"]
        # A board at another clock has a name of its own that begins with the board's.
        cpu = next((c for d, c in cores.items() if first.rows[0].device.startswith(d) and c), None)
        floats = dict(zip(first.keys, first.y, strict=True))
        timed = {key: ms / floats[key] for key, ms in zip(second.keys, second.y, strict=True)
                 if key in floats}  # fmt: skip
        if cpu is None or not timed:
            continue
        counts = [_ratio(cost_of_architecture(*key, dtype="int8"), cpu) for key in timed]
        found.append(Both(name, cpu, len(timed), _mean(timed.values()), _mean(counts)))
    return tuple(found)


def apart(cpu: str) -> tuple[float, float]:
    """Mean of what the tables of a core lie apart, and the most that any table of any core lies
    from its core's mean (logarithms). A core without a table: the mean of all."""
    tables = both_timed()
    means = {c: fmean(t.apart for t in tables if t.cpu == c) for c in {t.cpu for t in tables}}
    spread = max(abs(t.apart - means[t.cpu]) for t in tables)
    return means.get(cpu, fmean(t.apart for t in tables)), spread


def left_out_errors(table: Both) -> tuple[float, float]:
    """int8 by float for a table, |estimate / published - 1| of the mean ratio: by instructions, and
    by the plain latency ratio, both as the other tables of the core have them (of all, where the
    core has none)."""
    others = [t for t in both_timed() if t.table != table.table]
    near = [t for t in others if t.cpu == table.cpu] or others
    executed = table.instructions * math.exp(fmean(t.apart for t in near))
    plain = _mean(t.latency for t in near)
    return abs(executed / table.latency - 1), abs(plain / table.latency - 1)


def int4_by_int8(cost: ModelCost, cpu: str | None) -> Borrowed:
    """From int8 to int4 kernels (w4a8) by instructions alone: nobody has timed int4. Where none
    were counted (None) int4 is taken for int8, as unsure as the others."""
    if cpu is None:
        spread = apart(CORE)[1]
        return Borrowed(
            1.0,
            spread,
            "estimated as int8: no int4 timing has been published, and no instructions were "
            f"counted as this core. Interval widened by {math.exp(spread):.2f}, as where they were",
        )
    ratio = count_model(cpu, "w4a8")(cost) / count_model(cpu, "int8")(cost)
    spread = apart(cpu)[1]
    return Borrowed(
        ratio,
        spread,
        f"estimated from executed instructions, no int4 timing has been published: as "
        f"{cpu.title()}, w4a8 executes {ratio:.2f} times what int8 does ({_counted(cpu, 'w4a8')}). "
        f"Interval widened by {math.exp(spread):.2f}: so far tables lie from each other that time "
        "int8 and float, over what is executed",
    )


def int8_by_float(cost: ModelCost, cpu: str) -> Borrowed:
    """From float to int8: instructions, times what published ratios differ from them on a core."""
    ratio = _ratio(cost, cpu)
    mean, spread = apart(cpu)
    tables = sum(t.cpu == cpu for t in both_timed())
    return Borrowed(
        ratio * math.exp(mean),
        spread,
        f"no int8 timing of this device and runtime has been published: as {cpu.title()}, int8 "
        f"executes {ratio:.2f} times what float does ({_counted(cpu, 'int8')}, which this runtime "
        f"may not be), and latencies are {math.exp(mean):.2f} times that in the {tables} published "
        f"tables of this core with both. Interval widened by {math.exp(spread):.2f}: the farthest "
        "of such tables",
    )


def as_float(cost: ModelCost) -> ModelCost:
    """The same network in float32."""
    return ModelCost(
        tuple(
            replace(
                layer,
                weight_bytes=layer.parameters * FLOAT_BYTES,
                activation_bytes_in=layer.activation_bytes_in * FLOAT_BYTES,
                activation_bytes_out=layer.activation_bytes_out * FLOAT_BYTES,
                live_bytes=layer.live_bytes * FLOAT_BYTES,
                weight_dtype="float32" if layer.weight_dtype else "",
                activation_dtype="float32",
            )
            for layer in cost.layers
        )
    )


def _ratio(cost: ModelCost, cpu: str) -> float:
    return count_model(cpu, "int8")(cost) / count_model(cpu, "float32")(cost)


def _mean(ratios: Iterable[float]) -> float:
    return math.exp(fmean(math.log(r) for r in ratios))


def _counted(cpu: str, dtype: str) -> str:
    model = count_model(cpu, dtype).score
    return (
        f"LiteRT's code, {model.rows} MobileNets counted, others by a model of the counts that is "
        f"{model.one_out:.1%} off"
    )
