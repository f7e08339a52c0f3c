"""What greedy selections share whose values only shrink: fronts of candidates, what they know.

The value of a candidate, its distance to the nearest chosen or its gain, never rises while others
are chosen: an old value is an upper bound, and only the best of these need be brought up to date.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FRONT = 1024  # candidates kept up to date at once


class Front(NamedTuple):
    """The candidates with the highest bounds.

    `cut` is the highest bound that a candidate outside the front may have; `rival` is the lowest
    position outside with exactly that bound (N if there is none).
    """

    positions: Tensor  # (F,) int64, sorted
    cut: float
    rival: int

    def leads(self, value: float, position: int) -> bool:
        """Whether no candidate outside comes before a member of this value."""
        return value > self.cut or (value == self.cut and position < self.rival)


@dataclass
class Known:
    """What a selection has found out, so that the next one goes on where it stopped.

    Empty at first; each call that is given it fills it anew. The next call must have the same
    features, in the same order, and `labeled` must begin with what this one was given as labeled
    and its picks.
    """

    chosen: int = 0  # of the positions that were labeled or picked
    columns: tuple[Tensor, ...] = ()  # (N,) each; the selection's own

    def of(self, positions: np.ndarray) -> Known:
        """The same of features at these positions, in their order."""
        rows = torch.from_numpy(positions)
        return Known(self.chosen, tuple(c[rows.to(c.device)] for c in self.columns))


def best_candidates(bounds: Tensor) -> Front:
    if len(bounds) <= FRONT:
        return Front(torch.arange(len(bounds), device=bounds.device), -math.inf, len(bounds))
    cut = bounds.topk(FRONT).values[-1]
    above, tied = ((bounds > cut).nonzero()[:, 0], (bounds == cut).nonzero()[:, 0])
    room = FRONT - len(above)
    rival = int(tied[room]) if len(tied) > room else len(bounds)
    return Front(torch.cat([above, tied[:room]]).sort().values, float(cut), rival)


def check_budget(features: Tensor, budget: int, labeled: Tensor | None) -> Tensor:
    """`labeled` as positions on the features' device; AssertionError where too few are left."""
    if labeled is None:
        labeled = torch.empty(0, dtype=torch.int64)
    left = len(features) - len(labeled)
    assert 0 < budget <= left, f"a budget of {budget} of {left} samples"
    return labeled.to(features.device)
