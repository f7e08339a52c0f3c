"""What the strategies share that cover features: U and L in one array, ties broken by the seed."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from active.query import Gathered, Query, Request, Selection, unscored
from datamodules.distances import where_exact


class Field(NamedTuple):
    """Features to cover: U in a random order, so that ties fall by the query's seed, then L."""

    features: Tensor  # (|U| + |L|, D) float32
    labeled: Tensor  # positions of L
    names: np.ndarray  # (|U|,) sample indices in the order of the rows

    def selection(self, positions: Tensor) -> Selection:
        return unscored(self.names, positions)


def arrange(unlabeled: Tensor, labeled: Tensor, indices: np.ndarray, request: Request) -> Field:
    """The field of (|U|, D) and (|L|, D) rows; `indices` are those of U."""
    order = request.generator.permutation(len(indices))
    size, rows = len(indices), torch.from_numpy(order).to(unlabeled.device)
    features = unlabeled.new_empty(size + len(labeled), unlabeled.shape[1])
    torch.index_select(unlabeled, 0, rows, out=features[:size])
    features[size:] = labeled
    features = where_exact(features)
    positions = torch.arange(size, len(features), device=features.device)
    return Field(features, positions, indices[order])


class ArtifactQuery(Query):
    """Covers the features of a pretext artifact, which no cycle changes; needs no classifier."""

    covers: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[str] = "features"

    def field(self, gathered: Gathered, request: Request) -> Field:
        unlabeled = request.features_of(gathered.indices)
        labeled = request.features_of(gathered.labeled_indices)
        return arrange(unlabeled, labeled, gathered.indices, request)
