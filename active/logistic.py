"""Multinomial logistic regression, solved to its one optimum on the device that holds the features.

Legend: n samples, D features with the constant one, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from active.penalized_loss import PenalizedLoss
from active.quasi_newton import Search
from datamodules.distances import where_exact

TOLERANCE = 1e-5  # of the gradient, times c below 1; the penalty makes it the order of what is left
ROUGH = 1e-3  # of an exact gradient, to which float32 goes before the next one
ROUNDS = 200  # of float32, at most; 3 or 4 are usual, dozens where steps overflow it


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, c: float) -> Tensor:
    """Weights that minimize c * sum of cross-entropies (nats) + 1/2 their squared norm.

    The bias is a weight like the others, of a feature that is 1: without its share of the norm, a
    class that no label shows would be sent to minus infinity. `c` is scikit-learn's `C`.

    L-BFGS, started from nearly the blocks of the Hessian: pretext features are so correlated that
    the plain one has not arrived after a thousand steps from some 600 labels on. Slopes are taken
    in float64 at a few points only; from one to the next float32 counts how they change, which is
    as exact the nearer the optimum, and which GPUs do up to 64 times faster. The optimum for fewer
    labels is no better a start than zero: the steps that count are the last ones.

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
    inputs, basis = torch.cat([features, ones], dim=1), None
    if len(inputs) < inputs.shape[1]:  # the optimum lies in the span of the samples
        basis, triangle = torch.linalg.qr(inputs.double().T)
        inputs = triangle.T.contiguous()
    with torch.autocast(inputs.device.type, enabled=False):
        weights = _minimum(PenalizedLoss(inputs, labels, num_classes, c))
    return weights if basis is None else weights @ basis.T


def _minimum(loss: PenalizedLoss) -> Tensor:
    search, tolerance = Search(loss), TOLERANCE * min(1, loss.c)
    at = loss.exact(loss.zeros)
    for _ in range(ROUNDS):
        steepest = float(at.gradient.abs().max())
        if steepest <= tolerance:
            return at.weights
        step = search.descend(at, max(tolerance / 2, ROUGH * steepest))
        if not step.any():
            break
        at = loss.exact(at.weights + step)
    raise ArithmeticError("logistic regression finds no optimum; are all features finite?")
