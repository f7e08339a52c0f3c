"""Initial pools: which samples are labeled first.

An init is called with the candidates (all train indices outside V) and the budget and returns
exactly `budget` distinct indices of them, in order of preference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datamodules.draws import random_order
from datamodules.errors import UserError

DEFAULT_CLUSTERS = 10  # where there are no classes to take the number from


@dataclass(frozen=True)
class Candidates:
    """What an init may look at; the arrays cover all N train samples and are read at `indices`.

    `labels` are there only for an init that declares that it needs them; `scores`, `clusters` and
    `features` come from the init's pretext artifact, whatever of them that model leaves.
    """

    indices: np.ndarray  # (M,) int64, the samples outside V, sorted
    num_classes: int  # 0 where there are no labels
    labels: np.ndarray | None = None  # (N,) int64
    scores: np.ndarray | None = None  # (N,) float, higher = harder for the pretext model
    clusters: np.ndarray | None = None  # (N,) int64
    features: np.ndarray | None = None  # (N, D) float32, unit length; may be memory-mapped
    ids: Sequence[str] = ()  # (N,) names on disk
    pixels: Callable[[np.ndarray], np.ndarray] | None = None  # indices -> (n, C, H, W) standardized
    device: str = "cpu"  # where selections by features are computed
    name: str = ""  # tells these arrays, and the init that is to be asked, from all others


_chosen: dict[tuple[str, bytes, int, int], np.ndarray] = {}  # answers, and not what was asked of
KEPT = 16


def choose(init: Init, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
    """What the init chooses; for named candidates once in a process, whose runs share pools."""
    if not candidates.name:
        return init(candidates, budget, seed)
    asked = candidates.name, candidates.indices.tobytes(), budget, seed
    if asked not in _chosen:
        _chosen[asked] = init(candidates, budget, seed)
        if len(_chosen) > KEPT:
            del _chosen[next(iter(_chosen))]
    return _chosen[asked].copy()


class Init(ABC):
    """How the initial pool is chosen.

    `needs_labels` is True for references that no one without labels could use; `reads` names the
    part of the artifact that the init cannot do without ("" for none).
    """

    needs_labels: ClassVar[bool] = False
    reads: str = ""

    @property
    def chain(self) -> list[Init]:
        """It, and the inits that it follows."""
        return [self]

    @property
    def fingerprint(self) -> str:
        """Of what decides the pool beside settings and artifact: a file's content; "" for none."""
        return ""

    @abstractmethod
    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray: ...


class RandomInit(Init):
    """Uniformly at random: the control arm. A smaller pool of the same seed lies in a larger."""

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        return random_order(seed, candidates.indices)[:budget]


class BalancedInit(Init):
    """Class-balanced random: the same number of every class. It reads all labels: a reference."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        if candidates.labels is None:
            raise UserError("init balanced needs the labels of all samples; this data set has none")
        order = random_order(seed, candidates.indices)
        groups, classes = candidates.labels[order], np.arange(candidates.num_classes)
        sizes = np.bincount(groups, minlength=candidates.num_classes)
        return round_robin(order, groups, random_remainder(classes, sizes, budget, seed))


def round_robin(order: np.ndarray, groups: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """The first `quota[g]` of each group g in turn, so that the first of the pool are balanced too.

    `order` (M,) samples by preference, `groups` (M,) the number of each one's group from 0.

    >>> round_robin(np.array([9, 8, 7, 6, 5]), np.array([0, 0, 0, 1, 1]), np.array([2, 1])).tolist()
    [9, 6, 8]
    """
    rank = rank_within(groups)
    kept = rank < quota[groups]
    return order[kept][np.argsort(rank[kept], kind="stable")]


def random_remainder(names: np.ndarray, sizes: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Equal shares of groups `names` (K,) of `sizes` (K,); the remainder goes to random groups."""
    shuffled = np.searchsorted(names, random_order(seed, names))
    quota = np.empty_like(sizes)
    quota[shuffled] = equal_shares(sizes[shuffled], budget)
    return quota


def rank_within(groups: np.ndarray) -> np.ndarray:
    """Each element's rank within its group, from 0.

    >>> rank_within(np.array([4, 2, 4, 4, 2])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(groups, kind="stable")
    counts = np.unique(groups, return_counts=True)[1]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - starts
    return ranks


def equal_shares(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Shares of groups, as equal as their sizes allow, that sum to `budget`.

    A group smaller than its share gives all it has and the rest is handed to the others; a
    remainder goes one each to the first groups that still have members. The study's code dropped
    both, so that its pools were smaller than their budget.

    >>> equal_shares(np.array([3, 0, 50, 50]), 20).tolist()
    [3, 0, 9, 8]
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    if budget > sizes.sum():
        raise UserError(
            f"a budget of {budget} is larger than the {sizes.sum()} samples to choose from"
        )
    shares = np.zeros_like(sizes)
    while (rest := budget - shares.sum()) > 0:
        open_groups = np.flatnonzero(shares < sizes)
        each, extra = divmod(int(rest), len(open_groups))
        add = np.full(len(open_groups), each, dtype=np.int64)
        if each == 0:
            add[:extra] = 1
        shares[open_groups] = np.minimum(shares[open_groups] + add, sizes[open_groups])
    return shares
