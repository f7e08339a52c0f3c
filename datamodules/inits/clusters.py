"""Initial pools from clusters: shares of all clusters, and which members fill them."""

from __future__ import annotations

import numpy as np

from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.initial import Candidates, Init, random_remainder, round_robin

SHARES = ("equal", "proportional")
MEMBERS = ("random", "nearest")


class ClusterInit(Init):
    """A share of every cluster that occurs among the candidates.

    `shares` equal: B / K of each of K clusters; one that is too small gives all it has, the others
    give more, and a remainder goes to random clusters. `shares` proportional: |C_j| B / M of the M
    candidates, rounded by largest remainders. `members` random, or nearest to the mean of the
    cluster's features (Euclidean). From "On Initial Pools for Deep Active Learning" (Chandra et
    al., 2021, https://proceedings.mlr.press/v148/chandra21a.html), whose code gave int(B / K) to
    each, dropped the remainder and let short clusters shrink the pool.
    """

    reads = "clusters"

    def __init__(self, shares: str = "equal", members: str = "random"):
        if shares not in SHARES:
            raise ValueError(f"shares must be one of {', '.join(SHARES)}, not {shares!r}")
        if members not in MEMBERS:
            raise ValueError(f"members must be one of {', '.join(MEMBERS)}, not {members!r}")
        self.shares, self.members = shares, members

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates, one of each cluster in turn.

        Raises UserError where the artifact has no clusters, or none of the features that `members`
        nearest measures by.
        """
        if candidates.clusters is None:
            raise UserError("this init needs clusters, and the pretext artifact has none")
        order = random_order(seed, candidates.indices)
        names, groups, sizes = np.unique(
            candidates.clusters[order], return_inverse=True, return_counts=True
        )
        if self.shares == "equal":
            quota = random_remainder(names, sizes, budget, seed)
        else:
            quota = proportional_shares(names, sizes, budget, seed)
        if self.members == "nearest":
            if candidates.features is None:
                raise UserError("members=nearest needs features, and the pretext artifact has none")
            nearest = np.argsort(
                distances_to_mean(candidates.features, order, groups), kind="stable"
            )
            order, groups = order[nearest], groups[nearest]
        return round_robin(order, groups, quota)


def proportional_shares(names: np.ndarray, sizes: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """sizes * budget / sum(sizes), rounded by largest remainders so that they sum to `budget`.

    Equal remainders are ordered at random by `seed`. No share exceeds its group, for a budget of at
    most all: a share is rounded up only where it is not whole, hence below the group's size.
    """
    shares, remainders = np.divmod(sizes * budget, sizes.sum())
    shuffled = np.searchsorted(names, random_order(seed, names))
    by_remainder = shuffled[np.argsort(-remainders[shuffled], kind="stable")]
    shares[by_remainder[: budget - shares.sum()]] += 1
    return shares


def distances_to_mean(features: np.ndarray, samples: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(M,) Euclidean distances of `samples`' features (N, D) to their group's mean over samples."""
    distances = np.empty(len(samples), dtype=np.float32)
    by_group = np.argsort(groups, kind="stable")
    for members in np.split(by_group, np.cumsum(np.bincount(groups))[:-1]):
        block = features[samples[members]]
        mean = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        distances[members] = np.linalg.norm(block - mean, axis=1)
    return distances
