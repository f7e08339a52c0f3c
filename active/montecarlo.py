"""What the Bayesian strategies share: MC dropout after one pass of the backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from active.predictor import DROPOUT, Outputs, Predictor
from active.query import Gathered, Query, Request, Selection, highest
from datamodules.datamodule import PoolDataModule
from datamodules.distances import where_exact

CELLS = 2**26  # logits at once, 256 MiB; scores take several times that in float64


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

    def mc_logits(self, outputs: Outputs, classifier: Predictor) -> Iterator[Tensor]:
        """(S, n, C) of a batch, so many samples at once that they are at most `CELLS`."""
        if self._masks is None:
            generator = torch.Generator().manual_seed(self._seed)
            shape = (self.samples, outputs.pooled.shape[1])
            kept = torch.rand(shape, generator=generator) >= DROPOUT
            self._masks = (kept / (1 - DROPOUT)).to(outputs.pooled)
        rows = max(1, CELLS // (self.samples * outputs.logits.shape[1]))
        for pooled in outputs.pooled.split(rows):
            logits = classifier.mc_logits(pooled, self._masks)
            yield where_exact(logits)


class MonteCarloScore(MonteCarloQuery):
    """Ranks by one number of the MC logits: the highest first, ties at random."""

    def score(self, logits: Tensor) -> Tensor:
        """(S, N, C) -> (N,)."""
        raise NotImplementedError

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        scores = [self.score(logits) for logits in self.mc_logits(outputs, classifier)]
        return {"score": torch.cat(scores)}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        return highest(gathered.unlabeled["score"], gathered.indices, request)
