"""BADGE: diverse and uncertain samples by k-means++ in the space of gradients.

Legend: N samples, C classes, D inputs of the last linear layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from active.heads import Heads, heads_of, pays
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

    Distances only shrink, so many samples are proposed at once by stale and rough ones, upper
    bounds, and each accepted by the share that its own, in float64, is of it: the same
    distribution, and one pass over all samples for hundreds of choices instead of for each.

    Time: budget N (C + D) as float32 matrix products; where many are chosen of features that lie
    near a few directions, the rough distances are those of their leading components, and D that of
    these. Memory: a few numbers a sample, N C in float64, and these components.
    """
    check_budget(features, budget, None)
    gradients = Gradients(logits, features)
    if pays(len(features), features.shape[1], budget):
        gradients.use_heads()
    largest = (gradients.norms == gradients.norms.max()).nonzero()[:, 0]
    chosen = new = largest[[int(generator.integers(len(largest)))]]
    bounds = torch.full_like(gradients.norms, torch.inf)
    while (missing := budget - len(chosen)) > 0:
        torch.minimum(bounds, gradients.bounds_to_nearest(new), out=bounds)
        bounds.index_fill_(0, chosen, 0)
        new = _more(gradients, bounds, chosen, missing, generator)
        if not len(new):
            bounds = gradients.squared_to_nearest(chosen).index_fill_(0, chosen, 0)
            new = _from_exact(bounds, chosen, missing, generator)
        chosen = torch.cat([chosen, new])
    return chosen


def _more(
    gradients: Gradients, bounds: Tensor, chosen: Tensor, most: int, generator: np.random.Generator
) -> Tensor:
    """Up to `most` further positions; (N,) `bounds` of distances to those chosen are tightened."""
    weights = bounds.cpu().numpy()
    if not weights.any():
        return chosen[:0]
    proposed = draw(weights, PROPOSALS, generator)
    drawn_by = weights[proposed]  # a copy, which is not tightened
    positions = torch.from_numpy(proposed).to(bounds.device)
    points = gradients.at(positions)
    exact = squared_distances(points, gradients.at(chosen)).amin(dim=1)
    bounds[positions] = exact
    between = squared_distances(points, points).cpu().numpy()
    accepted = accept(drawn_by, exact.cpu().numpy(), between, most, generator)
    return positions[accepted]


def _from_exact(
    nearest: Tensor, chosen: Tensor, most: int, generator: np.random.Generator
) -> Tensor:
    """One by its exact distance; up to `most`, uniformly, where only twins of `chosen` are left."""
    weights = nearest.cpu().numpy()
    if weights.any():
        picked = draw(weights, 1, generator)
    else:
        others = np.delete(np.arange(len(weights)), chosen.cpu().numpy())
        picked = generator.permutation(others)[:most]
    return torch.from_numpy(picked).to(nearest.device)


def draw(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count,) positions, each as probable as its weight says, with replacement; never one of zero.

    >>> draw(np.array([0.0, 3.0, 0.0]), 2, np.random.default_rng(0)).tolist()
    [1, 1]
    """
    return generator.choice(len(weights), count, p=weights / weights.sum())


def accept(
    weights: np.ndarray, exact: np.ndarray, between: np.ndarray, most: int,
    generator: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Which proposals to choose, at most `most`, in order.

    `weights` (P,) are the positive bounds they were drawn by, `exact` (P,) the squared distances
    to those chosen, `between` (P, P) those of one to another. A proposal drawn by w and accepted
    with probability d / w is a draw by d.
    """
    left = exact.copy()
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


class Directions(NamedTuple):
    """Of samples' gradients, in float32."""

    a: Tensor  # (n, C) at unit length
    h: Tensor  # (n, D) at unit length, or (n, r) the leading components
    tails: Tensor | None  # (n, 1) norms of what these leave

    def cosines(self, others: Directions) -> Tensor:
        """(n, m) between the gradients, or as little as they can be."""
        across, along = self.a @ others.a.T, self.h @ others.h.T
        along.mul_(across)
        if self.tails is not None and others.tails is not None:
            along.addcmul_(across.abs_(), self.tails @ others.tails.T, value=-1)
        return along


class Gradients:
    """The points g_i = a_i (x) h_i in C x D dimensions, which are never formed."""

    def __init__(self, logits: Tensor, features: Tensor) -> None:
        self._a, self._h = torch.empty_like(logits, dtype=torch.float64), features
        self._lengths = self._a.new_empty(2, len(logits))  # of a and of h
        for start in range(0, len(logits), BLOCK):
            rows = slice(start, start + BLOCK)
            self._a[rows] = a = residuals(logits[rows])
            self._lengths[0, rows] = a.norm(dim=1)
            self._lengths[1, rows] = features[rows].double().norm(dim=1)
        self.roots = self._lengths.prod(dim=0)
        self.norms = self.roots.square()
        assert bool(self.norms.isfinite().all()), "logits or features that are not finite"
        self._heads: Heads | None = None

    def at(self, rows: Tensor | slice) -> Points:
        return Points(self._a[rows], self._h[rows].double(), self.norms[rows])

    def use_heads(self) -> None:
        """From now on bounds are found by leading components, if a few are enough."""
        with torch.autocast(self.norms.device.type, enabled=False):
            self._heads = heads_of(lambda rows: self._unit(rows, self._h[rows], 1), len(self.norms))

    def bounds_to_nearest(self, positions: Tensor) -> Tensor:
        """(N,) upper bounds of `squared_to_nearest`, of which float32 can be this far off."""
        unit = 2.0**-24 if torch.get_float32_matmul_precision() == "highest" else 2.0**-8
        slack = (self._a.shape[1] + self._h.shape[1] + 16) * unit
        norms, twice, bounds = self.norms[positions], -2 * self.roots[positions], []
        chosen = self._directions(positions)
        for rows in self._blocks(positions):
            with torch.autocast(norms.device.type, enabled=False):
                cosines = self._directions(rows).cosines(chosen).sub_(slack)
            nearest = torch.addcmul(norms, self.roots[rows, None] * cosines, twice).amin(dim=1)
            bounds.append(nearest.add_(self.norms[rows]).clamp_(min=0))
        return torch.cat(bounds)

    def _directions(self, rows: Tensor | slice) -> Directions:
        a = self._unit(rows, self._a[rows], 0)
        if self._heads is None:
            return Directions(a, self._unit(rows, self._h[rows], 1), None)
        return Directions(a, self._heads.rows[rows], self._heads.tails[rows])

    def _unit(self, rows: Tensor | slice, vectors: Tensor, which: int) -> Tensor:
        """a's (0) or h's (1) at unit length in float32; zero where they are."""
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        inverse = self._lengths[which, rows, None].reciprocal().to(vectors.dtype)
        return (vectors * inverse.nan_to_num(posinf=0)).float()

    def _blocks(self, positions: Tensor) -> list[slice]:
        size = block_rows(positions)
        return [slice(start, start + size) for start in range(0, len(self.norms), size)]

    def squared_to_nearest(self, positions: Tensor) -> Tensor:
        """(N,) of every sample to the nearest of those at `positions`."""
        centers, blocks = self.at(positions), self._blocks(positions)
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
