"""Core-set selection by greedy k-center (Sener and Savarese, ICLR 2018)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pytorch_lightning as pl
from torch import Tensor

from active.covering import Memory, arrange
from active.predictor import Outputs, Predictor
from active.query import Gathered, Query, Request, Selection
from datamodules.kcenter import k_center

FEATURES = ("projector", "penultimate")


class Coreset(Query):
    """The sample farthest from L and all chosen, repeatedly, in the classifier's own features.

    https://arxiv.org/abs/1708.00489; the greedy version, as in the study.

    Args:
        features: `projector` (the 128-d output, the study's) or `penultimate` (the backbone's).
    """

    covers: ClassVar[tuple[str, ...]] = ("unlabeled", "labeled")

    def __init__(self, features: str = "projector"):
        super().__init__()
        if features not in FEATURES:
            raise ValueError(f"features must be one of {', '.join(FEATURES)}, not {features!r}")
        self.features = features
        self.memory = Memory()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not pl_module.fixed_features:
            self.memory = Memory()

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        kept = outputs.features if self.features == "projector" else outputs.pooled
        return {"features": kept}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        unlabeled, labeled = gathered.unlabeled["features"], gathered.labeled["features"]
        field = arrange(unlabeled, labeled, gathered, request)
        return self.memory.select(field, partial(k_center, budget=request.budget))
