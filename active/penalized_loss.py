"""What logistic regression minimizes: exactly at a few points, and how it changes around them.

Legend: n samples, D features with the constant one, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CACHED = 1024  # samples that a core's cache keeps while they are read twice


class Exact(NamedTuple):
    """A point whose gradient is exact to float64."""

    weights: Tensor  # (C, D) float64
    gradient: Tensor  # (C, D) float64
    probs: Tensor  # (C, n) float32
    likeliest: Tensor  # (1, n) int64, each sample's class


class PenalizedLoss:
    """c * sum of cross-entropies (nats) + 1/2 squared norm of the (C, D) weights: strictly convex.

    One vector added to the weights of all classes leaves softmax as it is and costs penalty: at the
    minimum, and in every gradient of weights like that, rows sum to zero.

    Args:
        inputs: (n, D), float64 where float32 does not hold them.
        labels: (n,) int64.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, num_classes: int, c: float):
        self.inputs, self.c, self._exact = inputs.float(), c, inputs
        self._truth = F.one_hot(labels, num_classes).T.to(self.inputs)  # BLAS is faster this way

    @property
    def zeros(self) -> Tensor:
        return self.inputs.new_zeros(len(self._truth), self.inputs.shape[1], dtype=torch.float64)

    def exact(self, weights: Tensor) -> Exact:
        """At the weights less their mean over classes, which rounding moves."""
        weights = weights - weights.mean(dim=0)
        gradient, probs = weights.clone(), torch.empty_like(self._truth)
        parts = _parts(self._exact), _parts(self._truth, 1), _parts(probs, 1)
        for inputs, truth, out in zip(*parts, strict=True):
            inputs = inputs.double()
            exact = (weights @ inputs.T).softmax(dim=0)
            out.copy_(exact)
            gradient.addmm_(exact - truth, inputs, alpha=self.c)
        return Exact(weights, gradient, probs, probs.argmax(dim=0, keepdim=True))

    def change(self, start: Exact, step: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the value changes, and the (C, D) gradient, after a float32 step.

        Of sample x, class k's logit rises by z_k = step_k . x. With S = sum_k p_k (exp(z_k) - 1)
        its cross-entropy changes by log(1 + S) - z_label, and p_k by
        p_k (exp(z_k) - 1 - S) / (1 + S): small numbers, that do not come of a difference of large
        ones.
        """
        slope = start.gradient.float()
        value, gradient = (slope * step).sum() + step.square().sum() / 2, slope + step
        parts = _parts(self.inputs), _parts(start.probs, 1), _parts(start.likeliest, 1)
        for inputs, probs, likeliest in zip(*parts, strict=True):
            logits = step @ inputs.T
            logits.sub_(logits.gather(0, likeliest))
            mean = (probs * logits).sum(dim=0)  # the slope holds the labels' share
            grown = logits.expm1_().mul_(probs)
            total = grown.sum(dim=0)
            value = value + self.c * (total.log1p() - mean).sum()
            moved = grown.addcmul_(probs, total, value=-1).div_(total.add_(1))
            gradient.addmm_(moved, inputs, alpha=self.c)
        return value, gradient

    def probs(self, start: Exact, step: Tensor) -> Tensor:
        """(C, n) float32, after a float32 step."""
        parts = zip(_parts(self.inputs), _parts(start.probs, 1), strict=True)
        return torch.cat([(probs.log() + step @ inputs.T).softmax(0) for inputs, probs in parts], 1)


def _parts(rows: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Of the samples: what the caches of a CPU's cores keep, or all of them."""
    cached = CACHED * torch.get_num_threads()
    return rows.split(cached if rows.device.type == "cpu" else rows.shape[dim], dim)
