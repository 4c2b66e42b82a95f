"""What a training is asked to do. All of it is kept in the training record."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edge_sdk.errors import UsageError, unknown_name

Head = Literal["softmax", "sigmoid", "embedding"]
Strategy = Literal["frozen", "partial", "full", "scratch"]
Schedule = Literal["cosine", "plateau"]


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{option} {value} must be at least {least}")


@dataclass(frozen=True)
class Recipe:
    """How it is trained; the defaults are for training from scratch (see RECIPES).

    learning_rate: reached after `warmup` epochs; then half a cosine down to zero, or with
        `plateau` divided by three after every `patience` // 3 epochs without improvement.
    weight_decay: on the kernels of full and 1x1 convolutions and of dense layers only: a depthwise
        kernel has so few weights that decay takes more than it gives (Howard et al. 2017).
    average_decay: of the moving average of all weights per step; the average is what is kept.
    patience: epochs without a better validation score after which training stops.
    class_weights: weigh each class by n / (classes * images of it), so that classes count alike.
    augmentation: a name of augment.AUGMENTATIONS.
    batch_norm_momentum: at most; less for few steps an epoch, see loop.settling_momentum."""

    epochs: int = 36
    batch: int = 64
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    warmup: int = 1
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    dropout: float = 0.2
    average_decay: float = 0.998
    patience: int = 15
    class_weights: bool = False
    augmentation: str = "photo"
    batch_norm_momentum: float = 0.99

    def __post_init__(self) -> None:
        _at_least("--epochs", self.epochs, 1)
        _at_least("--batch", self.batch, 2)
        _at_least("--patience", self.patience, 1)
        _at_least("--warmup", self.warmup, 0)
        if not 0 < self.learning_rate <= 10:
            raise UsageError(f"--learning-rate {self.learning_rate} must be above 0, at most 10")
        for option, value in (
            ("--label-smoothing", self.label_smoothing),
            ("--dropout", self.dropout),
            ("--average-decay", self.average_decay),
        ):
            if not 0 <= value < 1:
                raise UsageError(f"{option} {value} must be at least 0 and below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"--weight-decay {self.weight_decay} must be at least 0 and finite")
        if self.schedule not in get_args(Schedule):
            raise UsageError(unknown_name("schedule", self.schedule, get_args(Schedule)))


_FINE = Recipe(epochs=12, learning_rate=3e-4, weight_decay=0.01, patience=6, average_decay=0.99)
# What is not given on the command line, by strategy. Fine-tuning starts near a good place: lower
# rates, fewer epochs. A frozen backbone has only a linear layer to learn.
RECIPES: dict[str, Recipe] = {
    "scratch": Recipe(),
    "full": _FINE,
    "partial": _FINE,
    "frozen": replace(_FINE, learning_rate=3e-3),
    "qat": replace(_FINE, epochs=6, warmup=0, dropout=0.0, average_decay=0.995),
}


@dataclass(frozen=True)
class Distillation:
    """A teacher's outputs as targets (Hinton et al. 2015).

    loss = (1 - weight) * loss on labels + weight * T^2 * KL(teacher || student), both softened by
    the temperature T. unlabelled: more images, on which only the teacher's part counts."""

    teacher: Path
    weight: float = 0.7
    temperature: float = 2.0
    unlabelled: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UsageError(f"--distil-weight {self.weight} must be above 0 and at most 1")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--distil-temperature {self.temperature} must be above 0 and finite")


SHARES = (60.0, 10.0, 30.0)  # of training, validation and test


@dataclass(frozen=True)
class Split:
    """How images are dealt to training, validation and test, whole groups at a time.

    fractions: of the three parts. fold: (k, n) makes the k-th of n equal parts the test part and
    deals the rest in the proportion of the first two fractions. file: a CSV with the columns file
    and part, as every training writes it. ignore_groups: deals single images, which leaks between
    parts wherever images of one group look alike: for demonstration."""

    fractions: tuple[float, float, float] = SHARES
    fold: tuple[int, int] | None = None
    file: Path | None = None
    ignore_groups: bool = False

    def __post_init__(self) -> None:
        a, b, c = self.fractions
        if not (0 < a < math.inf and 0 < b < math.inf and 0 <= c < math.inf):
            raise UsageError(
                f"--split {a:g}:{b:g}:{c:g}: expected finite shares, for training and validation "
                "above 0"
            )
        if self.fold is not None:
            k, n = self.fold
            if n < 2 or not 1 <= k <= n:
                raise UsageError(f"--fold {k}/{n}: expected K/N, N at least 2, K from 1 to N")
        if self.file is not None and (self.fold is not None or self.fractions != SHARES):
            raise UsageError("--split-file excludes --fold and --split: give one")


@dataclass(frozen=True)
class ChipNoise:
    """The errors of a compute-in-memory chip that training learns to bear. profile: a shipped
    profile's name, or a .toml file; time_s: since the chip was programmed."""

    profile: str
    time_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.time_s < math.inf:
            raise UsageError(f"--cim-time {self.time_s:g} s must be at least 0 and finite")


@dataclass(frozen=True)
class TrainRequest:
    """arch: a name of architectures.OWN or backbones(), or a .keras file whose layers up to `cut`
    become the backbone, weights included (normalise: how that file wants its pixels).
    weights: imagenet, none or a file. fit: of images to the input size; None: as the file says,
    else stretch. start: a trained model that learns on as it is, or rounded as qat says, a name of
    fake_quant.QAT_SCHEMES, with `thresholds` how weight thresholds are found and `chip` whose
    errors are drawn. cache: where decoded images are kept for other trainings of the same data;
    None: beside this training, gone with its end."""

    data: Path
    out: Path
    arch: str = "mobilenet_v2"
    cut: str | None = None
    normalise: str | None = None
    alpha: float = 1.0
    size: int = 224
    weights: str = "imagenet"
    strategy: Strategy = "full"
    blocks: int = 3
    head: Head = "softmax"
    fit: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    split: Split = field(default_factory=Split)
    distillation: Distillation | None = None
    qat: str | None = None
    start: Path | None = None
    thresholds: str | None = None
    chip: ChipNoise | None = None
    seed: int = 0
    cache: Path | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise UsageError(unknown_name("strategy", self.strategy, get_args(Strategy)))
        if self.head not in get_args(Head):
            raise UsageError(unknown_name("head", self.head, get_args(Head)))
        _at_least("--size", self.size, 8)
        _at_least("--blocks", self.blocks, 1)
        if not 0.05 <= self.alpha <= 4:
            raise UsageError(f"--alpha {self.alpha} must be between 0.05 and 4")
        if self.weights == "none" and self.strategy in ("frozen", "partial") and not self.start:
            raise UsageError(
                f"--strategy {self.strategy} keeps layers as they are, and --weights none makes "
                "them random: give --weights imagenet or a file, or --strategy scratch"
            )
        if self.strategy == "scratch" and self.weights != "none":
            raise UsageError(
                f"--strategy scratch starts from random weights, but --weights is {self.weights}: "
                "give --weights none"
            )
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed {self.seed} must be between 0 and {2**32 - 1}")
        if self.blocks != 3 and self.strategy != "partial":
            raise UsageError(
                f"--blocks {self.blocks} belongs to --strategy partial, and it is {self.strategy}"
            )
        if self.recipe.class_weights and self.head != "softmax":
            raise UsageError(
                f"--class-weights needs one class an image: --head softmax, not {self.head}"
            )
        self._check_file_arch()
        self._check_distillation()
        if self.qat is not None and self.start is None:
            raise UsageError(f"--qat {self.qat} trains a model on: say with --from MODEL which")
        if self.thresholds is not None and self.qat is None:
            raise UsageError("--thresholds belongs to --qat")
        if self.chip is not None and self.qat is None:
            raise UsageError(
                f"--cim {self.chip.profile}: a chip holds quantised weights: say with --qat w4a8 "
                "or --qat w4a4 how"
            )

    def _check_file_arch(self) -> None:
        """A file brings its weights, its normalisation and its width."""
        if not self.arch.endswith(".keras"):
            if self.normalise is not None:
                raise UsageError(
                    f"--normalise belongs to --arch FILE.keras; {self.arch} has its own"
                )
        elif self.weights not in (self.arch, "none"):
            raise UsageError(
                f"--weights {self.weights}: --arch {self.arch} brings its own: leave --weights "
                "out, or give none to start from random ones"
            )
        if self.alpha != 1 and (self.arch == "basic-cnn" or self.arch.endswith(".keras")):
            raise UsageError(f"--alpha {self.alpha:g}: {self.arch} has no width multiplier")

    def _check_distillation(self) -> None:
        if self.head != "embedding":
            return
        if self.distillation is None:
            raise UsageError("--head embedding learns a teacher's vectors: give --distil TEACHER")
        plain = Distillation(self.distillation.teacher, unlabelled=self.distillation.unlabelled)
        if self.distillation != plain:
            raise UsageError(
                "--distil-weight and --distil-temperature weigh labels against a teacher: an "
                "embedding has no labels, leave them out"
            )

    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON data: all but where files go and how it is run."""
        plain = asdict(self)
        for name in ("out", "cache", "resume", "overwrite"):
            del plain[name]
        found: dict[str, Any] = json.loads(json.dumps(plain, default=str))
        return found
