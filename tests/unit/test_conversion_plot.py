from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_artifact import manifest_of

from edge_sdk.artifact import Artifact, Attempt
from edge_sdk.errors import UsageError
from edge_sdk.plots import write_conversion_plot


@pytest.mark.parametrize("drop", [-0.4, 2.0, 57.0])
def test_a_conversion_is_drawn(models: Path, tmp_path: Path, drop: float) -> None:
    pytest.importorskip("matplotlib")
    plain = manifest_of(models / "tiny-int8.tflite")
    attempts = (
        Attempt("min-max", drop, False, 6000),
        Attempt("later", drop / 2, False, 6500, ("a",)),  # a method that this page does not know
        Attempt("mixed", 1.0, True, 7000, ("a", "b"), taken=True),
        Attempt("of old", 1.0, False),
    )
    made = [Artifact(tmp_path, m) for m in (plain, replace(plain, attempts=attempts))]
    write_conversion_plot(tmp_path / "x.png", "tiny", made)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_another_name_than_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--plot .*x\.jpg: the plot is a PNG"):
        write_conversion_plot(tmp_path / "x.jpg", "tiny", [])
