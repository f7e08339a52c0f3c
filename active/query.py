"""The contract of a query strategy: what it needs, what it keeps of a batch, what it selects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from active.acquisition import top
from active.predictor import Outputs, Predictor
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from datamodules.pools import Pools
from datamodules.seeds import Seeds
from pretext.collect import rows_on_zero

INDICES = "__index__"  # the column of sample indices, beside a strategy's own


@dataclass(frozen=True)
class Request:
    """What a query is asked for: `budget` samples for one cycle of a run.

    `features` (all train samples, D) are those of the model that the strategy's YAML file has as
    its `model`.
    """

    budget: int
    cycle: int
    seeds: Seeds
    features: np.ndarray | None = None
    device: str = "cpu"  # where features are to be worked on
    num_classes: int = 2  # of the data

    @cached_property
    def generator(self) -> np.random.Generator:
        """The query's own generator, for ties and draws."""
        return self.seeds.numpy("query", self.cycle)

    def features_of(self, indices: np.ndarray) -> Tensor:
        """(n, D) float32 features of these samples, on the device that is to choose."""
        if self.features is None:
            raise UserError(
                "the query reads features and has no model; a YAML file such as "
                "conf/query/typiclust.yaml gives it one"
            )
        rows = np.asarray(self.features[indices], dtype=np.float32)
        return torch.from_numpy(rows).to(self.device)


@dataclass(frozen=True)
class Gathered:
    """What the pass left, by pool, on its device."""

    indices: np.ndarray  # U, sorted
    labeled_indices: np.ndarray  # L
    unlabeled: dict[str, Tensor] = field(default_factory=dict)  # rows of U, in that order
    labeled: dict[str, Tensor] = field(default_factory=dict)
    validation: dict[str, Tensor] = field(default_factory=dict)
    validation_labels: Tensor | None = None


@dataclass(frozen=True)
class Selection:
    """Chosen global indices in order of preference, with their acquisition scores."""

    indices: np.ndarray  # (budget,) int64
    scores: np.ndarray  # (budget,) float64; NaN where the strategy has none


class Query(pl.Callback):
    """A query strategy, used as `Trainer(callbacks=[query]).predict(classifier, ...)`.

    A strategy says which pools a pass of the classifier has to cover, reduces each batch at once to
    what it keeps, and selects from what was gathered of all ranks. It changes neither the model nor
    the pools and never sees a label of U.
    """

    covers: ClassVar[tuple[str, ...]] = ("unlabeled",)  # and "labeled", "validation"; () no pass
    wants_dropout: ClassVar[bool] = False  # MC dropout: `learner.dropout auto` switches it on
    wants_committee: ClassVar[bool] = False  # asks all members; `learner.members auto`: several
    wants_images: ClassVar[bool] = False  # whatever the learner is given in their place
    curves: ClassVar[tuple[str, ...]] = ()  # that its own model logs; the first is their axis

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}  # room for a pass, of which `_count` rows are filled
        self._count = 0
        self._seen: tuple[Tensor, dict[str, Tensor]] | None = None  # by the pass: indices, columns

    def prepare(
        self, datamodule: PoolDataModule, trainer: Callable[..., pl.Trainer], request: Request
    ) -> None:
        """Before the pass, on all ranks: draws what the pass needs, or trains a model of its own.

        `trainer(max_epochs=..., callbacks=[...])` makes a Trainer on the run's devices.
        """

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        """What the strategy keeps of a batch: columns (N,) or (N, ...), on the device.

        Under torch.inference_mode: for gradients, `with torch.inference_mode(False),
        torch.enable_grad():` on clones of the outputs.
        """
        raise NotImplementedError

    def select(self, gathered: Gathered, request: Request) -> Selection:
        """Chooses from `gathered.indices`; runs once, on rank zero."""
        raise NotImplementedError

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._kept, self._count = {}, 0

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, Predictor)
        columns = {INDICES: outputs.indices, **self.reduce(outputs, pl_module)}
        if not self._kept:  # the first batch is the largest
            room = len(outputs.indices) * int(trainer.num_predict_batches[dataloader_idx])
            with torch.inference_mode(False):  # `select` may do as it likes with them
                self._kept = {n: c.new_empty((room, *c.shape[1:])) for n, c in columns.items()}
        filled, self._count = self._count, self._count + len(outputs.indices)
        for name, column in columns.items():
            self._kept[name][filled : self._count] = column

    @torch.inference_mode(False)
    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kept, self._kept = {n: c[: self._count] for n, c in self._kept.items()}, {}
        indices, places = rows_on_zero(pl_module, kept.pop(INDICES)), None
        if not bool((indices.diff() > 0).all()):  # on one device they come in order
            indices, order = indices.sort()
            places = order.argsort()
        columns = {name: rows_on_zero(pl_module, kept.pop(name), places) for name in list(kept)}
        self._seen = indices, columns

    def gathered(self, pools: Pools, labels: np.ndarray | None) -> Gathered:
        """What the pass left on rank zero, cut into the pools; `labels` are asked for V's alone."""
        if self._seen is None:
            return Gathered(pools.unlabeled, pools.labeled)
        (seen, columns), self._seen = self._seen, None

        def of(pool: np.ndarray) -> dict[str, Tensor]:
            if len(pool) == len(seen):
                return columns
            rows = torch.searchsorted(seen, torch.from_numpy(pool).to(seen.device))
            return {name: column.index_select(0, rows) for name, column in columns.items()}

        labeled, validation = pools.labeled, np.sort(pools.validation)
        truth = None
        if "validation" in self.covers and labels is not None:
            truth = torch.from_numpy(labels[validation]).to(seen.device)
        return Gathered(
            pools.unlabeled,
            labeled,
            of(pools.unlabeled),
            of(labeled) if "labeled" in self.covers else {},
            of(validation) if "validation" in self.covers else {},
            truth,
        )


class ScoreQuery(Query):
    """A strategy that ranks U by one number a sample: the highest first, ties at random."""

    def score(self, outputs: Outputs) -> Tensor:
        """(N,) of a batch; a pure function of its outputs."""
        raise NotImplementedError

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        scores = self.score(outputs)
        if scores.shape != outputs.indices.shape:
            raise UserError(
                f"{type(self).__name__}.score must give a number a sample, {len(outputs.indices)} "
                f"of a batch, not a tensor of shape {tuple(scores.shape)}"
            )
        return {"score": scores}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        return highest(gathered.unlabeled["score"], gathered.indices, request)


def highest(scores: Tensor, indices: np.ndarray, request: Request) -> Selection:
    """The `budget` samples of highest score, ties at random."""
    values = scores.cpu().numpy()
    chosen = top(values, request.budget, request.generator)
    return Selection(indices[chosen], values[chosen].astype(np.float64))


def unscored(indices: np.ndarray, positions: Tensor) -> Selection:
    """The samples at these positions, of a strategy without scores."""
    chosen = indices[positions.cpu().numpy()]
    return Selection(chosen, np.full(len(chosen), np.nan))


def check_finite(gathered: Gathered, ids: list[str]) -> None:
    """A NaN in what a query keeps is an error that names the first such sample."""
    count = len(gathered.indices)
    bad = np.zeros(count, dtype=bool)
    for column in gathered.unlabeled.values():
        # A sum is read once and keeps a NaN; it may be one of infinities alone.
        if column.is_floating_point() and column.sum().isnan():
            bad |= column.reshape(count, -1).isnan().any(dim=1).cpu().numpy()
    if bad.any():
        raise UserError(
            f"what the query keeps is NaN for {bad.sum()} of {count} unlabeled samples, "
            f"first {ids[gathered.indices[bad.argmax()]]}: the model's training diverged, where a "
            "smaller --learner.lr may help (--query.lr if the query trains one), or the query "
            "divides by zero or the like"
        )


def check_selection(
    strategy: object, selection: Selection, unlabeled: np.ndarray, budget: int
) -> None:
    """Holds an init or a query to the contract: exactly `budget` distinct indices of U."""
    name = type(strategy).__name__
    if len(selection.indices) != budget or len(selection.scores) != budget:
        raise ValueError(f"{name} chose {len(selection.indices)} samples, not {budget}")
    if len(np.unique(selection.indices)) != budget:
        raise ValueError(f"{name} chose a sample twice")
    if not np.isin(selection.indices, unlabeled).all():
        raise ValueError(f"{name} chose a sample outside the unlabeled pool")
