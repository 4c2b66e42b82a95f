"""Training, from images to a folder. The network is mostly a file of three small layers, so that
the time goes into what is tested."""

from __future__ import annotations

import csv
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.dataset import PARTS, read_dataset
from edge_sdk.errors import DataError, EdgeError, ModelError, TrainingError, UsageError
from edge_sdk.train import architectures, loop, pipeline
from edge_sdk.train.augment import Augmentation
from edge_sdk.train.loop import Epoch, Task, Trainer, read_log
from edge_sdk.train.pipeline import state_folder, train
from edge_sdk.train.settings import Distillation, Recipe, Split, TrainRequest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras' own, under NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]
Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., TrainRequest]
FILES = {
    "model.keras", "labels.txt", "preprocess.json", "split.csv", "log.csv", "curves.png",
    "training.json", "training.html",
}  # fmt: skip
RECIPE = Recipe(epochs=3, batch=16, learning_rate=3e-3, patience=3)
# Two runs on one machine differ in the order of sums only.
TOLERANCE = {"rtol": 2e-3, "atol": 2e-4}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network for 32x32 pixels: block_1 full, block_2 depthwise, block_3 1x1."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    x = image = keras.Input((32, 32, 3))
    for number, layer in enumerate(
        (layers.Conv2D(8, 3, 2), layers.DepthwiseConv2D(3, 2), layers.Conv2D(16, 1)), start=1
    ):
        layer.name = f"block_{number}_mix"
        x = layers.BatchNormalization(name=f"block_{number}_bn")(layer(x))
        x = layers.ReLU(name=f"block_{number}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax", name="top")(x)
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_bn"):  # statistics that differ from a fresh layer's
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    folder = tmp_path_factory.mktemp("tiny")
    model.save(folder / "tiny.keras")
    Path(folder / "preprocess.json").write_text(
        '{"mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}'
    )
    return folder / "tiny.keras"


@pytest.fixture(scope="module")
def make(cells: Path, tiny: Path) -> Make:
    def request(out: Path, **options: Any) -> TrainRequest:
        plain: dict[str, Any] = {
            "data": cells, "arch": str(tiny), "cut": "block_3_relu", "weights": str(tiny),
            "size": 32, "recipe": RECIPE,
        }  # fmt: skip
        return TrainRequest(out=out, **(plain | options))

    return request


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Path:
    """A training of three epochs that nothing interrupted."""
    out = tmp_path_factory.mktemp("trained") / "whole"
    train(make(out))
    return out


def weights_of(file: Path) -> dict[str, list[Any]]:
    import keras

    model = keras.models.load_model(file, compile=False)
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def log_of(folder: Path) -> list[Epoch]:
    return [replace(row, seconds=0) for row in read_log(folder / "log.csv")]


def assert_same_log(found: list[Epoch], expected: list[Epoch]) -> None:
    rows = [[[*vars(r).values()] for r in log] for log in (found, expected)]
    np.testing.assert_allclose(rows[0], rows[1], **TOLERANCE)


def test_the_command_line_trains_and_the_model_converts(
    cells: Path, tmp_path: Path, edge_sdk: Run
) -> None:
    out = tmp_path / "trained"
    options = "--arch mobilenet_v1 --alpha 0.35 --size 32 --weights none --epochs 1 --batch 32"
    done = edge_sdk("train", cells, "--out", out, *options.split())
    assert done.returncode == 0, done.stderr
    assert "float32, simulated images" in done.stdout
    assert {p.name for p in out.iterdir()} == FILES
    assert not state_folder(out).exists()
    record = json.loads((out / "training.json").read_text())
    assert record["data"]["simulated"] is True
    assert record["settings"]["alpha"] == 0.35
    assert record["run"]["epochs_run"] == record["run"]["epoch_kept"] == 1
    assert sum(p["images"] for p in record["data"]["parts"].values()) == 120
    with (out / "split.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    patients = [{r["group"] for r in rows if r["part"] == part} for part in PARTS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 10
    done = edge_sdk(
        "convert", out / "model.keras", "--to", "int8", "--data", cells, "--out", tmp_path / "a"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "assumed" not in done.stderr
    manifests = [json.loads(p.read_text()) for p in (tmp_path / "a").rglob("manifest.json")]
    assert [m["labels"] for m in manifests] == [["Parasitized", "Uninfected"]]
    assert manifests[0]["preprocess"]["mean"] == [127.5, 127.5, 127.5]


def test_test_images_are_scored_once_at_the_end(
    make: Make, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, list[int]]] = []
    plain = Trainer.scores

    def watched(self: Trainer, rows: Any) -> Any:
        seen.append((int(self.epoch), rows.tolist()))
        return plain(self, rows)

    monkeypatch.setattr(Trainer, "scores", watched)
    cache = tmp_path / "cache"
    train(make(tmp_path / "out", cache=cache, split=Split(file=whole / "split.csv")))
    data = read_dataset(make(tmp_path).data)
    with (whole / "split.csv").open(newline="") as f:
        part = {row["file"]: row["part"] for row in csv.DictReader(f)}
    names = [part[data.name_of(i)] for i in data.items]
    kinds = [(epoch, {names[i] for i in rows}) for epoch, rows in seen]
    assert kinds == [*((n, {"validation"}) for n in (1, 2, 3)), (3, {"validation"}), (3, {"test"})]
    # The same split gives the same training; the pixels stay where they were asked to be.
    assert_same_log(log_of(tmp_path / "out"), log_of(whole))
    assert len(list(cache.glob("*.npy"))) == 1


KILLED = """
import os, pickle, signal, sys
from edge_sdk.train.pipeline import train
def progress(step, done, total):
    if step.startswith("epoch 2") and done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train(pickle.loads(bytes.fromhex(sys.argv[1])), progress)
"""


def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    make: Make, tmp_path: Path, whole: Path
) -> None:
    import pickle

    request = make(tmp_path / "out")
    state = state_folder(request.out)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, pickle.dumps(request).hex()],
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not request.out.exists()
    assert len(read_log(state / "log.csv")) == 1
    with pytest.raises(UsageError, match="not finished: go on with --resume"):
        train(request)
    other = replace(request, resume=True, recipe=replace(RECIPE, batch=8, epochs=4))
    with pytest.raises(UsageError, match=r"other settings .*batch.*epochs"):
        train(other)
    train(replace(request, resume=True))
    assert_same_log(log_of(request.out), log_of(whole))
    for name, values in weights_of(request.out / "model.keras").items():
        for a, b in zip(values, weights_of(whole / "model.keras")[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3, err_msg=name)
    assert not state.exists()
    with pytest.raises(UsageError, match="exists: choose another --out"):
        train(request)


def test_what_cannot_be_resumed(make: Make, tmp_path: Path) -> None:
    request = make(tmp_path / "out")
    with pytest.raises(UsageError, match=r"there is no unfinished training in .*out.state"):
        train(replace(request, resume=True))
    (tmp_path / "s.csv").write_text("file,part\n")
    with pytest.raises(DataError, match="names no part"):
        train(replace(request, split=Split(file=tmp_path / "s.csv")))
    assert not state_folder(request.out).exists()
    # A damaged state: what it lacks is said, and --overwrite begins again.
    with pytest.raises(KeyboardInterrupt):
        train(request, stop_at("epoch 2"))
    log = state_folder(request.out) / "log.csv"
    text = log.read_text()
    for damage in ("epoch,x\nnot,a log\n", text.splitlines()[0] + "\n"):
        log.write_text(damage)
        with pytest.raises(TrainingError, match=r"cannot be read: .*start again with --overwrite"):
            train(replace(request, resume=True))
    with pytest.raises(KeyboardInterrupt):
        train(replace(request, overwrite=True), stop_at("epoch 1"))
    # Nothing was learned in the first epoch: nothing is lost by beginning again.
    train(replace(request, recipe=replace(RECIPE, epochs=1)))
    assert len(log_of(request.out)) == 1


def stop_at(step: str) -> Callable[[str, int, int], None]:
    def progress(now: str, done: int, total: int) -> None:
        del total
        if now.startswith(step) and done == 1:
            raise KeyboardInterrupt

    return progress


def test_one_training_at_a_time_writes_a_state(make: Make, tmp_path: Path) -> None:
    request = make(tmp_path / "out")

    def second(step: str, done: int, total: int) -> None:
        del done, total
        if step.startswith("epoch 2"):
            with pytest.raises(UsageError, match="a training is running in"):
                train(replace(request, resume=True))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(request, second)


def test_a_loss_that_is_no_number_stops_and_keeps_the_state(
    make: Make, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    request = make(tmp_path / "out")
    plain = loop.augment

    def broken(pixels: Any, seed: Any, how: Augmentation) -> Any:
        steps = 84 // RECIPE.batch  # at least so many an epoch
        bad = tf.where(seed[0] > steps, np.float32("nan"), np.float32(1))
        return plain(pixels, seed, how) * bad

    monkeypatch.setattr(loop, "augment", broken)
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 2, .*after epoch 1 is kept"):
        train(request)
    monkeypatch.undo()
    train(replace(request, resume=True))
    assert_same_log(log_of(request.out), log_of(whole))


def test_a_disk_that_fills_keeps_the_last_state(make: Make, tmp_path: Path, whole: Path) -> None:
    request = make(tmp_path / "out")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills(at: str) -> Callable[[str, int, int], None]:
        def progress(step: str, done: int, total: int) -> None:
            if step.startswith(at) and done == total:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))

        return progress

    for resume, at, message in (
        (False, "read images", r"cannot write .*out\.state/pixels-.*: File too large"),
        (True, "epoch 2", r"cannot write the .*state.*after epoch 1 is kept"),
        (True, "judge", rf"cannot write {request.out}: File too large"),
    ):
        try:
            with pytest.raises(EdgeError, match=message):
                train(replace(request, resume=resume), fills(at))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [p.name for p in tmp_path.iterdir()] == ["out.state"]
    train(replace(request, resume=True))
    assert_same_log(log_of(request.out), log_of(whole))


def test_frozen_layers_stay_as_they_are(make: Make, tmp_path: Path, tiny: Path) -> None:
    before = weights_of(tiny)
    one = replace(RECIPE, epochs=1)
    for strategy, blocks, learns in (
        ("frozen", 3, ()),
        ("partial", 2, ("block_2", "block_3")),
    ):
        out = tmp_path / strategy
        train(make(out, strategy=strategy, blocks=blocks, recipe=one))
        after = weights_of(out / "model.keras")
        for name in after.keys() & before.keys():
            changed = [bool((a != b).any()) for a, b in zip(after[name], before[name], strict=True)]
            # Of a layer with batch norm its two statistics too.
            assert changed == [name.startswith(learns) if learns else False] * len(changed), name


def test_class_weights_let_classes_count_alike(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Task] = []
    monkeypatch.setattr(pipeline, "run", lambda trainer, *_: stop(tasks, trainer.task))
    recipe = replace(RECIPE, class_weights=True)
    with pytest.raises(KeyboardInterrupt):
        train(make(tmp_path / "out", recipe=recipe))
    task = tasks[0]
    sums = task.weights[task.train] @ task.truth[task.train]
    assert sums == pytest.approx([len(task.train) / 2] * 2)
    counts = task.truth[task.train].sum(axis=0)
    assert counts[0] != counts[1]


def stop(tasks: list[Task], task: Task) -> None:
    tasks.append(task)
    raise KeyboardInterrupt


def several_labels(cells: Path, folder: Path) -> Path:
    """The cells with a second, made up, label that some of them have beside the first or alone."""
    rows = ["file,label,group"]
    folder.mkdir()
    for i, item in enumerate(read_dataset(cells).items):
        words = ["parasite"] * (item.label == "Parasitized") + ["odd"] * (i % 3 == 0)
        (folder / f"{i}.png").write_bytes(item.path.read_bytes())
        rows.append(f"{i}.png,{';'.join(words) or '-'},{item.group}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


def test_a_sigmoid_head_learns_several_labels(cells: Path, make: Make, tmp_path: Path) -> None:
    data = several_labels(cells, tmp_path / "several")
    result = train(
        make(tmp_path / "out", data=data, head="sigmoid", arch="basic-cnn", cut=None, size=16,
             weights="none", strategy="scratch")
    )  # fmt: skip
    assert (tmp_path / "out" / "labels.txt").read_text() == "odd\nparasite\n"
    per_class = result.record["metrics"]["test"]["classes"]
    assert list(per_class) == ["odd", "parasite"]
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == result.record


def test_a_teacher_and_unlabelled_images(
    make: Make, tmp_path: Path, whole: Path, cells: Path
) -> None:
    from edge_sdk.simulate import write_cells

    more = write_cells(tmp_path / "more", 24, seed=99, patients=2)
    for name in ("index.csv", "SIMULATED.txt"):
        (more / name).unlink()
    taught = Distillation(whole / "model.keras", unlabelled=more, weight=0.5)
    result = train(make(tmp_path / "out", distillation=taught, recipe=replace(RECIPE, epochs=2)))
    assert len(result.log) == 2
    assert result.record["settings"]["distillation"]["unlabelled"] == str(more)
    for path in cells.rglob("*.png"):  # the judged images too, under other names
        (more / f"copy_of_{path.name}").write_bytes(path.read_bytes())
    again = make(tmp_path / "again", distillation=taught)
    with pytest.raises(DataError, match=r"copy_of_.* no --unlabelled image may be judged"):
        train(again)


def test_a_teacher_must_fit(make: Make, tmp_path: Path, tiny: Path, whole: Path) -> None:
    def taught(teacher: Path) -> TrainRequest:
        return make(tmp_path / "out", distillation=Distillation(teacher))

    with pytest.raises(DataError, match="tells 3 classes apart and the data has 2"):
        train(taught(tiny))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("model.keras", "preprocess.json"):
        (other / name).write_bytes((whole / name).read_bytes())
    (other / "labels.txt").write_text("Uninfected\nParasitized\n")
    with pytest.raises(DataError, match="the same ones in the same order"):
        train(taught(other / "model.keras"))
    import keras

    model = keras.models.load_model(whole / "model.keras", compile=False)
    model.layers[-1].activation = keras.activations.linear
    model.save(tmp_path / "logits.keras")
    with pytest.raises(ModelError, match="no probabilities: its last layer must be a softmax"):
        train(taught(tmp_path / "logits.keras"))
    with pytest.raises(ModelError, match="does not exist"):
        train(taught(tmp_path / "none.keras"))


def test_an_embedding_learns_a_teachers_vectors(
    make: Make, tmp_path: Path, tiny: Path, cells: Path
) -> None:
    import keras

    model = keras.models.load_model(tiny, compile=False)
    teacher = tmp_path / "teacher.keras"
    keras.Model(model.inputs[0], model.get_layer("pool").output).save(teacher)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in cells.rglob("*.png"):
        (bare / path.name).write_bytes(path.read_bytes())
    recipe = replace(RECIPE, epochs=6, learning_rate=1e-2, augmentation="none", average_decay=0.5)
    result = train(
        make(tmp_path / "out", data=bare, head="embedding", strategy="frozen", recipe=recipe,
             distillation=Distillation(teacher))
    )  # fmt: skip
    found = keras.models.load_model(tmp_path / "out" / "model.keras", compile=False)
    assert found.output.shape == (None, 16)
    assert result.log[-1].validation_loss < 0.7 * result.log[0].validation_loss
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES - {"labels.txt"}
    assert "validation" not in result.record["metrics"]


def test_a_file_as_backbone_must_fit(make: Make, tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UsageError, match="unknown --cut 'block_3_rel'"):
        train(make(tmp_path / "out", cut="block_3_rel"))
    with pytest.raises(UsageError, match="say with --cut after which layer"):
        train(make(tmp_path / "out", cut=None))
    with pytest.raises(UsageError, match=r"--cut pool: gives .* expected a feature map"):
        train(make(tmp_path / "out", cut="pool"))
    bare = tmp_path / "bare.keras"
    bare.write_bytes(tiny.read_bytes())
    own = {"arch": str(bare), "weights": str(bare)}
    with pytest.raises(UsageError, match=r"no preprocess.json beside it .* give --normalise"):
        train(make(tmp_path / "out", **own))
    spec = architectures.preprocess_for(make(tmp_path, **own, normalise="torch", size=48))
    assert (spec.height, spec.mean[0]) == (48, pytest.approx(123.675))
    # Only the shape of a file, without its weights.
    bare = architectures.build(make(tmp_path), 2, 0.0, "none")
    assert (
        bare.get_layer("block_1_mix").get_weights()[0] != weights_of(tiny)["block_1_mix"][0]
    ).all()
