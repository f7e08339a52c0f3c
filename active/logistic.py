"""Multinomial logistic regression, solved to its one optimum on the device that holds the features.

Legend: n samples, D features with the constant one, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.distances import where_exact

STEPS = 200  # of Newton's method, at most; 10 to 30 are usual
TOLERANCE = 1e-5  # of the gradient, times c below 1; the penalty makes it the order of what is left
FORCING_TERM = 0.5  # of its residual, which conjugate gradients leave of a Newton equation
STALE = 8  # conjugate gradient steps after which the next Newton step is preconditioned anew
ROOM = 2**31  # bytes of a block of the Hessian for each class; above, all classes share one
TOGETHER = 16  # classes whose blocks are inverted at once, in three times their room
DAMPING = 1e-3  # of the largest curvature, so that float32 cannot make a block indefinite


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, c: float) -> Tensor:
    """Weights that minimize c * sum of cross-entropies (nats) + 1/2 their squared norm.

    The bias is a weight like the others, of a feature that is 1: without its share of the norm, a
    class that no label shows would be sent to minus infinity. `c` is scikit-learn's `C`.

    Newton's method (Hessians never built, each equation solved by preconditioned conjugate
    gradients), because pretext features are so correlated that L-BFGS has not arrived after a
    thousand steps from some 600 labels on. Value and gradient, which alone say where the optimum
    is, are float64; what only leads there is float32, which GPUs multiply up to 64 times faster.

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
    truth = F.one_hot(labels, num_classes).to(inputs)
    with torch.autocast(inputs.device.type, enabled=False):
        weights = _Objective(inputs, truth, c).minimum()
    return weights if basis is None else weights @ basis.T


@dataclass(frozen=True)
class _Objective:
    """A strictly convex function of the (C, D) weights.

    One vector added to the weights of all classes leaves softmax as it is and costs penalty: the
    minimum sums to zero over the classes. The search starts at zero, and `_precondition` takes the
    mean over classes off each step, which keeps that sum.
    """

    inputs: Tensor
    truth: Tensor
    c: float

    @cached_property
    def rough(self) -> Tensor:
        return self.inputs.float()

    def minimum(self) -> Tensor:
        weights = self.inputs.new_zeros(self.truth.shape[1], self.inputs.shape[1])
        value, log_probs = self._at(weights)
        inverse, steps = self._inverse(log_probs[:1, :1].exp()), 0  # all are equal at the start
        for _ in range(STEPS):
            probs = log_probs.exp()
            gradient = torch.addmm(weights, (probs - self.truth).T, self.inputs, alpha=self.c)
            steepest = float(gradient.abs().max())
            if steepest < TOLERANCE * min(1, self.c):
                return weights
            if steps > STALE:
                inverse = self._inverse(probs)
            step, steps = self._newton_step(gradient, probs.float(), inverse)
            descent = (gradient * step).sum()
            weights, value, log_probs = self._line_search(weights, step, value, descent)
        raise ArithmeticError(f"logistic regression: a gradient of {steepest} after {STEPS} steps")

    def _at(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = (self.inputs @ weights.T).log_softmax(dim=1)
        return weights.square().sum() / 2 - self.c * (log_probs * self.truth).sum(), log_probs

    def _inverse(self, probs: Tensor) -> Tensor:
        """(C, D, D) inverse of each class's own block of the Hessian.

        (1, D, D) where all are equal, or, of their mean, where they would take too much room.
        """
        variance, size = (probs * (1 - probs)).float(), self.rough.shape[1]
        if variance.shape[1] * size**2 * variance.element_size() > ROOM:
            variance = variance.mean(dim=1, keepdim=True)
        inverse = variance.new_empty(variance.shape[1], size, size)
        parts = zip(inverse.split(TOGETHER), variance.T.split(TOGETHER), strict=True)
        for blocks, columns in parts:
            for block, column in zip(blocks, columns, strict=True):
                torch.mm(self.rough.T * column, self.rough, out=block)
            curvature = blocks.mul_(self.c).diagonal(dim1=1, dim2=2)
            curvature.add_(1 + DAMPING * curvature.amax(dim=1, keepdim=True))
            blocks.copy_(torch.cholesky_inverse(torch.linalg.cholesky_ex(blocks).L))
        return inverse.mT  # symmetric; columns lie in memory, as LAPACK leaves them

    def _newton_step(self, gradient: Tensor, probs: Tensor, inverse: Tensor) -> tuple[Tensor, int]:
        """The step that Newton's equation asks for, to `FORCING_TERM`; and of how many steps."""
        step, residual = torch.zeros_like(gradient), -gradient
        direction = preconditioned = _precondition(inverse, residual)
        norm = first = (residual * preconditioned).sum()
        count = 0
        while norm > FORCING_TERM**2 * first and count < step.numel():
            product = self._hessian_product(direction, probs)
            length = norm / (direction * product).sum()
            step, residual = step + length * direction, residual - length * product
            preconditioned = _precondition(inverse, residual)
            before, norm = norm, (residual * preconditioned).sum()
            direction = preconditioned + (norm / before) * direction
            count += 1
        return step, count

    def _hessian_product(self, direction: Tensor, probs: Tensor) -> Tensor:
        """(C, D) product of the Hessian with a direction."""
        moved = probs * (self.rough @ direction.float().T)
        moved -= probs * moved.sum(dim=1, keepdim=True)
        return torch.add(direction, moved.T @ self.rough, alpha=self.c)

    def _line_search(
        self, weights: Tensor, step: Tensor, value: Tensor, descent: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The whole step, or the first of its halves that gains enough (Armijo), to rounding."""
        rounding = 1e-14 * value
        for halvings in range(50):
            share = 0.5**halvings
            moved = weights + share * step
            new, log_probs = self._at(moved)
            if new <= value + 1e-4 * share * descent + rounding:
                return moved, new, log_probs
        raise ArithmeticError("logistic regression finds no way down; are all features finite?")


def _precondition(inverse: Tensor, residual: Tensor) -> Tensor:
    rows = (residual.float()[:, None] @ inverse)[:, 0].double()  # BLAS is faster from the left
    return rows - rows.mean(dim=0)
