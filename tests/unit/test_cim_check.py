"""`edge-sdk cim`: exactness beside LiteRT, what each layer loses, plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge_sdk.backends.cim import compare
from edge_sdk.chips.check import check_exact
from edge_sdk.cli import cli
from edge_sdk.errors import UsageError
from edge_sdk.runtime import load_model

LABELS = ("blank", "ring", "smear")
NOISY = "cim-nor-generic"


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny-int8.tflite"
    path.write_bytes((models / "tiny-int8.tflite").read_bytes())
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return path


@pytest.fixture
def data(make_images: Callable[..., Path]) -> Path:
    return make_images([f"{label}/{i}.png" for i in range(6) for label in LABELS])


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "split.csv"
    parts = ("train", "train", "validation", "validation", "test", "test")
    rows = [f"{label}/{i}.png,{part}" for label in LABELS for i, part in enumerate(parts)]
    path.write_text("\n".join(["file,part", *rows]) + "\n")
    return path


def cim(*words: object) -> Result:
    return CliRunner().invoke(cli, ["cim", *map(str, words)])


def one_off(monkeypatch: pytest.MonkeyPatch, image: int) -> None:
    """The reference says something else of one element of the second step, of one image."""
    real, seen = compare.reference_tensors, [0]

    def changed(path: Path, network: Any, x: Any) -> Any:
        found = real(path, network, x)
        if seen[0] <= image < seen[0] + len(x):
            step = network.steps[1].output
            found[step][image - seen[0]].reshape(-1)[3] ^= 1
        seen[0] += len(x)
        return found

    monkeypatch.setattr(compare, "reference_tensors", changed)


@pytest.mark.runtime
@pytest.mark.parametrize("kind", ["int8", "w4a8", "uint8"])
def test_tensors_are_those_of_the_reference(
    models: Path, data: Path, model: Path, kind: str
) -> None:
    path = model.with_name(f"tiny-{kind}.tflite")
    path.write_bytes((models / path.name).read_bytes())
    found = check_exact(load_model(path), data, 10)
    assert found.difference is None
    assert (found.images, found.bytes % 10) == (10, 0)
    assert found.bytes > 10 * found.tensors > 0


@pytest.mark.runtime
def test_the_first_difference_is_named(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_off(monkeypatch, image=9)
    found = check_exact(load_model(model), data, 12)
    assert found.difference is not None
    assert found.difference.element[0] == 9
    assert (found.difference.count, found.bytes) == (1, 0)


@pytest.mark.runtime
def test_the_command_says_so_and_ends_with_1(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = cim(model, "--check-exact", data)
    assert same.exit_code == 0, same.output
    assert "0 differing bytes in" in same.stdout
    assert "over 18 images" in same.stdout
    plain = json.loads(cim(model, "--check-exact", data, "--images", 3, "--json").stdout)
    assert (plain["images"], plain["difference"]) == (3, None)
    one_off(monkeypatch, image=0)
    other = cim(model, "--check-exact", data)
    assert other.exit_code == 1
    assert "1 of" in other.stdout
    assert "first [0" in other.stdout


def test_an_integer_model_has_no_reference(tmp_path: Path) -> None:
    class Folder:
        path = tmp_path

    with pytest.raises(UsageError, match="--check-exact compares with LiteRT"):
        check_exact(Folder(), tmp_path)  # type: ignore[arg-type]


def test_a_chip_has_to_be_named_for_all_else(model: Path) -> None:
    found = cim(model)
    assert found.exit_code != 0
    assert "--profile cim-" in str(found.exception) + found.output


def test_layers_are_tried_on_the_validation_part(model: Path, data: Path, split: Path) -> None:
    words = (model, "--profile", NOISY, "--data", data, "--split-file", split, "--chips", 1)
    found = cim(*words, "--sensitivity")
    assert found.exit_code == 0, found.output
    assert "6 images of the validation part, 1 chips" in found.stdout
    said = json.loads(cim(*words, "--plan-uj", 1e9, "--json").stdout)
    layers, plan = said["layers"]["layers"], said["layers"]["plan"]
    losing = {x["name"] for x in layers if x["loss"]["lost"] > 0}
    assert set(plan["digital"]) == losing
    assert plan["reached"] is True
    assert said["experiment"] is None
    assert "run as planned" in cim(*words, "--plan-points", 0).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sensitivity",), "give --data too"),
        (("--data", "DATA", "--sensitivity"), "--split-file"),
        (("--data", "DATA", "--split-file", "SPLIT", "--plan-points", "-1"), "--plan-points -1"),
        (("--data", "DATA", "--split-file", "SPLIT", "--plan-points", "1", "--plan-uj", "2"),
         "one budget"),
        (("--data", "DATA", "--split-file", "SPLIT", "--sensitivity", "--digital", "a"),
         "--digital a"),
        (("--data", "DATA", "--split-file", "SPLIT", "--sensitivity", "--html", "x.html"),
         "--html"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_are_refused(
    model: Path, data: Path, split: Path, words: tuple[str, ...], said: str
) -> None:
    given = {"DATA": str(data), "SPLIT": str(split)}
    found = cim(model, "--profile", NOISY, "--chips", 1, *(given.get(w, w) for w in words))
    assert found.exit_code != 0
    assert said in str(found.exception) + found.output
