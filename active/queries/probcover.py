"""ProbCover (Yehuda et al., NeurIPS 2022, https://arxiv.org/abs/2205.11320)."""

from __future__ import annotations

from functools import partial

import numpy as np

from active.covering import ArtifactQuery
from active.query import Gathered, Request, Selection
from datamodules.coverage import check_radius, probcover
from datamodules.distances import purity_radius
from datamodules.typiclust import pseudo_labels


class ProbCover(ArtifactQuery):
    """Balls of radius `delta` that cover most of what L's balls do not, as the init of that name.

    Args:
        delta: the radius; None: the largest at which a share `purity` of all balls holds one
            cluster only, of k-means on the features with as many clusters as classes.
    """

    def __init__(self, delta: float | None = None, purity: float = 0.95):
        super().__init__()
        check_radius(delta, purity)
        self.delta, self.purity = delta, purity
        self._found: tuple[np.ndarray, float] | None = None  # the radius among these samples

    def select(self, gathered: Gathered, request: Request) -> Selection:
        field = self.field(gathered, request)
        delta = self.radius(gathered, request) if self.delta is None else self.delta
        choose = partial(probcover, budget=request.budget, delta=delta)
        return self.memory.select(field, choose)

    def radius(self, gathered: Gathered, request: Request) -> float:
        """Of L and U together, which no cycle changes: found once, the same in a resumed run."""
        indices = np.sort(np.concatenate([gathered.indices, gathered.labeled_indices]))
        if self._found is None or not np.array_equal(self._found[0], indices):
            features = request.features_of(indices)
            labels = pseudo_labels(features, request.num_classes)
            self._found = indices, purity_radius(features, labels, self.purity)
        return self._found[1]
