"""What the strategies share that cover features: U and L in one array, ties broken by the seed,
and a memory of what stays from one cycle to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from active.query import Gathered, Query, Request, Selection, unscored
from datamodules.distances import where_exact
from datamodules.fronts import Known


class Field(NamedTuple):
    """Features to cover: U in a random order, so that ties fall by the query's seed, then L."""

    features: Tensor  # (|U| + |L|, D) float32
    labeled: Tensor  # positions of L
    names: np.ndarray  # (|U| + |L|,) sample indices in the order of the rows

    def selection(self, positions: Tensor) -> Selection:
        return unscored(self.names, positions)


def arrange(unlabeled: Tensor, labeled: Tensor, gathered: Gathered, request: Request) -> Field:
    """The field of (|U|, D) and (|L|, D) rows."""
    indices, size = gathered.indices, len(gathered.indices)
    order = request.generator.permutation(size)
    rows = torch.from_numpy(order).to(unlabeled.device)
    features = unlabeled.new_empty(size + len(labeled), unlabeled.shape[1])
    torch.index_select(unlabeled, 0, rows, out=features[:size])
    features[size:] = labeled
    features = where_exact(features)
    positions = torch.arange(size, len(features), device=features.device)
    return Field(features, positions, np.concatenate([indices[order], gathered.labeled_indices]))


class Memory:
    """Hands on what a selection knows of samples whose features stay, from cycle to cycle.

    Without it, as in a run that is resumed, the picks are the same and the work is done again.
    """

    def __init__(self) -> None:
        self._samples = self._chosen = np.empty(0, dtype=np.int64)  # sorted; in order of choice
        self._known = Known()  # of the samples, in that order

    def select(self, field: Field, choose: Callable[..., Tensor]) -> Selection:
        """What `choose(features, labeled=..., known=...)` picks."""
        order = field.names.argsort()
        samples, known, labeled = field.names[order], Known(), field.labeled
        if self._holds(samples, field):
            known = self._known.of(np.searchsorted(samples, field.names))
            labeled = self._in_order_of_choice(order, field)
        picks = choose(field.features, labeled=labeled, known=known)
        chosen = torch.cat([labeled, picks])[: known.chosen]
        self._samples, self._known = samples, known.of(order)
        self._chosen = field.names[chosen.cpu().numpy()]
        return field.selection(picks)

    def _holds(self, samples: np.ndarray, field: Field) -> bool:
        labeled = field.names[len(field.names) - len(field.labeled) :]
        same = np.array_equal(self._samples, samples)
        return same and bool(np.isin(self._chosen, labeled).all())

    def _in_order_of_choice(self, order: np.ndarray, field: Field) -> Tensor:
        """Positions of L, those that something is known of first."""
        before = order[np.searchsorted(self._samples, self._chosen)]
        others = np.setdiff1d(field.labeled.cpu().numpy(), before)
        return torch.from_numpy(np.concatenate([before, others])).to(field.labeled)


class ArtifactQuery(Query):
    """Covers the features of a pretext artifact, which no cycle changes; needs no classifier."""

    covers: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def field(self, gathered: Gathered, request: Request) -> Field:
        unlabeled = request.features_of(gathered.indices)
        labeled = request.features_of(gathered.labeled_indices)
        return arrange(unlabeled, labeled, gathered, request)
