"""Multinomial logistic regression, solved to its one optimum on the device that holds the features.

Legend: n samples, D features with the constant one, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.distances import where_exact

STEPS = 200  # of Newton's method, at most; 10 to 30 are usual
TOLERANCE = 1e-5  # of the gradient, times c below 1; the penalty makes it the order of what is left
ROUGH = 1e-4  # of the first gradient, to which float32 goes alone
FORCING_TERMS = 0.1, 0.5  # of its residual, which conjugate gradients leave of a Newton equation
STALE = 11  # conjugate gradient steps after which the next Newton step is preconditioned anew
ENOUGH = 8  # samples for each feature, of which a preconditioner can be made
ROOM = 2**31  # bytes of a block of the Hessian for each class; above, all classes share one
TOGETHER = 16  # classes whose blocks are inverted at once, in three times their room
STRIP = 128  # columns of a block, of which those above the diagonal are left out
DAMPING = 1e-3  # of the largest curvature, so that float32 cannot make a block indefinite
CACHED = 1024  # samples that a core's cache keeps while they are read twice


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, c: float) -> Tensor:
    """Weights that minimize c * sum of cross-entropies (nats) + 1/2 their squared norm.

    The bias is a weight like the others, of a feature that is 1: without its share of the norm, a
    class that no label shows would be sent to minus infinity. `c` is scikit-learn's `C`.

    Newton's method (Hessians never built, each equation solved by preconditioned conjugate
    gradients), because pretext features are so correlated that L-BFGS has not arrived after a
    thousand steps from some 600 labels on. It goes most of the way in float32, which GPUs multiply
    up to 64 times faster; the last steps, which alone say where the optimum is, have values and
    gradients in float64. The optimum for fewer labels is no better a start than zero: the steps
    that count are the last ones.

    Args:
        features: (n, D - 1), standardized.
        labels: (n,) int64 below `num_classes`; not every class need occur.

    Returns:
        (C, D) float64, the bias last.

    Raises:
        ArithmeticError: the optimum is not reached, as where features are not finite.
    """
    features, labels = where_exact(features), where_exact(labels)
    ones = features.new_ones(len(features), 1)
    inputs, basis = torch.cat([features, ones], dim=1).double(), None
    if len(inputs) < inputs.shape[1]:  # the optimum lies in the span of the samples
        basis, triangle = torch.linalg.qr(inputs.T)
        inputs = triangle.T.contiguous()
    truth = F.one_hot(labels, num_classes).T.to(inputs)
    with torch.autocast(inputs.device.type, enabled=False):
        weights = _minimum(inputs, truth, c)
    return weights if basis is None else weights @ basis.T


def _minimum(inputs: Tensor, truth: Tensor, c: float) -> Tensor:
    hessian = _Hessian(inputs.float(), c, len(truth))
    start = hessian.inputs.new_zeros(len(truth), inputs.shape[1])
    rough, _ = _Objective(hessian.inputs, truth.float(), hessian).descend(start, 0, ROUGH)
    exact = _Objective(inputs, truth, hessian)
    weights, arrived = exact.descend(rough.double(), TOLERANCE * min(1, c))
    if not arrived:
        raise ArithmeticError("logistic regression finds no optimum; are all features finite?")
    return weights


class _Point(NamedTuple):
    weights: Tensor  # (C, D)
    value: Tensor
    gradient: Tensor  # (C, D)
    probs: Tensor  # (C, n)


@dataclass(frozen=True)
class _Objective:
    """A strictly convex function of the (C, D) weights, in the precision of its inputs.

    One vector added to the weights of all classes leaves softmax as it is and costs penalty: the
    minimum sums to zero over the classes. The search starts at zero, and the preconditioner takes
    the mean over classes off each step, which keeps that sum.
    """

    inputs: Tensor  # (n, D)
    truth: Tensor  # (C, n): BLAS is faster where samples come last
    hessian: _Hessian

    def descend(self, weights: Tensor, tolerance: float, share: float = 0) -> tuple[Tensor, bool]:
        """Weights with no slope above `tolerance` or that share of the first; and if there are."""
        at, (low, high) = self._at(weights), FORCING_TERMS
        first = before = steepest = float(at.gradient.abs().max())
        for _ in range(STEPS):
            if steepest <= max(tolerance, share * first):
                return at.weights, True
            forcing = min(max((steepest / before) ** 2, low), high)  # Eisenstat and Walker 1996
            step = self.hessian.newton_step(at.gradient, at.probs.float(), forcing)
            moved = self._line_search(at, step)
            if moved is None:
                break
            before, at = steepest, moved
            steepest = float(at.gradient.abs().max())
        return at.weights, False

    def _at(self, weights: Tensor) -> _Point:
        value, gradient, c = weights.square().sum() / 2, weights.clone(), self.hessian.c
        probs = torch.empty_like(self.truth)
        parts = _parts(self.inputs), _parts(self.truth, 1), _parts(probs, 1)
        for inputs, truth, out in zip(*parts, strict=True):
            log_probs = (weights @ inputs.T).log_softmax(dim=0)
            value = value - c * (log_probs * truth).sum()
            torch.exp(log_probs, out=out)
            gradient.addmm_(out - truth, inputs, alpha=c)
        return _Point(weights, value, gradient, probs)

    def _line_search(self, at: _Point, step: Tensor) -> _Point | None:
        """The whole step, or the first of its halves that gains enough (Armijo), to rounding."""
        rounding = 50 * torch.finfo(step.dtype).eps * at.value
        descent = (at.gradient * step).sum()
        for halvings in range(50):
            share = 0.5**halvings
            moved = self._at(at.weights + share * step)
            if moved.value <= at.value + 1e-4 * share * descent + rounding:
                return moved
        return None


class _Hessian:
    """Its products with directions, and Newton's equation, preconditioned by nearly its blocks.

    Args:
        inputs: (n, D) float32.
    """

    def __init__(self, inputs: Tensor, c: float, num_classes: int):
        self.inputs, self.c = inputs, c
        uniform = inputs.new_full((1, len(inputs)), 1 / num_classes)  # as at the start
        self.inverse, self.steps = self._inverse(uniform), 0

    def newton_step(self, gradient: Tensor, probs: Tensor, forcing: float) -> Tensor:
        """The step that Newton's equation asks for, but for `forcing` of its residual."""
        if self.steps > STALE:
            self.inverse = self._inverse(probs)
        step, residual = torch.zeros_like(gradient), -gradient
        direction = preconditioned = self._precondition(residual)
        norm = first = (residual * preconditioned).sum()
        for self.steps in range(1, step.numel() + 1):
            product = self._product(direction, probs)
            length = norm / (direction * product).sum()
            step, residual = step + length * direction, residual - length * product
            preconditioned = self._precondition(residual)
            before, norm = norm, (residual * preconditioned).sum()
            if not norm > forcing**2 * first:  # or it is not a number
                break
            direction = preconditioned + (norm / before) * direction
        return step

    def _product(self, direction: Tensor, probs: Tensor) -> Tensor:
        """(C, D) product of the Hessian with a direction."""
        rows = direction.float()
        product = torch.zeros_like(rows)
        for inputs, part in zip(_parts(self.inputs), _parts(probs, 1), strict=True):
            moved = part * (rows @ inputs.T)
            product.addmm_(moved - part * moved.sum(dim=0), inputs)
        return torch.add(direction, product, alpha=self.c)

    def _inverse(self, probs: Tensor) -> Tensor:
        """(C, D, D) inverse of each class's own block, made of as many samples as are enough.

        (1, D, D) where `probs` have one row, or, of the mean block, where C take too much room.
        """
        size = self.inputs.shape[1]
        every = max(1, len(self.inputs) // (ENOUGH * size))
        variance = (probs * (1 - probs))[:, ::every]
        if len(variance) * size**2 * variance.element_size() > ROOM:
            variance = variance.mean(dim=0, keepdim=True)
        inverse = variance.new_empty(len(variance), size, size)
        weights = self.c * every * variance
        for blocks, rows in zip(inverse.split(TOGETHER), weights.split(TOGETHER), strict=True):
            for block, row in zip(blocks, rows, strict=True):
                _weighted_products(self.inputs[::every], row, out=block)
            curvature = blocks.diagonal(dim1=1, dim2=2)
            curvature.add_(1 + DAMPING * curvature.amax(dim=1, keepdim=True))
            blocks.copy_(torch.cholesky_inverse(torch.linalg.cholesky_ex(blocks).L))
        return inverse.mT  # symmetric; columns lie in memory, as LAPACK leaves them

    def _precondition(self, residual: Tensor) -> Tensor:
        rows = (residual.float()[:, None] @ self.inverse)[:, 0]  # BLAS is faster from the left
        return (rows - rows.mean(dim=0)).to(residual)


def _weighted_products(rows: Tensor, weights: Tensor, out: Tensor) -> None:
    """On and below the diagonal, which is all that Cholesky reads: of columns, rows weighted."""
    weighted = rows.T * weights
    for start in range(0, len(out), STRIP):
        strip = slice(start, start + STRIP)
        torch.mm(weighted[start:], rows[:, strip], out=out[start:, strip])


def _parts(rows: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Of the samples: what the caches of a CPU's cores keep, or all of them."""
    cached = CACHED * torch.get_num_threads()
    return rows.split(cached if rows.device.type == "cpu" else rows.shape[dim], dim)
