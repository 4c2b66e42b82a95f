"""Answers averaged over frames."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from edge_sdk.artifact import Decision
from edge_sdk.runtime import Prediction, Scores

# Frames further apart than this show something else.
GAP_S = 10.0


class Smoother:
    """The mean of the probabilities of the last `count` frames; the model's own threshold, where it
    has one, then calls by that mean. A gap of `gap_s` seconds starts anew."""

    def __init__(self, count: int, decision: Decision | None, gap_s: float = GAP_S) -> None:
        self._kept: deque[Scores] = deque(maxlen=count)
        self._decision, self._gap_s = decision, gap_s
        self._last_s: float | None = None

    @property
    def full(self) -> bool:
        return len(self._kept) == self._kept.maxlen

    def add(self, prediction: Prediction, taken_s: float) -> Prediction:
        """taken_s: monotonic seconds of the frame."""
        if self._kept.maxlen == 1:
            self._kept.append(prediction.probabilities)
            return prediction
        if self._last_s is not None and taken_s - self._last_s > self._gap_s:
            self._kept.clear()
        self._last_s = taken_s
        self._kept.append(prediction.probabilities)
        mean: Scores = np.stack(self._kept).mean(0, dtype=np.float64).astype(np.float32)
        called, d = prediction.called, self._decision
        if d is not None and d.threshold is not None and d.positive is not None:
            positive = prediction.labels.index(d.positive)
            called = positive if mean[positive] >= d.threshold else 1 - positive
        return replace(prediction, probabilities=mean, called=called)
