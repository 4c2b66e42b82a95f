"""Cells cut out as the classifier saw them in training: the NLM cell images (Rajaraman et al.,
PeerJ 2018) are the bounding box of a slightly enlarged mask, black outside it, no margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_sdk.preprocess import Pixels, Preprocess, fit_image
from edge_sdk.screening.segment import Cell


def crop_cell(pixels: Pixels, cell: Cell) -> Pixels:
    """uint8 (height, width, 3) RGB of the cell's box, black outside its mask.

    pixels: the field that the cell was found in, uint8 (H, W, 3)."""
    x, y, w, h = cell.box
    return np.where(cell.mask[..., None], pixels[y : y + h, x : x + w], np.uint8(0))


def crop_cells(pixels: Pixels, cells: Sequence[Cell], spec: Preprocess) -> Pixels:
    """All cells at the model's size, uint8 (N, height, width, 3) RGB, in the cells' order; spec:
    as the artifact's manifest has it."""
    out = np.empty((len(cells), spec.height, spec.width, 3), np.uint8)
    for i, cell in enumerate(cells):
        out[i] = fit_image(crop_cell(pixels, cell), spec)
    return out
