"""Greedy k-center among features, for initial pools and for queries; see `datamodules.coverage`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from datamodules import fronts
from datamodules.distances import (
    block_rows,
    bounds_to_nearest,
    exact,
    squared_distances,
    squared_norms,
)
from datamodules.fronts import Front, Known, best_candidates, check_budget


def k_center(
    features: Tensor, budget: int, *, labeled: Tensor | None = None, start: int = 0,
    known: Known | None = None,
) -> Tensor:  # fmt: skip
    """Greedy k-center (Sener and Savarese 2018): the sample farthest from all chosen, repeatedly.

    Without `labeled`, the first is `start`. The picks are those of the plain loop: distances only
    shrink, so stale or rough ones are upper bounds and only the front is brought up to date.
    Memory: a few numbers a sample, and a row of float64 for each that is labeled or picked.
    """
    labeled = check_budget(features, budget, labeled)
    known, first = Known() if known is None else known, labeled[:0]
    if not len(labeled):
        first = labeled.new_tensor([start])
    chosen = torch.cat([labeled, first])
    centers = exact(features[chosen])
    if not known.columns:
        rough = bounds_to_nearest(features, centers)
        known.columns = rough, torch.zeros_like(rough, dtype=torch.int64)
    bounds, seen = known.columns
    bounds[chosen] = -math.inf
    more = centers.new_empty(budget - len(first), features.shape[1])
    rest = _farthest(features, bounds, seen, torch.cat([centers, more]), len(chosen))
    known.chosen = len(labeled) + budget
    return torch.cat([first, rest])


def _farthest(features: Tensor, bounds: Tensor, seen: Tensor, centers: Tensor, done: int) -> Tensor:
    """Picks until the `centers`, of which the first `done` are given, are complete.

    A sample's bound has been held to as many of the first centers as it has `seen`, or to more.
    Both are brought up to date in place.
    """
    given, end = done, len(centers)
    picks, memory = seen.new_empty(end), bounds.new_empty(fronts.FRONT**2)
    while done < end:
        front = best_candidates(bounds)
        pool = front.positions
        x = exact(features[pool])
        bounds[pool] = _refreshed(x, bounds[pool], seen[pool], centers[:done], memory)
        seen[pool] = done
        live = bounds[pool] >= front.cut
        pool, x = pool[live], x[live]
        squared = squared_distances(x, x, memory=memory)
        new, bounds[pool] = _farthest_of_front(squared, bounds[pool], pool, front, end - done)
        picks[done : done + len(new)], centers[done : done + len(new)] = pool[new], x[new]
        done += len(new)
        seen[pool] = done
    return picks[given:]


def _refreshed(x: Tensor, bounds: Tensor, seen: Tensor, centers: Tensor, memory: Tensor) -> Tensor:
    """(F,) bounds held to all centers, those that miss equally many together."""
    order, norms, size = seen.argsort(), squared_norms(centers), min(256, block_rows(centers))
    for part, low in zip(order.split(size), seen[order[::size]].tolist(), strict=True):
        if low < len(centers):
            squared = squared_distances(x[part], centers[low:], norms[low:], memory)
            bounds[part] = torch.minimum(bounds[part], squared.amin(1))
    return bounds


def _farthest_of_front(
    squared: Tensor, bounds: Tensor, positions: Tensor, front: Front, budget: int
) -> tuple[Tensor, Tensor]:
    """Picks (as indices) until a candidate outside may be farther; and the new bounds.

    `squared` (F, F) distances of the front's members, which may lie in memory that is used again.
    """
    matrix, now, names = (part.cpu().numpy() for part in (squared, bounds.clone(), positions))
    new: list[int] = []
    while len(new) < min(budget, len(now)):
        best = int(now.argmax())
        if not front.leads(now[best], names[best]):
            break
        new.append(best)
        np.minimum(now, matrix[best], out=now)
        now[best] = -math.inf
    return positions.new_tensor(new), torch.from_numpy(now).to(bounds.device)
