"""Which samples are labeled: V, L and U as global train indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.seeds import Seeds


def resolve_count(what: str, value: float, total: int) -> int:
    """A count as it is, or a fraction f below 1 of the train part: floor(f * total).

    >>> resolve_count("budget", 0.1, 13_996)
    1399
    """
    if value <= 0:
        raise UserError(
            f"{what} must be a count of at least 1 or a fraction below 1, not {value:g}"
        )
    if value >= 1 and value != int(value):
        raise UserError(f"{what} must be a whole number or a fraction below 1, not {value:g}")
    count = int(value * total + 1e-9) if value < 1 else int(value)
    if count < 1:
        raise UserError(f"{what} = {value:g} of {total} samples is less than one sample")
    return count


def draw_validation(total: int, fraction: float, seeds: Seeds) -> np.ndarray:
    """Sorted indices of the validation set V, from the split stream alone.

    Every arm that shares the split seed has the same V; round(fraction * total) samples, or a
    count, or none for 0.
    """
    if fraction < 0:
        raise UserError(f"data.val must be a fraction, a count or 0, not {fraction:g}")
    if fraction >= 1 and fraction != int(fraction):
        raise UserError(f"data.val must be a whole number or a fraction below 1, not {fraction:g}")
    size = round(fraction * total) if fraction < 1 else int(fraction)
    if size >= total:
        raise UserError(f"data.val = {fraction:g} takes all {total} train samples for validation")
    return _drawn(total, size, seeds.stream("split")).copy()


@lru_cache(maxsize=64)  # a grid asks once for each of its runs
def _drawn(total: int, size: int, seed: int) -> np.ndarray:
    return np.sort(random_order(seed, np.arange(total))[:size])


def check_budgets(total: int, validation: int, init_budget: int, budget: int, cycles: int) -> None:
    """|L0| + cycles x budget must not exceed the samples outside V; told before any training."""
    if cycles < 0:
        raise UserError(f"cycles must be 0 or more, not {cycles}")
    if init_budget < 2:
        raise UserError("init_budget must be at least 2: batch normalization cannot train on one")
    wanted, free = init_budget + cycles * budget, total - validation
    if wanted > free:
        raise UserError(
            f"init_budget {init_budget} + {cycles} cycles x budget {budget} = {wanted} samples, "
            f"but only {free} can be labeled ({total} less {validation} for validation)"
        )


@dataclass
class Pools:
    """A partition of the train indices into V (validation), L (labeled) and U (unlabeled)."""

    total: int
    validation: np.ndarray
    batches: list[np.ndarray] = field(default_factory=list)  # what was added for each cycle

    def __post_init__(self) -> None:
        self._state = np.zeros(self.total, dtype=np.int8)  # 0 unlabeled, 1 labeled, 2 validation
        self._state[self.validation] = 2
        batches, self.batches = self.batches, []
        for indices in batches:
            self.label(indices)

    @property
    def labeled(self) -> np.ndarray:
        """Sorted indices of L."""
        return np.flatnonzero(self._state == 1)

    @property
    def unlabeled(self) -> np.ndarray:
        """Sorted indices of U."""
        return np.flatnonzero(self._state == 0)

    def label(self, indices: np.ndarray) -> None:
        """Moves `indices` from U to L."""
        indices = np.asarray(indices, dtype=np.int64)
        assert len(np.unique(indices)) == len(indices), "an index was chosen twice"
        assert (self._state[indices] == 0).all(), "an index outside U was chosen"
        self._state[indices] = 1
        self.batches.append(indices)
