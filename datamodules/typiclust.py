"""TypiClust: typical samples of clusters, for initial pools and for queries."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from datamodules.distances import nearest
from datamodules.fronts import check_budget


def typiclust(
    features: Tensor, budget: int, *, labeled: Tensor | None = None, seed: int = 0,
    max_clusters: int = 500, neighbors: int = 20, smallest: int = 5,
) -> Tensor:  # fmt: skip
    """TypiClust (Hacohen et al. 2022): the most typical samples of the clusters labeled least.

    min(|labeled| + budget, max_clusters, N) clusters; next comes a cluster with the fewest labels,
    then the largest, then of lowest id; those of up to `smallest` members come after all others.
    Unlike the official code, which sorts the clusters once and computes densities anew without the
    labeled, a cluster's count includes the picks, and typicality is that among all its members;
    with nothing labeled and a budget of up to `max_clusters` both are the same.
    """
    labeled = check_budget(features, budget, labeled)
    num = min(len(labeled) + budget, max_clusters, len(features))
    clusters = torch.from_numpy(k_means(features.cpu().numpy(), num, seed)).to(features.device)
    score = typicality(features, clusters, neighbors)
    score[labeled] = math.inf  # ranked first, so that a rank counts the labels before it
    sizes = clusters.bincount(minlength=num)
    order = _lexsort(clusters, -score)
    starts = (sizes.cumsum(0) - sizes)[clusters[order]]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - starts
    size = sizes[clusters]
    order = _lexsort(size <= smallest, rank, -size, clusters)
    return order[score[order] < math.inf][:budget]


def _lexsort(*keys: Tensor) -> Tensor:
    """Order by the first key, then the second and so on, then position."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    return order


def k_means(features: np.ndarray, num: int, seed: int) -> np.ndarray:
    """(N,) int64 clusters, in mini-batches above 50, as in the official code of TypiClust."""
    model = (
        KMeans(num, random_state=seed)
        if num <= 50
        else MiniBatchKMeans(num, batch_size=5000, random_state=seed)
    )
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        return model.fit_predict(features).astype(np.int64)


def pseudo_labels(features: Tensor, num_classes: int) -> Tensor:
    """(N,) int64 in place of labels: k-means with a fixed seed, a cluster a class, at least two."""
    count = min(max(num_classes, 2), len(features))
    return torch.from_numpy(k_means(features.cpu().numpy(), count, seed=0)).to(features.device)


def typicality(features: Tensor, clusters: Tensor, neighbors: int = 20) -> Tensor:
    """(N,) float64: 1 / mean distance to the m nearest of the same cluster (0 if there is none).

    m is `neighbors`, at most half the cluster, at least 1. 1e-5 is added to the mean, as in the
    official code of TypiClust, so that duplicates have a finite typicality.
    """
    score = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for members in clusters.argsort(stable=True).split(clusters.bincount().tolist()):
        m = max(1, min(neighbors, len(members) // 2))
        if len(members) > 1:
            squared, _ = nearest(features[members], m)
            score[members] = 1 / (squared.sqrt_().mean(1) + 1e-5)
    return score
