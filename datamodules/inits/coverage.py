"""Initial pools that cover a pretext model's features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from datamodules.coverage import check_positive, check_radius, max_herding, probcover
from datamodules.distances import purity_radius
from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.initial import DEFAULT_CLUSTERS, Candidates, Init
from datamodules.kcenter import k_center
from datamodules.typiclust import pseudo_labels, typiclust


class KCenter(Init):
    """Greedy k-center: each next sample is the farthest from all before, the first is random.

    Core-set selection (Sener and Savarese, 2018, https://arxiv.org/abs/1708.00489) before there is
    a classifier.
    """

    reads = "features"

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        return _in_random_order(candidates, seed, partial(k_center, budget=budget))


class TypiClust(Init):
    """The most typical sample of each of B clusters (Hacohen et al., ICML 2022).

    https://arxiv.org/abs/2202.02794: at most `max_clusters` clusters, typicality over `neighbors`
    nearest members.
    """

    reads = "features"

    def __init__(self, max_clusters: int = 500, neighbors: int = 20):
        for name, value in (("max_clusters", max_clusters), ("neighbors", neighbors)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        self.max_clusters, self.neighbors = max_clusters, neighbors

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        positions = typiclust(
            _features(candidates, candidates.indices),
            budget,
            seed=seed % 2**32,  # the seeds that k-means takes
            max_clusters=self.max_clusters,
            neighbors=self.neighbors,
        )
        return candidates.indices[positions.cpu().numpy()]


class ProbCover(Init):
    """Balls of radius `delta` that cover the most samples (Yehuda et al., NeurIPS 2022).

    https://arxiv.org/abs/2205.11320. Where `delta` is None it is the largest radius at which a
    share `purity` of all balls holds one cluster only: of the artifact's clusters if it has at
    least two, else of k-means with as many clusters as classes, ten where there are none; of
    k-means with as many as `clusters`, if that is given. Equal gains, which are frequent, are
    decided by the seed; the paper draws from the five largest gains.
    """

    reads = "features"

    def __init__(
        self, delta: float | None = None, purity: float = 0.95, clusters: int | None = None
    ):
        check_radius(delta, purity)
        if clusters is not None and clusters < 2:
            raise ValueError(f"clusters must be at least 2, not {clusters}")
        self.delta, self.purity, self.clusters = delta, purity, clusters

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        delta = self.radius(candidates) if self.delta is None else self.delta
        return _in_random_order(candidates, seed, partial(probcover, budget=budget, delta=delta))

    def radius(self, candidates: Candidates) -> float:
        features = _features(candidates, candidates.indices)
        return purity_radius(features, self._labels(candidates, features), self.purity)

    def _labels(self, candidates: Candidates, features: Tensor) -> Tensor:
        """(M,) clusters of the candidates; those of k-means are drawn with a fixed seed."""
        if candidates.clusters is not None and self.clusters is None:
            clusters = candidates.clusters[candidates.indices]
            if len(np.unique(clusters)) > 1:
                return torch.from_numpy(clusters).to(features.device)
        return pseudo_labels(features, self.clusters or candidates.num_classes or DEFAULT_CLUSTERS)


class MaxHerding(Init):
    """The largest gain in coverage under a Gaussian kernel (Bae et al., ECCV 2024).

    https://arxiv.org/abs/2407.12212: kernel exp(-(distance / sigma)^2), greedy.
    """

    reads = "features"

    def __init__(self, sigma: float = 1.0):
        check_positive("sigma", sigma)
        self.sigma = sigma

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        select = partial(max_herding, budget=budget, sigma=self.sigma)
        return _in_random_order(candidates, seed, select)


def _features(candidates: Candidates, samples: np.ndarray) -> Tensor:
    """(n, D) float32 features of these samples, on the device that is to choose."""
    if candidates.features is None:
        raise UserError("this init needs features, and the pretext artifact has none")
    rows = np.asarray(candidates.features[samples], dtype=np.float32)
    return torch.from_numpy(rows).to(candidates.device)


def _in_random_order(
    candidates: Candidates, seed: int, select: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """What it selects of rows in the seed's order: files, which may lie class by class, in theirs
    would decide between equal ones."""
    order = random_order(seed, candidates.indices)
    return order[select(_features(candidates, order)).cpu().numpy()]
