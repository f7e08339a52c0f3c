"""Selection by coverage of unit-length features; for initial pools and for queries.

Each selection takes `features` (N, D) float32 on any device with float64, works there, and returns
(budget,) int64 positions, distinct and outside `labeled`, in order of preference. Equal candidates
are taken by lowest position. AssertionError if fewer than `budget` are left. Distances are
exact, see `datamodules.distances`: the same on any device and in any block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.distances import (
    block_rows,
    bounds_to_nearest,
    exact,
    exact_blocks,
    squared_distances,
    squared_norms,
)

Kernel = Callable[[Tensor], Tensor]  # squared distances, which it may overwrite -> [0, 1]
FRONT = 1024  # candidates kept up to date at once


class Front(NamedTuple):
    """The candidates with the highest bounds; `cut` and `rival` are the best bound among the
    others can have and, if one has it, the lowest position that does (else N)."""

    positions: Tensor  # (F,) int64, sorted
    cut: float
    rival: int

    def leads(self, value: float, position: int) -> bool:
        """Whether no candidate outside comes before a member of this value."""
        return value > self.cut or (value == self.cut and position < self.rival)


def k_center(
    features: Tensor, budget: int, *, labeled: Tensor | None = None, start: int | None = None
) -> Tensor:
    """Greedy k-center (Sener and Savarese 2018): the sample farthest from all chosen, repeatedly.

    Without `labeled`, the first is `start`, by default the sample nearest to the mean. The picks
    are those of the plain loop: distances only shrink, so stale or rough ones are upper bounds and
    only the front is brought up to date. Memory: a few numbers a sample, and a row of float64 for
    each that is labeled or picked.
    """
    labeled = check_budget(features, budget, labeled)
    first = labeled[:0]
    if not len(labeled):
        first = labeled.new_tensor([_most_central(features) if start is None else start])
    chosen = torch.cat([labeled, first])
    centers = exact(features[chosen])
    bounds = bounds_to_nearest(features, centers)
    bounds[chosen] = -math.inf
    more = centers.new_empty(budget - len(first), features.shape[1])
    return torch.cat([first, _farthest(features, bounds, torch.cat([centers, more]), len(chosen))])


def _farthest(features: Tensor, bounds: Tensor, centers: Tensor, done: int) -> Tensor:
    """Picks until the `centers`, of which the first `done` are given, are complete."""
    seen = torch.zeros_like(bounds, dtype=torch.int64)  # how many centers a bound has been held to
    given, end = done, len(centers)
    picks, memory = seen.new_empty(end), bounds.new_empty(FRONT**2)
    while done < end:
        front = _front(bounds)
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


def probcover(
    features: Tensor, budget: int, delta: float, *, labeled: Tensor | None = None
) -> Tensor:
    """ProbCover (Yehuda et al. 2022): the sample with most uncovered ones at a distance < delta.

    Once all are covered, what is left of the budget goes to greedy k-center, which goes on with
    spreading where the official code takes whatever comes first.
    """
    labeled = check_budget(features, budget, labeled)
    picks = _greedy(features, budget, lambda d: (d < delta * delta).double(), labeled, stop=0)
    if len(picks) == budget:
        return picks
    rest = k_center(features, budget - len(picks), labeled=torch.cat([labeled, picks]))
    return torch.cat([picks, rest])


def max_herding(
    features: Tensor, budget: int, *, sigma: float = 1.0, labeled: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """MaxHerding (Bae et al. 2024): greedy maximization of mean_n w_n max_{j chosen} k(x_n, x_j).

    k = exp(-||.||^2 / sigma^2), in multiples of 2^-30, so that without `weights` gains are exact;
    with them, (N,) not negative, as for UHerding, they are exact up to float64 rounding.
    """
    assert weights is None or bool((weights >= 0).all()), "weights must not be negative"

    def kernel(squared: Tensor) -> Tensor:
        return squared.mul_(-1 / sigma**2).exp_().mul_(2.0**30).round_().mul_(2.0**-30)

    return _greedy(features, budget, kernel, check_budget(features, budget, labeled), weights)


def _greedy(
    features: Tensor, budget: int, kernel: Kernel, labeled: Tensor, weights: Tensor | None = None,
    stop: float = -math.inf,
) -> Tensor:  # fmt: skip
    """The greedy cover of all samples, cut short where no candidate gains more than `stop`.

    Gains only shrink, so stale ones are upper bounds: picks come from the front alone while it
    leads. Then all gains fall by what the rows whose cover rose in between have taken from them.
    """
    x = exact(features)
    w = torch.ones_like(x[:, 0]) if weights is None else weights.to(x)
    cover = torch.zeros_like(w)
    if len(labeled):
        cover = torch.cat([kernel(squared_distances(y, x[labeled])).amax(1) for y in x.split(512)])
    gains = _gain(x, x, kernel, cover, torch.ones_like(w), w)
    gains[labeled] = -math.inf
    picks = labeled[:0]
    while len(picks) < budget:
        before = cover.clone()
        new = _greedy_of_front(x, _front(gains), gains, kernel, cover, w, budget - len(picks), stop)
        picks = torch.cat([picks, new])
        if not len(new):
            break
        rows = (cover > before).nonzero()[:, 0]
        gains -= _gain(x[rows], x, kernel, before[rows], cover[rows], w[rows])
        gains[new] = -math.inf
    return picks


def _greedy_of_front(
    x: Tensor, front: Front, gains: Tensor, kernel: Kernel, cover: Tensor, w: Tensor, budget: int,
    stop: float,
) -> Tensor:  # fmt: skip
    """Picks until a candidate outside may gain more; `cover` is raised in place."""
    pool, now = x[front.positions], gains[front.positions]
    ahead: dict[int, Tensor] = {}  # kernel rows of those that will probably be next
    new: list[int] = []
    while len(new) < min(budget, len(now)):
        best = int(now.argmax())
        value, position = float(now[best]), int(front.positions[best])
        if value <= stop or not front.leads(value, position):
            break
        if best not in ahead:
            likely = [best, *now.topk(min(15, len(now))).indices.tolist()]
            ahead = dict(zip(likely, kernel(squared_distances(pool[likely], x)), strict=True))
        new.append(position)
        rows = (ahead[best] > cover).nonzero()[:, 0]
        risen = ahead[best][rows]
        now -= _gain(x[rows], pool, kernel, cover[rows], risen, w[rows])
        cover[rows], now[best] = risen, -math.inf
    return front.positions.new_tensor(new)


def _gain(
    rows: Tensor, columns: Tensor, kernel: Kernel, low: Tensor, high: Tensor, weights: Tensor
) -> Tensor:
    """(C,) what each column adds to the weighted cover of rows that may rise from low to high."""
    total = torch.zeros_like(columns[:, 0])
    for into, y in zip(total.split(2048), columns.split(2048), strict=True):
        norms = squared_norms(y)
        for x, a, b, w in zip(*(t.split(512) for t in (rows, low, high, weights)), strict=True):
            values = kernel(squared_distances(x, y, norms))
            into += w @ torch.clamp(values, a[:, None], b[:, None], out=values)
    return total - weights @ low


def _most_central(features: Tensor) -> int:
    mean = exact(features.mean(0, keepdim=True))
    blocks = [squared_distances(x, mean)[:, 0] for x in exact_blocks(features)]
    return int(torch.cat(blocks).argmin())


def _front(bounds: Tensor) -> Front:
    if len(bounds) <= FRONT:
        return Front(torch.arange(len(bounds), device=bounds.device), -math.inf, len(bounds))
    cut = bounds.topk(FRONT).values[-1]
    above, tied = ((bounds > cut).nonzero()[:, 0], (bounds == cut).nonzero()[:, 0])
    room = FRONT - len(above)
    rival = int(tied[room]) if len(tied) > room else len(bounds)
    return Front(torch.cat([above, tied[:room]]).sort().values, float(cut), rival)


def check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def check_radius(delta: float | None, purity: float) -> None:
    """Of ProbCover's balls; None: found by `purity`."""
    if delta is not None:
        check_positive("delta", delta)
    if not 0 < purity <= 1:
        raise ValueError(f"purity must be above 0 and at most 1, not {purity!r}")


def check_budget(features: Tensor, budget: int, labeled: Tensor | None) -> Tensor:
    """`labeled` as positions on the features' device; AssertionError where too few are left."""
    if labeled is None:
        labeled = torch.empty(0, dtype=torch.int64)
    left = len(features) - len(labeled)
    assert 0 < budget <= left, f"a budget of {budget} of {left} samples"
    return labeled.to(features.device)
