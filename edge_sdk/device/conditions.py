"""Why a measurement may not repeat: what a device's clock and heat say, in words."""

from __future__ import annotations

from collections.abc import Iterator

from edge_sdk.benchmark.measure import Conditions

# The clock counts as steady within this share, the heat within these degrees.
STEADY = 0.05
RISE_C = 10.0
HOT_C = 80.0
# An interpreter with a small model takes about this much.
SCARCE_BYTES = 100_000_000
# The lower bits of `vcgencmd get_throttled` say what is so now; 16 above them, what has been so
# since the board started (Raspberry Pi documentation, vcgencmd).
BITS = {
    0: "under-voltage (check the power supply)",
    1: "a capped clock",
    2: "throttling",
    3: "the soft temperature limit",
}


def condition_warnings(c: Conditions) -> tuple[str, ...]:
    return tuple(_warnings(c))


def _warnings(c: Conditions) -> Iterator[str]:
    if c.before.governor not in (None, "performance"):
        yield (
            f"the clock governor is {c.before.governor}, not performance: a short or idle run is "
            "timed at a lower clock (on Linux: echo performance | sudo tee "
            "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor)"
        )
    low, high = c.clock_low_mhz, c.clock_high_mhz
    if low is not None and high is not None and low < (1 - STEADY) * high:
        yield f"the clock changed between {low:.0f} and {high:.0f} MHz during the runs"
    top = (c.before.clock_max_mhz, c.after.clock_max_mhz)
    if top[0] is not None and top[1] is not None and top[1] < (1 - STEADY) * top[0]:
        yield f"the highest clock was lowered from {top[0]:.0f} to {top[1]:.0f} MHz meanwhile"
    free = c.before.memory_free_bytes
    if free is not None and free < SCARCE_BYTES:
        yield f"only {free / 1e6:.0f} MB of memory were free before the runs: it may have swapped"
    yield from _throttling(c.before.throttled, c.after.throttled)
    if c.after.cooling:
        yield "the kernel was holding the clock back for heat when the runs ended"
    start, end = c.before.temperature_c, c.after.temperature_c
    if start is not None and end is not None and end - start > RISE_C:
        yield f"the temperature rose from {start:.0f} to {end:.0f} C: longer runs may be slower"
    if end is not None and end >= HOT_C:
        yield f"the device was at {end:.0f} C when the runs ended: it may be throttled"


def _throttling(before: int | None, after: int | None) -> Iterator[str]:
    """Bits that hold at the end, or appeared meanwhile; else those of before the runs."""
    if after is None:
        return
    earlier = before or 0
    now = [b for b in BITS if after >> b & 1 or (after & ~earlier) >> (b + 16) & 1]
    if now:
        yield "the firmware reported during the runs: " + ", ".join(BITS[b] for b in now)
    past = [b for b in BITS if after >> (b + 16) & 1 and b not in now]
    if past:
        yield "the firmware reports since the board's start: " + ", ".join(BITS[b] for b in past)
