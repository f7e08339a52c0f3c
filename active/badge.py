"""BADGE: diverse and uncertain samples by k-means++ in the space of gradients.

Legend: N samples, C classes, D inputs of the last linear layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.distances import BLOCK, block_rows
from datamodules.fronts import check_budget

PROPOSALS = 256  # drawn at once, whatever the budget: a smaller one takes the first choices


def badge(logits: Tensor, features: Tensor, budget: int, generator: np.random.Generator) -> Tensor:
    """(budget,) int64 positions, distinct, in order of choice (Ash et al., ICLR 2020).

    https://arxiv.org/abs/1906.03671. Of (N, C) raw logits and the inputs (N, D) that the last layer
    made them of, both on one device with float64. A sample's point is its gradient embedding, that
    of the cross-entropy with the predicted label by the last layer's weights (not its bias, as in
    the official code; a column of ones in `features` adds it). The first choice is the point of
    largest norm, ties at random; each next is drawn with probability proportional to the squared
    distance to the nearest chosen point, uniformly once all are zero.

    Distances only shrink, so many samples are proposed at once by stale ones, and each accepted by
    the share of its own that is left: the same distribution, and one pass over all samples for
    hundreds of choices instead of for each.

    Time: budget N (C + D) as matrix products. Memory: a few numbers a sample and N C in float64.
    """
    check_budget(features, budget, None)
    gradients = Gradients(logits, features)
    largest = (gradients.norms == gradients.norms.max()).nonzero()[:, 0]
    chosen = [largest[[int(generator.integers(len(largest)))]]]
    nearest = torch.full_like(gradients.norms, torch.inf)
    while (missing := budget - sum(map(len, chosen))) > 0:
        torch.minimum(nearest, gradients.squared_to_nearest(chosen[-1]), out=nearest)
        nearest.index_fill_(0, chosen[-1], 0)
        chosen.append(_more(gradients, nearest, chosen, missing, generator))
    return torch.cat(chosen)


def _more(
    gradients: Gradients, nearest: Tensor, chosen: list[Tensor], most: int,
    generator: np.random.Generator,
) -> Tensor:  # fmt: skip
    """Between one and `most` further positions; (N,) `nearest` are distances to those chosen."""
    weights = nearest.cpu().numpy()
    if not weights.any():
        others = np.delete(np.arange(len(weights)), torch.cat(chosen).cpu().numpy())
        return torch.from_numpy(generator.permutation(others)[:most]).to(nearest.device)
    proposed = draw(weights, PROPOSALS, generator)
    positions = torch.from_numpy(proposed).to(nearest.device)
    points = gradients.at(positions)
    between = squared_distances(points, points).cpu().numpy()
    return positions[accept(weights[proposed], between, most, generator)]


def draw(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count,) positions, each as probable as its weight says, with replacement; never one of zero.

    >>> draw(np.array([0.0, 3.0, 0.0]), 2, np.random.default_rng(0)).tolist()
    [1, 1]
    """
    return generator.choice(len(weights), count, p=weights / weights.sum())


def accept(
    weights: np.ndarray, between: np.ndarray, most: int, generator: np.random.Generator
) -> list[int]:
    """Which proposals to choose, at most `most`, in order; always the first.

    `weights` (P,) are the positive squared distances they were drawn by, `between` (P, P) those of
    one to another. A proposal drawn by w and accepted with probability d / w is a draw by d.
    """
    left = weights.copy()
    accepted: list[int] = []
    for i, uniform in enumerate(generator.random(len(weights))):
        if uniform < left[i] / weights[i]:  # a product could round up to a tiny weight
            accepted.append(i)
            np.minimum(left, between[i], out=left)
            if len(accepted) == most:
                break
    return accepted


class Points(NamedTuple):
    """Samples in float64, with the squared norms of their gradients."""

    a: Tensor  # (n, C)
    h: Tensor  # (n, D)
    norms: Tensor  # (n,)


class Gradients:
    """The points g_i = a_i (x) h_i in C x D dimensions, which are never formed."""

    def __init__(self, logits: Tensor, features: Tensor) -> None:
        self._a, self._h = torch.empty_like(logits, dtype=torch.float64), features
        self.norms = self._a.new_empty(len(logits))  # squared
        for start in range(0, len(logits), BLOCK):
            rows = slice(start, start + BLOCK)
            self._a[rows] = a = residuals(logits[rows])
            inputs = features[rows].double().square().sum(dim=1)  # a copy: `double` may be none
            self.norms[rows] = a.square_().sum(dim=1) * inputs
        assert bool(self.norms.isfinite().all()), "logits or features that are not finite"

    def at(self, rows: Tensor | slice) -> Points:
        return Points(self._a[rows], self._h[rows].double(), self.norms[rows])

    def squared_to_nearest(self, positions: Tensor) -> Tensor:
        """(N,) of every sample to the nearest of those at `positions`, in blocks."""
        centers, size = self.at(positions), block_rows(positions)
        blocks = [slice(start, start + size) for start in range(0, len(self.norms), size)]
        return torch.cat([squared_distances(self.at(rows), centers).amin(dim=1) for rows in blocks])


def squared_distances(x: Points, y: Points) -> Tensor:
    """(n, m): |g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i.a_j) (h_i.h_j).

    Rounding can change it by (C + D) eps of the first two terms; what is below twice that is set to
    zero, so that duplicates are at distance zero.
    """
    sums = x.norms[:, None] + y.norms
    distances = (x.h @ y.h.T).mul_(x.a @ y.a.T).mul_(-2).add_(sums)
    tolerance = 2 * (x.a.shape[1] + x.h.shape[1]) * torch.finfo(torch.float64).eps
    return distances.mul_(distances > sums.mul_(tolerance))


def residuals(logits: Tensor) -> Tensor:
    """(N, C) float64: softmax minus the one-hot prediction, the cross-entropy's logit gradient.

    The predicted class's is minus the sum of the others, for the reason given at
    `active.acquisition.least_confidence`; its square is above zero up to logit gaps of about 370.
    """
    first = logits.argmax(dim=1, keepdim=True)
    others = torch.log_softmax(logits.double(), dim=1).exp_().scatter_(1, first, 0)
    return others.scatter_(1, first, -others.sum(dim=1, keepdim=True))
