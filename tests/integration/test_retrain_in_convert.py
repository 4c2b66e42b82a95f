"""convert trains on with rounded weights, on images that do not judge."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.convert import retrain
from edge_sdk.convert.pipeline import ConvertRequest, convert
from edge_sdk.dataset import Dataset, Item
from edge_sdk.errors import DataError
from edge_sdk.train.settings import RECIPES

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.runtime,
    # Keras 3 under NumPy 2: its own conversion of tensors
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions and a dense layer, with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(6, 3, strides=2, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(6.0),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "small.keras"
    net.save(path)
    return path


@pytest.fixture
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Training of one epoch; the items it was given."""
    seen: list[Any] = []
    train = retrain.train

    def watched(request: Any, progress: Any, items: Any) -> Any:
        seen.append(items)
        return train(request, progress, items)

    monkeypatch.setitem(RECIPES, "qat", replace(RECIPES["qat"], epochs=1, batch=16))
    monkeypatch.setattr(retrain, "train", watched)
    return seen


def request(model: Path, cells: Path, out: Path, train_data: Path) -> ConvertRequest:
    return ConvertRequest(
        model=model,
        schemes=("w4a8",),
        data=cells,
        out=out,
        calibration=30,
        samples=30,
        max_drop=100.0,
        method="trained",
        train_data=train_data,
    )


def test_it_trains_apart_from_what_judges(
    model: Path, cells: Path, tmp_path: Path, one_epoch: list[Any]
) -> None:
    made = convert(request(model, cells, tmp_path, cells))
    manifest = made.artifacts[0].manifest
    assert manifest.method == "trained"
    assert [a.method for a in manifest.attempts] == ["trained"]
    assert manifest.weight_types["CONV_2D int4"] == 1
    judged = {i.group for i in manifest.judged.images}
    trained = {i.group for i in one_epoch[0]}
    assert len(trained) >= 2
    assert not judged & trained


def test_a_copy_of_a_judged_image_in_the_training_folder_is_refused(
    model: Path, cells: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cells, copy)
    with pytest.raises(DataError, match="what judges must not train"):
        convert(request(model, cells, tmp_path / "out", copy))


def test_nothing_left_to_train_on_is_said(model: Path, cells: Path, tmp_path: Path) -> None:
    images = sorted(cells.rglob("*.png"))[:4]
    folder = tmp_path / "few"
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder)
    (folder / "index.csv").write_text(
        "file,label,group\n" + "".join(f"{i.name},a,p1\n" for i in images)
    )
    judged = Dataset(folder, (Item(folder / images[0].name, "a", "p1"),), ("a",))
    from edge_sdk.convert.schemes import SCHEMES
    from edge_sdk.preprocess import Preprocess
    from edge_sdk.progress import silent

    with pytest.raises(DataError, match="leave none of its 4"):
        retrain.retrained(
            model, folder, judged, Preprocess(24, 24), ("a", "b"), SCHEMES["w4a8"], 0,
            tmp_path / "work", silent,
        )  # fmt: skip
