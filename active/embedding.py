"""Pools in two dimensions: t-SNE of a pretext model's features."""

from __future__ import annotations

import numpy as np

OTHERS, EACH = 1000, 200  # images around the pools, and members shown of each pool
SEED = 0  # of the sample and of the embedding


def embed_pools(
    features: np.ndarray, pools: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """t-SNE (van der Maaten and Hinton, 2008) of pools and a sample of all images.

    Args:
        features: (N, D) of all train images, best memory-mapped: few rows are read.
        pools: for each arm its sample indices; the first 200 are shown.

    Returns:
        (n, 2) points, and for each arm the rows of its members.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(SEED)
    others = rng.choice(len(features), min(OTHERS, len(features)), replace=False)
    shown = {arm: np.asarray(indices[:EACH]) for arm, indices in pools.items()}
    chosen = np.unique(np.concatenate([others, *shown.values()]))
    perplexity = min(30.0, max(1.0, (len(chosen) - 1) / 3))
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=SEED, max_iter=500)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other
        points = tsne.fit_transform(np.asarray(features[chosen], dtype=np.float32))
    return points, {arm: np.searchsorted(chosen, indices) for arm, indices in shown.items()}
