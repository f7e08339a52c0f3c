"""Multinomial logistic regression, solved to its one optimum on the device that holds the features.

Legend: n samples, D features, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 1000  # of L-BFGS, at most
SLOPE = 1e-5  # where it ends; the penalty makes this the order of what is left to the optimum


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, c: float) -> Tensor:
    """Weights that minimize c * sum of cross-entropies (nats) + 1/2 their squared norm.

    The bias is a weight like the others, of a feature that is 1: without its share of the norm, a
    class that no label shows would be sent to minus infinity. `c` is scikit-learn's `C`.

    Args:
        features: (n, D), standardized.
        labels: (n,) int64 below `num_classes`; not every class need occur.

    Returns:
        (C, D + 1) float64, the bias last.
    """
    if features.device.type == "mps":  # it has no float64
        return fit_logistic(features.cpu(), labels.cpu(), num_classes, c)
    ones = features.new_ones(len(features), 1)
    inputs, basis = torch.cat([features, ones], dim=1).double(), None
    if len(inputs) < inputs.shape[1]:  # the optimum lies in the span of the samples
        basis, triangle = torch.linalg.qr(inputs.T)
        inputs = triangle.T
    truth = F.one_hot(labels, num_classes).to(inputs)
    weights = inputs.new_zeros(num_classes, inputs.shape[1])
    weights.grad = torch.zeros_like(weights)

    def closure() -> Tensor:
        log_probs = (inputs @ weights.T).log_softmax(dim=1)
        torch.addmm(weights, (log_probs.exp() - truth).T, inputs, alpha=c, out=weights.grad)
        return weights.square().sum() / 2 - c * (log_probs * truth).sum()

    solver = torch.optim.LBFGS(
        [weights], max_iter=STEPS, max_eval=2 * STEPS, tolerance_grad=SLOPE,
        tolerance_change=0, history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip
    with torch.no_grad():
        solver.step(closure)
    return weights if basis is None else weights @ basis.T
