"""Selection by coverage of unit-length features; for initial pools and for queries.

Each selection takes `features` (N, D) float32 on any device with float64, works there, and returns
(budget,) int64 positions, distinct and outside `labeled`, in order of preference. Equal candidates
are taken by lowest position. AssertionError if fewer than `budget` are left.

Coordinates are rounded to multiples of 2^-24 (float32's own step next to 1) and multiplied in
float64. At unit length every inner product and squared distance is then free of rounding: the same
in any block and on any device, zero between duplicates, and ties are true ties.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

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
    are those of the plain loop: distances only shrink, so stale ones are upper bounds and only the
    front is brought up to date. Memory: a few numbers a sample, and `budget` rows of float64.
    """
    labeled = _checked(features, budget, labeled)
    first = labeled[:0]
    if not len(labeled):
        first = labeled.new_tensor([_most_central(features) if start is None else start])
    chosen = torch.cat([labeled, first])
    centers = _exact(features[chosen])
    bounds = torch.cat([_squared(x, centers).amin(1) for x in _blocks(features)])
    bounds[chosen] = -math.inf
    return torch.cat([first, _farthest(features, bounds, budget - len(first))])


def _farthest(features: Tensor, bounds: Tensor, budget: int) -> Tensor:
    seen = torch.zeros_like(bounds, dtype=torch.int64)  # how many centers a bound has been held to
    centers = bounds.new_empty(budget, features.shape[1])
    picks = seen.new_empty(budget)
    done = 0
    while done < budget:
        front = _front(bounds)
        pool = front.positions
        x = _exact(features[pool])
        bounds[pool] = _refreshed(x, bounds[pool], seen[pool], centers[:done])
        seen[pool] = done
        live = bounds[pool] >= front.cut
        pool, x = pool[live], x[live]
        new, bounds[pool] = _farthest_of_front(x, bounds[pool], pool, front, budget - done)
        picks[done : done + len(new)], centers[done : done + len(new)] = pool[new], x[new]
        done += len(new)
        seen[pool] = done
    return picks


def _refreshed(x: Tensor, bounds: Tensor, seen: Tensor, centers: Tensor, size: int = 256) -> Tensor:
    """(F,) bounds held to all centers, those that miss equally many together."""
    order, norms = seen.argsort(), _norms(centers)
    for part, low in zip(order.split(size), seen[order[::size]].tolist(), strict=True):
        if low < len(centers):
            nearest = _squared(x[part], centers[low:], norms[low:]).amin(1)
            bounds[part] = torch.minimum(bounds[part], nearest)
    return bounds


def _farthest_of_front(
    x: Tensor, bounds: Tensor, positions: Tensor, front: Front, budget: int
) -> tuple[Tensor, Tensor]:
    """Picks (as indices of `x`) until a candidate outside may be farther; and the new bounds."""
    squared, now, names = (t.cpu().numpy() for t in (_squared(x, x), bounds.clone(), positions))
    new: list[int] = []
    while len(new) < min(budget, len(now)):
        best = int(now.argmax())
        if not front.leads(now[best], names[best]):
            break
        new.append(best)
        np.minimum(now, squared[best], out=now)
        now[best] = -math.inf
    return positions.new_tensor(new), torch.from_numpy(now).to(bounds.device)


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
    labeled = _checked(features, budget, labeled)
    num = min(len(labeled) + budget, max_clusters, len(features))
    clusters = torch.from_numpy(_k_means(features.cpu().numpy(), num, seed)).to(features.device)
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


def _k_means(features: np.ndarray, num: int, seed: int) -> np.ndarray:
    """(N,) int64 clusters, in mini-batches above 50, as in the official code of TypiClust."""
    model = (
        KMeans(num, random_state=seed)
        if num <= 50
        else MiniBatchKMeans(num, batch_size=5000, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        return model.fit_predict(features).astype(np.int64)


def typicality(features: Tensor, clusters: Tensor, neighbors: int = 20) -> Tensor:
    """(N,) float64: 1 / mean distance to the m nearest of the same cluster (0 if there is none).

    m is `neighbors`, at most half the cluster, at least 1. 1e-5 is added to the mean, as in the
    official code of TypiClust, so that duplicates have a finite typicality.
    """
    score = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for members in clusters.argsort(stable=True).split(clusters.bincount().tolist()):
        m = max(1, min(neighbors, len(members) // 2))
        if len(members) > 1:
            blocks = _nearest(features[members], m, lambda x, y: -_squared(x, y))
            mean = torch.cat([(-values).sqrt().mean(1) for values, _ in blocks])
            score[members] = 1 / (mean + 1e-5)
    return score


def nearest_neighbors(features: Tensor, k: int) -> Tensor:
    """(N, k) int64, each sample's k nearest others by inner product, nearest first.

    A duplicate of the sample may be among them, the sample itself never; which of equally near ones
    is undefined. AssertionError unless k < N.
    """
    assert 0 < k < len(features), f"{k} neighbors of {len(features)} samples"
    return torch.cat([indices for _, indices in _nearest(features, k, lambda x, y: x @ y.T)])


def _nearest(
    features: Tensor, k: int, similarity: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of (n, k) similarities, descending, and of the samples they belong to."""
    x = _exact(features)
    for block in _row_blocks(x):
        values = similarity(x[block], x)
        values[torch.arange(len(block), device=x.device), block] = -math.inf
        yield values.topk(k)


def purity_radius(features: Tensor, clusters: Tensor, purity: float = 0.95) -> float:
    """ProbCover's delta: the largest for which a share `purity` of the balls is pure.

    A ball {j: dist(i, j) < delta} is pure if all in it have the pseudo-label (N,) of its center,
    that is, if delta is at most the distance to the nearest sample of another one: the answer is an
    order statistic of these distances. Infinite if too few samples have such a neighbor.
    """
    assert 0 < purity <= 1, f"a purity of {purity}"
    x, nearest = _exact(features), []
    for block in _row_blocks(x):
        same = clusters[block, None] == clusters
        nearest.append(_squared(x[block], x).masked_fill_(same, math.inf).amin(1))
    count = math.ceil(purity * len(features) - 1e-9)
    squared = float(torch.cat(nearest).topk(count).values[-1])
    root = math.sqrt(squared)
    return root if root * root <= squared else math.nextafter(root, 0)


def probcover(
    features: Tensor, budget: int, delta: float, *, labeled: Tensor | None = None
) -> Tensor:
    """ProbCover (Yehuda et al. 2022): the sample with most uncovered ones at a distance < delta.

    Once all are covered, what is left of the budget goes to greedy k-center, which goes on with
    spreading where the official code takes whatever comes first.
    """
    labeled = _checked(features, budget, labeled)
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

    return _greedy(features, budget, kernel, _checked(features, budget, labeled), weights)


def _greedy(
    features: Tensor, budget: int, kernel: Kernel, labeled: Tensor, weights: Tensor | None = None,
    stop: float = -math.inf,
) -> Tensor:  # fmt: skip
    """The greedy cover of all samples, cut short where no candidate gains more than `stop`.

    Gains only shrink, so stale ones are upper bounds: picks come from the front alone while it
    leads. Then all gains fall by what the rows whose cover rose in between have taken from them.
    """
    x = _exact(features)
    w = torch.ones_like(x[:, 0]) if weights is None else weights.to(x)
    cover = torch.zeros_like(w)
    if len(labeled):
        cover = torch.cat([kernel(_squared(y, x[labeled])).amax(1) for y in x.split(512)])
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
            ahead = dict(zip(likely, kernel(_squared(pool[likely], x)), strict=True))
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
        norms = _norms(y)
        for x, a, b, w in zip(*(t.split(512) for t in (rows, low, high, weights)), strict=True):
            values = kernel(_squared(x, y, norms))
            into += w @ torch.clamp(values, a[:, None], b[:, None], out=values)
    return total - weights @ low


def _checked(features: Tensor, budget: int, labeled: Tensor | None) -> Tensor:
    if labeled is None:
        labeled = torch.empty(0, dtype=torch.int64)
    left = len(features) - len(labeled)
    assert 0 < budget <= left, f"a budget of {budget} of {left} samples"
    return labeled.to(features.device)


def _exact(features: Tensor) -> Tensor:
    return features.double().mul_(2.0**24).round_().mul_(2.0**-24)


def _blocks(features: Tensor) -> Iterator[Tensor]:
    return map(_exact, features.split(512))


def _row_blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Positions, so many at once that a row for each is 128 MiB of float64."""
    return torch.arange(len(x), device=x.device).split(max(1, 2**24 // len(x)))


def _squared(x: Tensor, y: Tensor, norms: Tensor | None = None) -> Tensor:
    """(A, B) squared distances of exact rows; `norms` are the squared ones of `y` if known."""
    norms = _norms(y) if norms is None else norms
    return torch.addmm(_norms(x)[:, None] + norms, x, y.T, alpha=-2).clamp_(min=0)


def _norms(x: Tensor) -> Tensor:
    return x.square().sum(1)


def _most_central(features: Tensor) -> int:
    mean = _exact(features.mean(0, keepdim=True))
    return int(torch.cat([_squared(x, mean)[:, 0] for x in _blocks(features)]).argmin())


def _front(bounds: Tensor) -> Front:
    if len(bounds) <= FRONT:
        return Front(torch.arange(len(bounds), device=bounds.device), -math.inf, len(bounds))
    cut = bounds.topk(FRONT).values[-1]
    above, tied = ((bounds > cut).nonzero()[:, 0], (bounds == cut).nonzero()[:, 0])
    room = FRONT - len(above)
    rival = int(tied[room]) if len(tied) > room else len(bounds)
    return Front(torch.cat([above, tied[:room]]).sort().values, float(cut), rival)
