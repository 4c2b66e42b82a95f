"""The schemes a model can be converted to. The scheme is in the artifact's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_sdk.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Scheme:
    """max_drop: accuracy, in percentage points, that the gate lets the conversion lose.

    activation_bits, convolution_bits: of an integer scheme, 0 for a float one. depthwise_bits: of
    depthwise kernels. The first convolution's weights, and all others', have 8 bits."""

    name: str
    summary: str
    max_drop: float
    activation_bits: int = 0
    convolution_bits: int = 0
    depthwise_bits: int = 8

    @property
    def integer(self) -> bool:
        return self.activation_bits > 0


SCHEMES = {
    s.name: s
    for s in (
        Scheme("float32", "as trained", 0.1),
        Scheme("float16", "weights in half precision, computed in float32", 0.5),
        Scheme("int8", "weights, activations, input and output in 8 bits", 1.5, 8, 8),
        Scheme("int16x8", "8-bit weights, 16-bit activations, input and output", 0.5, 16, 8),
        Scheme("w4a8", "4-bit convolution weights but the first's, 8 bits elsewhere", 1.5, 8, 4),
    )
}


def scheme_named(name: str) -> Scheme:
    """Raises UsageError, with the near misses, for a name that is not in SCHEMES."""
    if name not in SCHEMES:
        raise UsageError(unknown_name("scheme", name, SCHEMES))
    return SCHEMES[name]


def with_depthwise_bits(schemes: Sequence[Scheme], bits: int) -> list[Scheme]:
    """The schemes, those with 4-bit convolutions with `bits` bits for depthwise kernels too.

    Raises UsageError for 4 bits where no scheme has 4-bit convolutions."""
    narrow = [s for s in schemes if s.convolution_bits == 4]
    if bits == 8:
        return list(schemes)
    if not narrow:
        raise UsageError(
            f"--depthwise-bits {bits}: only w4a8 has 4-bit weights; add --to w4a8 or leave it out"
        )
    summary = "4-bit convolution and depthwise weights but the first's, 8 bits elsewhere"
    return [replace(s, depthwise_bits=bits, summary=summary) if s in narrow else s for s in schemes]
