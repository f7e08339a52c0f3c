"""What a cycle's logistic regression costs; run with `pytest -m benchmark -s`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from active.logistic import TOLERANCE, fit_logistic

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
D, C, WEIGHT = 512, 10, 10.0


def correlated(n: int) -> tuple[Tensor, Tensor]:
    """Rectified features whose variance lies in a few directions, and labels of them."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(256, D)) / np.arange(1, 257)[:, None]
    rows = np.maximum(rng.normal(size=(n, 256)) @ mixing, 0)
    labels = (rows[:, :C] / rows.std() + rng.gumbel(size=(n, C))).argmax(axis=1)
    labels[:C] = np.arange(C)
    standard = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-6)
    return torch.from_numpy(standard.astype(np.float32)), torch.from_numpy(labels)


def sklearns(features: Tensor, labels: Tensor, solver: str) -> Tensor:
    inputs = torch.cat([features, torch.ones(len(features), 1)], dim=1).double().numpy()
    tight = TOLERANCE / WEIGHT / len(inputs)  # its gradient is of the mean
    model = LogisticRegression(
        C=WEIGHT, fit_intercept=False, tol=tight, max_iter=1000, solver=solver
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not arrived, which `steepest` shows
        model.fit(inputs, labels.numpy())
    return torch.from_numpy(model.coef_)


def steepest(weights: Tensor, features: Tensor, labels: Tensor) -> float:
    weights = weights.clone().requires_grad_()
    logits = features.double() @ weights[:, :-1].T + weights[:, -1]
    loss = WEIGHT * F.cross_entropy(logits, labels, reduction="sum") + weights.square().sum() / 2
    return float(torch.autograd.grad(loss, weights)[0].abs().max())


def timed(fit: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.perf_counter()
    weights = fit()
    return time.perf_counter() - started, weights


@pytest.mark.parametrize("n", [60, 110, 660, 2000, 5000])
def test_logistic_regression_beside_sklearns(n: int) -> None:
    features, labels = correlated(n)
    fit_logistic(features[:20], labels[:20], C, WEIGHT)  # warm
    told, first = [], 0.0
    solvers = {
        "ours": partial(fit_logistic, features, labels, C, WEIGHT),
        "lbfgs": partial(sklearns, features, labels, "lbfgs"),
        "newton-cg": partial(sklearns, features, labels, "newton-cg"),
    }
    for name, solve in solvers.items():
        seconds, weights = timed(solve)
        first = first or seconds
        end = steepest(weights, features, labels)
        told.append(f"{name} {seconds:.3f} s, {seconds / first:.1f} x, gradient {end:.0e}")
    print(f"\n| logistic, n {n} | {' | '.join(told)} |")
