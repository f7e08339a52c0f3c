"""Limited-memory BFGS from a start that knows the Hessian's blocks.

Legend: n samples, D features with the constant one, C classes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from active.penalized_loss import Exact, PenalizedLoss

STEPS = 100  # from one exact point to the next, at most; some 50 in all are usual
PAIRS = 10  # of steps and changes of the gradient, which are remembered
STALE = 16  # steps after which the blocks are made anew; from then on three times as many
SHORTENINGS = 20  # of a step, at most; mostly none
ENOUGH = 5  # samples for each feature, of which a block can be made
ROOM = 2**31  # bytes of a block for each class; above, all classes share one
TOGETHER = 16  # classes whose blocks are inverted at once, in three times their room
STRIP = 128  # columns of a block, of which those above the diagonal are left out
DAMPING = 1e-3  # of the largest curvature, so that float32 cannot make a block indefinite


class _Point(NamedTuple):
    step: Tensor  # (C, D) float32, from the exact point
    gradient: Tensor  # (C, D)
    value: float  # minus that of the exact point
    steepest: float  # of the gradient
    far: bool  # from the exact point: a longer step overflowed


class _Pair(NamedTuple):
    step: Tensor  # (CD,)
    change: Tensor  # of the gradient
    curvature: float  # their product


class Search:
    """Goes down a loss, in float32; what it learns of the curvature it keeps (Nocedal 1980)."""

    def __init__(self, loss: PenalizedLoss):
        self.loss, self.blocks = loss, Blocks(loss)
        self.pairs: deque[_Pair] = deque(maxlen=PAIRS)
        self.age, self.lifetime = 0, STALE

    def descend(self, start: Exact, goal: float) -> Tensor:
        """(C, D) step to where no slope is above `goal`, or as far as float32 is good for."""
        gradient = start.gradient.float()
        at = _Point(torch.zeros_like(gradient), gradient, 0.0, math.inf, False)
        for _ in range(STEPS):
            if self.age == self.lifetime:
                self._renew(start, at)
            moved = self._line_search(start, at)
            if moved is None and self.pairs:
                self.pairs.clear()
                self._renew(start, at)
                continue
            if moved is None:
                break
            at, self.age = moved, self.age + 1
            if at.steepest <= goal or at.far:
                break
        return at.step

    def _renew(self, start: Exact, at: _Point) -> None:
        self.blocks.renew(self.loss.probs(start, at.step))
        self.age, self.lifetime = 0, 3 * STALE

    def _line_search(self, start: Exact, at: _Point) -> _Point | None:
        """The whole step, or a shorter one, that gains enough (Armijo) or stops before the valley.

        Of a convex function the second implies a gain, and no rounding of values hides it.
        """
        direction, share, far = -self._newton(at.gradient), 1.0, False
        for _ in range(SHORTENINGS):
            step = at.step + share * direction
            value, gradient = self.loss.change(start, step)
            before, after, new, steepest = torch.stack([
                (at.gradient * direction).sum(), (gradient * direction).sum(),
                value, gradient.abs().max(),
            ]).tolist()  # fmt: skip  # together: a device is waited for once
            if not before < 0:  # as at the bottom, or of what is not a number
                return None
            if after <= 0 or new <= at.value + 1e-4 * share * before:
                self._remember(step - at.step, gradient - at.gradient, share * (after - before))
                return _Point(step, gradient, new, steepest, far)
            far = far or not math.isfinite(new)
            valley = before / (before - after)  # not a number where it is too far
            share *= min(valley, 0.5) if valley > 0.1 else 0.1
        return None

    def _remember(self, step: Tensor, change: Tensor, curvature: float) -> None:
        if curvature > 0:  # but for rounding
            self.pairs.append(_Pair(step.flatten(), change.flatten(), curvature))

    def _newton(self, gradient: Tensor) -> Tensor:
        """Nearly the inverse Hessian times the gradient."""
        rest, products = gradient.flatten(), []  # a view, which is not written to
        for step, change, curvature in reversed(self.pairs):
            products.append(step.dot(rest))
            rest = torch.addcmul(rest, change, products[-1], value=-1 / curvature)
        result = self.blocks.solve(rest.view_as(gradient)).flatten()
        for step, change, curvature in self.pairs:
            missing = products.pop() - change.dot(result)
            result.addcmul_(step, missing, value=1 / curvature)
        return result.view_as(gradient)


class Blocks:
    """Of the Hessian, each class's own, made of as many samples as are enough, and inverted."""

    def __init__(self, loss: PenalizedLoss):
        self._inputs, self._c, classes = loss.inputs, loss.c, len(loss.zeros)
        self.renew(self._inputs.new_full((1, len(self._inputs)), 1 / classes))  # as at the start

    def renew(self, probs: Tensor) -> None:
        """For (C, n) probabilities, or one row for all classes; a mean block for want of room."""
        size, variance = self._inputs.shape[1], probs * (1 - probs)
        if len(variance) * size**2 * variance.element_size() > ROOM:
            variance = variance.mean(dim=0, keepdim=True)
        inverse = variance.new_empty(len(variance), size, size)
        drawn, weights = sample(self._c * variance, ENOUGH * size)
        parts = (rows.split(TOGETHER) for rows in (inverse, drawn, weights))
        for blocks, *rows in zip(*parts, strict=True):
            for block, samples, each in zip(blocks, *rows, strict=True):
                _weighted_products(self._inputs[samples], each, out=block)
            curvature = blocks.diagonal(dim1=1, dim2=2)
            curvature.add_(1 + DAMPING * curvature.amax(dim=1, keepdim=True))
            blocks.copy_(torch.cholesky_inverse(torch.linalg.cholesky_ex(blocks).L))
        self._inverse = inverse.mT  # symmetric; columns lie in memory, as LAPACK leaves them

    def solve(self, gradient: Tensor) -> Tensor:
        """(C, D) whose rows, as the gradient's, sum to zero over the classes."""
        rows = (gradient[:, None] @ self._inverse)[:, 0]  # BLAS is faster from the left
        return rows - rows.mean(dim=0)


def sample(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each row of (R, n) weights, (R, m) positions and what each weighs: all n, or `count`.

    These are drawn systematically, each as often as its weight asks for, and weigh the same.
    """
    rows, n = weights.shape
    if n <= count:
        return torch.arange(n, device=weights.device).expand(rows, n), weights
    sums = weights.double().cumsum(dim=1)
    each = sums[:, -1:] / count
    middles = (torch.arange(count, device=sums.device) + 0.5) * each
    drawn = torch.searchsorted(sums, middles).clamp_(max=n - 1)
    return drawn, each.to(weights).expand(rows, count)


def _weighted_products(rows: Tensor, weights: Tensor, out: Tensor) -> None:
    """On and below the diagonal, which is all that Cholesky reads: of columns, rows weighted."""
    weighted = rows.T * weights
    for start in range(0, len(out), STRIP):
        strip = slice(start, start + STRIP)
        torch.mm(weighted[start:], rows[:, strip], out=out[start:, strip])
