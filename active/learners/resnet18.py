"""ResNet-18 from scratch."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from active.classifier import Classifier
from active.learner import Learner, Seen
from active.predictor import Predictor
from active.training import Training
from datamodules.errors import UserError
from datamodules.images import Images
from pretext.artifacts import Artifact

MINIMUM = {"width": 1, "projection": 1, "batch_size": 2, "weight_decay": 0}


class ResNet18Learner(Learner):
    """The study's classifier, from fresh weights in each cycle.

    Args:
        warm_start: go on from the last cycle's best-validation weights, with a fresh optimizer; the
            study's code went on from its last epoch's, with the optimizer's state.
        min_steps: see `Training`.
        batch_size: the global one, over all devices.
        optimizer, lr, weight_decay, schedule, width, stem, max_pool, projection: see `Classifier`.
    """

    predictor: ClassVar[type[Predictor]] = Classifier

    def __init__(
        self,
        dropout: str = "auto",
        members: Any = "auto",
        warm_start: bool = False,
        min_steps: int = 0,
        batch_size: int = 96,
        **network: Any,
    ):
        super().__init__(dropout, members)
        given = {**network, "batch_size": batch_size}
        for name, least in MINIMUM.items():
            if name in given and given[name] < least:
                raise UserError(f"learner.{name} must be at least {least}, not {given[name]}")
        self.warm_start, self.min_steps, self.batch_size = warm_start, min_steps, batch_size
        self.network, self.width = network, network.get("width", 64)

    def check(self, num_classes: int, channels: int, validation: int) -> None:
        try:
            with torch.device("meta"):  # arguments are checked, no weight is drawn
                Classifier(num_classes, channels, **self.network)
        except ValueError as error:
            raise UserError(f"learner: {error}") from error

    def training(self, max_epochs: int, val_checks: int) -> Training:
        return Training(max_epochs, val_checks, self.min_steps)

    def blank(self, images: Images, dropout: bool) -> Classifier:
        classes = len(images.classes or ())
        return Classifier(classes, images.train.shape[0], dropout=dropout, **self.network)

    def make(self, seen: Seen, dropout: bool, artifact: Artifact | None) -> Classifier:
        return self.blank(seen.images, dropout)
