"""The contract of a query strategy: what it needs, what it keeps of a batch, what it selects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from active.acquisition import top
from active.classifier import Outputs
from datamodules.errors import UserError
from datamodules.seeds import Seeds
from pretext.collect import gather_rows


@dataclass(frozen=True)
class Request:
    """What a query is asked for: `budget` samples for one cycle of a run."""

    budget: int
    cycle: int
    seeds: Seeds

    @cached_property
    def generator(self) -> np.random.Generator:
        """The query's own generator, for ties and draws."""
        return self.seeds.numpy("query", self.cycle)


@dataclass(frozen=True)
class Selection:
    """Chosen global indices in order of preference, with their acquisition scores."""

    indices: np.ndarray  # (budget,) int64
    scores: np.ndarray  # (budget,) float64; NaN where the strategy has none


class Query(pl.Callback):
    """A query strategy, used as `Trainer(callbacks=[query]).predict(classifier, U)`.

    A strategy says whether it needs a pass over U, reduces each batch at once to what it keeps, and
    selects from what was gathered. It changes neither the model nor the pools and never sees a
    label of U. After the pass, `gathered` holds (sorted indices of U, what was kept) of all ranks.
    """

    needs_pass: ClassVar[bool] = True
    wants_dropout: ClassVar[bool] = False  # MC dropout: `learner.dropout auto` switches it on

    def __init__(self) -> None:
        self._indices: list[Tensor] = []
        self._kept: list[Tensor] = []
        self.gathered: tuple[np.ndarray, np.ndarray] | None = None

    def reduce(self, outputs: Outputs) -> Tensor:
        """What the strategy keeps of a batch: (N,) or (N, ...), on the device."""
        raise NotImplementedError

    def select(self, indices: np.ndarray, kept: np.ndarray | None, request: Request) -> Selection:
        """Chooses from `indices` (sorted U) and `kept` (their rows; None without a pass)."""
        raise NotImplementedError

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._indices, self._kept, self.gathered = [], [], None

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._indices.append(outputs.indices)
        self._kept.append(self.reduce(outputs))

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        indices = gather_rows(pl_module, torch.cat(self._indices))
        kept = gather_rows(pl_module, torch.cat(self._kept))
        self._indices, self._kept = [], []
        order = indices.argsort()
        self.gathered = indices[order].cpu().numpy(), kept[order].cpu().numpy()


class ScoreQuery(Query):
    """A strategy that ranks U by one number a sample: the highest first, ties at random."""

    def select(self, indices: np.ndarray, kept: np.ndarray | None, request: Request) -> Selection:
        assert kept is not None
        chosen = top(kept, request.budget, request.generator)
        return Selection(indices[chosen], kept[chosen].astype(np.float64))


def check_finite(indices: np.ndarray, kept: np.ndarray, ids: list[str]) -> None:
    """A NaN in a model's output is an error that names the first such sample."""
    bad = np.flatnonzero(np.isnan(kept.reshape(len(kept), -1)).any(axis=1))
    if len(bad):
        raise UserError(
            f"the classifier's output is NaN for {len(bad)} of {len(kept)} unlabeled samples, "
            f"first {ids[indices[bad[0]]]}: its training diverged; a smaller --learner.lr may help"
        )


def check_selection(selection: Selection, unlabeled: np.ndarray, budget: int) -> None:
    """Holds a strategy to the contract: exactly `budget` distinct indices of U."""
    name = "the query"
    if len(selection.indices) != budget or len(selection.scores) != budget:
        raise ValueError(f"{name} chose {len(selection.indices)} samples, not {budget}")
    if len(np.unique(selection.indices)) != budget:
        raise ValueError(f"{name} chose a sample twice")
    if not np.isin(selection.indices, unlabeled).all():
        raise ValueError(f"{name} chose a sample outside the unlabeled pool")
