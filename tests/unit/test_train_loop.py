from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import UsageError
from edge_sdk.train.augment import augmentation_named
from edge_sdk.train.curves import curves_png
from edge_sdk.train.loop import (
    Epoch,
    _log_csv,
    best_of,
    brief,
    decays,
    plateaus,
    rate,
    read_log,
    settling_momentum,
)
from edge_sdk.train.page import page
from edge_sdk.train.pipeline import Training
from edge_sdk.train.settings import Recipe
from edge_sdk.training_text import training_text

NAN = math.nan


def epochs(*scores: float) -> list[Epoch]:
    return [Epoch(i, 0.5, 0.6, 0.9, s, s, 1e-3, 2.0) for i, s in enumerate(scores, start=1)]


@pytest.mark.parametrize(
    ("scores", "wait", "count"),
    [
        ((), 2, 0),
        ((1, 2, 3), 2, 0),
        ((3, 2), 2, 0),
        ((3, 2, 3), 2, 1),  # equal is no improvement
        ((3, 2, 2, 2), 2, 1),  # and the wait begins anew
        ((3, 2, 2, 2, 2), 2, 2),
        ((3, 2, 4, 1, 1), 2, 1),
        ((1, 1, 1), 1, 2),
    ],
)
def test_plateaus(scores: tuple[float, ...], wait: int, count: int) -> None:
    assert plateaus(epochs(*scores), wait) == count


def test_the_rate_rises_then_falls_along_half_a_cosine() -> None:
    recipe = Recipe(epochs=12, warmup=2, learning_rate=0.1)
    found = [rate(recipe, place, []) for place in (0, 1, 2, 7, 12, 13)]
    assert found == pytest.approx([0.002, 0.05, 0.1, 0.05, 0.0, 0.0])
    steps = [rate(recipe, i / 10, []) for i in range(120)]
    assert steps[:20] == sorted(steps[:20])
    assert steps[20:] == sorted(steps[20:], reverse=True)
    assert rate(replace(recipe, warmup=0), 0, []) == 0.1
    assert rate(replace(recipe, warmup=20), 12, []) == pytest.approx(0.06)
    assert rate(replace(recipe, epochs=1, warmup=1), 1, []) == 0.1


def test_the_rate_is_divided_on_a_plateau() -> None:
    recipe = Recipe(schedule="plateau", patience=6, learning_rate=0.9, warmup=1)
    assert rate(recipe, 3, epochs(1, 2, 3)) == 0.9
    assert rate(recipe, 3, epochs(3, 2, 1)) == pytest.approx(0.3)
    assert rate(recipe, 5, epochs(3, 2, 1, 1, 1)) == pytest.approx(0.1)


def test_batch_norm_settles_within_an_epoch() -> None:
    assert settling_momentum(1) == 0.5
    for steps in (10, 100, 1000):
        assert settling_momentum(steps) ** steps == pytest.approx(0.05, abs=0.001)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("kernel", (3, 3, 16, 32), True),
        ("kernel", (1, 1, 16, 32), True),
        ("kernel", (16, 2), True),
        ("kernel", (16, 1), True),
        ("pointwise_kernel", (1, 1, 16, 32), True),
        ("kernel", (3, 3, 16, 1), False),
        ("depthwise_kernel", (3, 3, 16, 1), False),
        ("bias", (16,), False),
        ("gamma", (16,), False),
        ("threshold", (16,), False),
    ],
)
def test_weight_decay_is_for_full_kernels(
    name: str, shape: tuple[int, ...], expected: bool
) -> None:
    assert decays(name, shape) is expected


def test_the_log_comes_back_exactly(tmp_path: Path) -> None:
    log = [
        Epoch(1, 1 / 3, 0.1 + 0.2, NAN, NAN, -0.30000000000000004, 1e-30, 12.345),
        Epoch(2, 1e22, 5e-324, 0.9999999999999999, 0.5, 0.5, 0.0, 0.0),
    ]
    file = tmp_path / "log.csv"
    file.write_text(_log_csv(log))
    assert [str(row) for row in read_log(file)] == [str(row) for row in log]
    assert isinstance(read_log(file)[0].epoch, int)
    file.write_text(_log_csv([]))
    assert read_log(file) == []


def test_of_equally_good_epochs_the_one_of_lowest_loss_is_kept() -> None:
    log = epochs(0.5, 0.9, 0.9, 0.9)
    best = best_of(log)
    assert best is not None
    assert best.epoch == 2
    log[2] = replace(log[2], validation_loss=0.59)
    assert best_of(log) == log[2]
    assert best_of([]) is None


def test_what_a_progress_bar_says_of_an_epoch() -> None:
    row = epochs(0.91)[0]
    assert brief(row) == "validation AUC 0.9100"
    assert brief(replace(row, validation_auc=NAN)) == "validation accuracy 0.900"
    bare = replace(row, validation_auc=NAN, validation_accuracy=NAN)
    assert brief(bare) == "validation loss 0.6000"


def test_augmentations_have_names() -> None:
    assert augmentation_named("cells").angle == 180
    with pytest.raises(UsageError, match=r"unknown augmentation 'cell'. Did you mean cells"):
        augmentation_named("cell")


def facts(**changes: Any) -> dict[str, Any]:
    """A record as training.json holds it."""
    part = {
        "images": 20,
        "groups": 4,
        "positive": "<b>bad",
        "figures": {"accuracy": 0.9, "precision": None, "roc_auc": 0.95},
        "interval_95": {
            "accuracy": [0.8, 0.97],
            "precision": [None, None],
            "roc_auc": [None, None],
        },
    }
    count = {"images": 20, "groups": 4, "classes": {"<b>bad": 12, "a & b": 8}}
    made = {
        "settings": {"arch": "mobilenet_v2", "data": "</pre><script>x</script>"},
        "data": {
            "name": "<i>cells",
            "simulated": False,
            "labels": ["<b>bad", "a & b"],
            "parts": {"train": count, "validation": count, "test": count},
            "grouped": True,
            "unreadable": 0,
        },
        "model": {"parameters": 1234},
        "metrics": {"origin": "measured: the Keras model", "validation": part, "test": part},
        "run": {
            "epochs_run": 2,
            "epoch_kept": 1,
            "kept_by": "highest",
            "wall_seconds": 3,
            "images_per_second": 100,
            "machine": "2 cores, <cpu>",
        },
    }
    made["data"] |= changes
    return made


def test_the_page_shows_names_as_text() -> None:
    text = page(facts(), epochs(0.9, 0.8), b"png")
    for raw in ("<b>bad", "<i>cells", "<script>", "<cpu>", "a & b"):
        assert raw not in text
    for shown in ("&lt;b&gt;bad", "a &amp; b", "&lt;i&gt;cells", "data:image/png;base64,cG5n"):
        assert shown in text
    assert "simulated" not in text
    assert "None" not in text
    assert "nan" not in text
    assert "0.8000 to 0.9700" in text


def test_the_page_warns_of_drawn_images_and_of_missing_groups() -> None:
    text = page(facts(simulated=True, grouped=False), epochs(0.9), None)
    assert "The images are simulated" in text
    assert "without groups" in text
    assert "<img" not in text


def text_of(record: dict[str, Any]) -> str:
    return training_text(Training(Path("out"), tuple(epochs(0.9)), record, ()))


def test_the_text_has_a_table_of_both_parts() -> None:
    text = text_of(facts())
    assert "validation: 20 images, 4 groups" in text
    assert "0.9000 (0.8000 to 0.9700)" in text
    assert "measured: the Keras model; in brackets" in text
    assert "None" not in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert rows["Precision"].split() == ["Precision", "-", "-"]
    assert rows["ROC area"].split() == ["ROC", "area", "0.9500", "0.9500"]
    assert "without groups" in text_of(facts(grouped=False))


def test_the_text_of_several_labels_and_of_an_embedding() -> None:
    record = facts()
    several = {"images": 5, "classes": {"a": {"images": 2, "accuracy": 0.8, "auc": None}}}
    record["metrics"] = {"origin": "measured", "test": several}
    assert [x.split() for x in text_of(record).splitlines()[2:3]] == [["a", "2", "0.8000", "-"]]
    record["metrics"] = {"origin": "measured"}
    assert text_of(record).startswith("measured; ")
    assert json.dumps(record)


def test_curves_are_drawn_for_every_head() -> None:
    for log in (
        epochs(0.9, 0.8),
        epochs(0.9),
        [replace(r, validation_auc=NAN) for r in epochs(0.9, 0.8)],
        [replace(r, validation_auc=NAN, validation_accuracy=NAN) for r in epochs(0.9, 0.8)],
    ):
        png = curves_png(log)
        assert png is not None
        assert png.startswith(b"\x89PNG")
