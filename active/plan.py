"""How much work a run is: image passes, and seconds on this hardware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from active.predictor import Predictor
from pretext.devices import Devices
from pretext.timing import best_seconds

# A training step passes forward once and backward twice as much.
TRAIN_WEIGHT = 3


class Speed(NamedTuple):
    """Seconds an image."""

    train: float  # forward and backward
    forward: float


@dataclass(frozen=True)
class Passes:
    """Images passed through the classifier; a training pass is forward and backward."""

    train: int
    evaluate: int  # V and the test part
    query: int

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.train + other.train, self.evaluate + other.evaluate, self.query + other.query
        )

    def __str__(self) -> str:
        return (
            f"{self.train:,} training, {self.evaluate:,} validation and test, {self.query:,} query"
        )

    @property
    def weight(self) -> int:
        """In units of one image forward."""
        return TRAIN_WEIGHT * self.train + self.evaluate + self.query

    def seconds(self, speed: Speed) -> float:
        return self.train * speed.train + (self.evaluate + self.query) * speed.forward


@dataclass(frozen=True)
class CyclePlan(Passes):
    """One cycle: its passes, `query` before its labels, and the images it is trained on."""

    labeled: int


def total(parts: Iterable[Passes]) -> Passes:
    """The passes of all parts together."""
    return sum(parts, Passes(0, 0, 0))


def measure(
    classifier: Predictor, devices: Devices, shape: tuple[int, int, int], batch_size: int
) -> Speed:
    """The speed of a classifier here, on a rank's share of a batch of random (C, H, W) images."""
    device = torch.device(devices.kind)
    classifier = classifier.to(device)
    share = max(2, batch_size // devices.world_size)  # batch norm cannot train on one
    images = torch.randn(share, *shape, device=device)
    labels = torch.zeros(share, dtype=torch.long, device=device)
    if devices.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
        classifier.to(memory_format=torch.channels_last)

    def train() -> None:
        with devices.autocast():
            loss = F.cross_entropy(classifier(images)[1], labels)
        loss.backward()

    def forward() -> None:
        with torch.inference_mode(), devices.autocast():
            classifier(images)

    seconds = best_seconds(train, device), best_seconds(forward, device)
    return Speed(*(each / share / devices.speedup for each in seconds))
