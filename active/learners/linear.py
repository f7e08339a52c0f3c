"""A linear classifier of a pretext model's features."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from active.learner import Learner, Seen
from active.linear_classifier import LABELS_OF_V, LinearClassifier
from active.predictor import Predictor
from active.training import Training
from datamodules.errors import UserError
from datamodules.images import Images, Part
from pretext.artifacts import Artifact

RANGE = 1e-6, 1e4  # of c, in which the solver was tried
ROWS = 8192  # features of a block or a batch, where nothing is trained


class LinearLearner(Learner):
    """Logistic regression on frozen, standardized features: hundreds of labels of ten classes take
    a fraction of a second; the time grows with samples, classes and features squared.

    It has one solution, so that it neither needs V nor forms a committee, and dropout, which a
    query may ask of it, does not change it.

    Args:
        c: see `LinearClassifier`.
    """

    predictor: ClassVar[type[Predictor]] = LinearClassifier
    reads: ClassVar[str] = "features"
    steps: ClassVar[bool] = False
    batch_size = 2**31

    def __init__(self, dropout: str = "auto", members: Any = "auto", c: Any = 10.0):
        super().__init__(dropout, members)
        low, high = RANGE
        number = isinstance(c, int | float) and not isinstance(c, bool)
        if c != "val" and not (number and low <= c <= high):
            raise ValueError(f"c must be a number from {low:g} to {high:g}, or val, not {c!r}")
        self.c = c

    def check(self, num_classes: int, channels: int, validation: int) -> None:
        if self.c == "val" and validation == 0:
            raise UserError("learner.c val needs a validation set; data.val is 0")

    def count(self, committee: bool) -> int:
        if committee or self.members not in ("auto", 1):
            raise UserError(
                "the linear learner has one solution, so that all members of a committee agree; "
                "choose another --query or --learner"
            )
        return 1

    def kind(self, dropout: bool, members: int) -> str:
        return "plain"

    def validation_labels(self, labeled: int, validation: int) -> int:
        return min(LABELS_OF_V * labeled, validation) if self.c == "val" else 0

    def fast_precision(self, of_data: str) -> str:
        return "32-true"

    def training(self, max_epochs: int, val_checks: int) -> Training:
        return Training(1, 1)

    def see(self, images: Images, artifact: Artifact | None) -> Seen:
        assert artifact is not None
        assert images.test is not None
        rows, test_rows = standardized(artifact)
        train, test = _part(images.train, rows), _part(images.test, test_rows)
        featured = Images(images.name, train, test, images.classes, images.fingerprint)
        return Seen(featured, normalized=True, eval_batch_size=ROWS)

    def make(self, seen: Seen, dropout: bool, artifact: Artifact | None) -> LinearClassifier:
        images = seen.images
        return LinearClassifier(len(images.classes or ()), images.train.shape[0], self.c)


def _part(part: Part, rows: Tensor) -> Part:
    shape: Any = tuple(rows.shape[1:])
    return Part(part.ids, part.labels, shape, rows, None)


@lru_cache(maxsize=2)
def standardized(artifact: Artifact) -> tuple[Tensor, Tensor]:
    """(N, D) features of the train and of the test part, by the train part's mean and std."""
    train, test = (artifact.features(part) for part in ("train", "test"))
    mean, variance = train.mean(axis=0, dtype=np.float64), np.zeros(train.shape[1])
    for block in _blocks(train):
        variance += np.square(block - mean).sum(axis=0) / len(train)
    std = np.sqrt(variance)
    scale = 1 / np.maximum(std, 1e-6 * std.max())
    return _scaled(train, mean, scale), _scaled(test, mean, scale)


def _scaled(rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Tensor:
    scaled = np.empty(rows.shape, np.float32)
    for out, block in zip(_blocks(scaled), _blocks(rows), strict=True):
        out[:] = (block - mean) * scale
    return torch.from_numpy(scaled)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Views of ROWS rows each: float64 copies of a million features would fill a host."""
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
