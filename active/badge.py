"""BADGE: diverse and uncertain samples by k-means++ in the space of gradients.

Legend: N samples, C classes, D inputs of the last linear layer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from datamodules.coverage import check_budget


def badge(logits: Tensor, features: Tensor, budget: int, generator: np.random.Generator) -> Tensor:
    """(budget,) int64 positions, distinct, in order of choice (Ash et al., ICLR 2020).

    https://arxiv.org/abs/1906.03671. Of (N, C) raw logits and the inputs (N, D) that the last layer
    made them of, both on one device with float64. A sample's point is its gradient embedding, that
    of the cross-entropy with the predicted label by the last layer's weights (not its bias, as in
    the official code; a column of ones in `features` adds it). The first choice is the point of
    largest norm, ties at random; each next is drawn with probability proportional to the squared
    distance to the nearest chosen point, uniformly once all are zero.

    Time: budget N (C + D), without waiting for the device. Memory: both inputs in float64.
    """
    check_budget(features, budget, None)
    gradients = Gradients(logits, features)
    norms = gradients.norms
    uniforms = torch.from_numpy(generator.random(budget)).to(norms.device).split(1)
    nearest, left = torch.full_like(norms, math.inf), torch.ones_like(norms)
    chosen = [draw((norms == norms.max()).double(), uniforms[0])]
    for uniform in uniforms[1:]:
        torch.minimum(nearest, gradients.squared_distances(chosen[-1]), out=nearest)
        nearest.index_fill_(0, chosen[-1], 0)
        left.index_fill_(0, chosen[-1], 0)
        chosen.append(draw(torch.where(nearest.any(), nearest, left), uniform))
    return torch.cat(chosen)


class Gradients:
    """The points g_i = a_i (x) h_i in C x D dimensions, which are never formed.

    |g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i.a_j) (h_i.h_j), in float64. Rounding
    can change it by (C + D) eps of the first two terms; what is below twice that is set to zero, so
    that duplicates are at distance zero.
    """

    def __init__(self, logits: Tensor, features: Tensor) -> None:
        self._a, self._h = residuals(logits), features.double()
        self.norms = self._a.square().sum(dim=1) * self._h.square().sum(dim=1)  # squared
        assert bool(self.norms.isfinite().all()), "logits or features that are not finite"
        width = self._a.shape[1] + self._h.shape[1]
        self._tolerance = 2 * width * torch.finfo(torch.float64).eps
        self._buffers = self.norms.new_empty(3, len(self.norms))

    def squared_distances(self, position: Tensor) -> Tensor:
        """(N,) to the sample at `position` (1,); overwritten by the next call."""
        distances, products, sums = self._buffers
        torch.mv(self._h, self._h[position][0], out=distances)
        torch.mv(self._a, self._a[position][0], out=products)
        torch.add(self.norms, self.norms[position], out=sums)
        distances.mul_(products).mul_(-2).add_(sums)
        return distances.mul_(distances > sums.mul_(self._tolerance))


def residuals(logits: Tensor) -> Tensor:
    """(N, C) float64: softmax minus the one-hot prediction, the cross-entropy's logit gradient.

    The predicted class's is minus the sum of the others, for the reason given at
    `active.acquisition.least_confidence`; its square is above zero up to logit gaps of about 370.
    """
    first = logits.argmax(dim=1, keepdim=True)
    others = torch.log_softmax(logits.double(), dim=1).exp_().scatter_(1, first, 0)
    return others.scatter_(1, first, -others.sum(dim=1, keepdim=True))


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """(1,) int64: a position, as probable as its weight says; `uniform` (1,) in [0, 1) decides.

    Never one of zero weight: the sum that is looked for stays below the total.

    >>> draw(torch.tensor([0.0, 1.0, 0.0, 3.0]), torch.tensor([0.3])).tolist()
    [3]
    """
    sums = weights.cumsum(0)
    total = sums[-1:]
    wanted = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(sums, wanted, right=True)
