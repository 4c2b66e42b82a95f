"""Whether the emulator's exact arithmetic is LiteRT's, tensor by tensor, on a folder of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.backends.cim.compare import Difference, first_difference
from edge_sdk.backends.cim.execute import tensors
from edge_sdk.backends.cim.network import read_network
from edge_sdk.chips.images import calibration_images
from edge_sdk.errors import UsageError
from edge_sdk.progress import Progress, silent
from edge_sdk.runtime import Model

IMAGES = 20
# Images at a time: all tensors of each are held, twice.
_GROUP = 8


@dataclass(frozen=True)
class Exactness:
    """tensors: results of steps, of an image. bytes: compared, over all images. difference: the
    first, its element with the number of the image; None: there is none."""

    images: int
    tensors: int
    bytes: int
    difference: Difference | None

    def __str__(self) -> str:
        if self.difference is not None:
            return str(self.difference)
        return (
            f"0 differing bytes in {self.tensors} tensors over {self.images} images "
            f"({self.bytes:,} bytes), beside LiteRT's reference kernels"
        )


def check_exact(
    model: Model, data: Path, count: int = IMAGES, progress: Progress = silent
) -> Exactness:
    """At most `count` images of a folder. Stops at the first group of images that differs.

    Raises UsageError for an integer model, which LiteRT does not run; as first_difference does."""
    if model.path.is_dir():
        raise UsageError(
            f"--check-exact compares with LiteRT, which runs no integer model: {model.path}"
        )
    network = read_network(model.path)
    levels = calibration_images(model, network.input, data, None, count, progress)
    assert levels is not None  # a folder is given
    one = tensors(network, levels[:1])
    size = sum(one[step.output].nbytes for step in network.steps)
    steps = len(network.steps)
    for first in range(0, len(levels), _GROUP):
        progress("compare tensors", first, len(levels))
        found = first_difference(model.path, levels[first : first + _GROUP])
        if found is not None:
            element = (found.element[0] + first, *found.element[1:])
            return Exactness(first + _GROUP, steps, 0, replace(found, element=element))
    progress("compare tensors", len(levels), len(levels))
    return Exactness(len(levels), steps, size * len(levels), None)
