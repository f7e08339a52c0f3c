"""What the Bayesian strategies share: MC dropout after one pass of the backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from active.predictor import DROPOUT, Outputs, Predictor
from active.query import Gathered, Query, Request, Selection, highest
from datamodules.datamodule import PoolDataModule


class MonteCarloQuery(Query):
    """Keeps of each sample what `samples` dropout masks say, the same masks for all samples.

    The study's code ran the whole network `samples` times; the distribution is the same, because
    dropout sits after the backbone.
    """

    wants_dropout: ClassVar[bool] = True

    def __init__(self, samples: int = 25):
        super().__init__()
        if isinstance(samples, bool) or samples < 2:
            raise ValueError(f"samples must be at least 2, not {samples}")
        self.samples, self._seed = samples, 0
        self._masks: Tensor | None = None

    def prepare(
        self, datamodule: PoolDataModule, trainer: Callable[..., pl.Trainer], request: Request
    ) -> None:
        self._masks, self._seed = None, request.seeds.stream("query", request.cycle, 1)

    def mc_logits(self, outputs: Outputs, classifier: Predictor) -> Tensor:
        """(S, N, C) of a batch."""
        if self._masks is None:
            generator = torch.Generator().manual_seed(self._seed)
            shape = (self.samples, outputs.pooled.shape[1])
            kept = torch.rand(shape, generator=generator) >= DROPOUT
            self._masks = (kept / (1 - DROPOUT)).to(outputs.pooled)
        logits = classifier.mc_logits(outputs.pooled, self._masks)
        return logits.cpu() if logits.device.type == "mps" else logits  # float64 is needed


class MonteCarloScore(MonteCarloQuery):
    """Ranks by one number of the MC logits: the highest first, ties at random."""

    def score(self, logits: Tensor) -> Tensor:
        """(S, N, C) -> (N,)."""
        raise NotImplementedError

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        return {"score": self.score(self.mc_logits(outputs, classifier))}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        return highest(gathered.unlabeled["score"], gathered.indices, request)
