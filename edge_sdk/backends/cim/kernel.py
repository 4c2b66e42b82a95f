"""What an array of cells needs to know of a layer with weights, whichever file it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["convolution", "depthwise", "dense"]
Levels = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer with weights, as integers.

    weights: int8 (kh, kw, in, out); depthwise (kh, kw, channels); dense (in, out). bits: of the
    weights, 2 to 8. zero: the level that stands for a weight of 0 (0 but for old uint8 models,
    whose levels are stored minus 128). input_zero: the level that stands for an input of 0, which
    is also what padding holds. input_low, input_high: the levels that its input can take.
    stride: (y, x). padding: (top, bottom, left, right). positions: output positions (oh, ow) of an
    image, (1, 1) for dense."""

    name: str
    kind: Kind
    weights: npt.NDArray[np.int8]
    bits: int
    zero: int
    input_zero: int
    input_low: int
    input_high: int
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    positions: tuple[int, int]

    @property
    def inputs(self) -> int:
        """Input channels."""
        return int(self.weights.shape[-1 if self.kind == "depthwise" else -2])

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[-1])

    @property
    def rows(self) -> int:
        """Inputs of one output: the rows it takes on an array."""
        return math.prod(self.weights.shape[:-1])

    @property
    def mult_adds(self) -> int:
        """Per image."""
        return math.prod((*self.weights.shape, *self.positions))


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names to read, by name: what converters join with ';' and every name begins with is left
    out; a name that would not be unique then stays whole."""
    first = [name.split(";")[0].split("/") for name in names]
    shared = 0
    if len(first) > 1:
        while all(len(n) > shared + 1 and n[shared] == first[0][shared] for n in first):
            shared += 1
    short = ["/".join(n[shared:]) for n in first]
    return {name: s if short.count(s) == 1 else name for name, s in zip(names, short, strict=True)}


# Sums of weight * input, both minus their zeros, from levels (N, h, w, in) or (N, in): integers in
# any number type, (N, oh, ow, out) or (N, out). Bias and rescaling are the caller's.
Accumulate = Callable[[Kernel, Levels], Levels]
