"""Pools in two dimensions: t-SNE of a pretext model's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

OTHERS, EACH = 1000, 200  # images around the pools, and members shown of each pool


def embed_pools(
    features: Path, pools: dict[str, np.ndarray], seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """t-SNE (van der Maaten and Hinton, 2008) of pools and a sample of all images.

    Args:
        features: file of (N, D) features of all train images.
        pools: for each arm its sample indices; the first 200 are shown.
        seed: of the sample and of the embedding.

    Returns:
        (n, 2) points, and for each arm the rows of its members.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = np.load(features, mmap_mode="r")
    rng = np.random.default_rng(seed)
    others = rng.choice(len(rows), min(OTHERS, len(rows)), replace=False)
    shown = {arm: np.asarray(indices[:EACH]) for arm, indices in pools.items()}
    chosen = np.unique(np.concatenate([others, *shown.values()]))
    perplexity = min(30.0, max(1.0, (len(chosen) - 1) / 3))
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed, max_iter=500)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other
        points = tsne.fit_transform(np.asarray(rows[chosen], dtype=np.float32))
    return points, {arm: np.searchsorted(chosen, indices) for arm, indices in shown.items()}
