"""Logistic regression at its optimum: against scikit-learn, a general minimizer, its slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from active import logistic
from active.logistic import fit_logistic


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    rows = rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d))
    return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize("limit", ["", "ROOM", "TOGETHER", "STRIP", "CACHED", "ENOUGH", "STALE"])
@pytest.mark.parametrize("c", [1e-6, 0.01, 1.0, 100.0])
@pytest.mark.parametrize(("n", "d"), [(12, 40), (60, 8), (9, 9)])
def test_logistic_regression_is_sklearns(
    n: int, d: int, c: float, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with one block of the Hessian for all classes, in other parts, of fewer samples."""
    if limit:
        monkeypatch.setattr(logistic, limit, 1)
    features, labels = blobs(n, d, 3)
    ours = fit_logistic(features, labels, 3, c).numpy()
    inputs = np.concatenate([features.numpy(), np.ones((n, 1))], axis=1)
    theirs = LogisticRegression(C=c, fit_intercept=False, tol=1e-10, max_iter=100_000)
    theirs.fit(inputs, labels.numpy())
    assert np.allclose(ours, theirs.coef_, atol=2e-4 * np.abs(theirs.coef_).max())


@pytest.mark.parametrize("shown", [1, 2])
def test_classes_that_no_label_shows(shown: int) -> None:
    """Against a general-purpose minimizer; of 4 classes 1 or 2 occur."""
    features, labels = blobs(7, 5, shown, seed=1)
    inputs = np.concatenate([features.numpy(), np.ones((7, 1))], axis=1).astype(float)

    def objective(flat: np.ndarray) -> float:
        logits = inputs @ flat.reshape(4, 6).T
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return 0.5 * (flat**2).sum() - 0.7 * logs[np.arange(7), labels.numpy()].sum()

    slow = optimize.minimize(objective, np.zeros(24), options={"gtol": 1e-8}).x.reshape(4, 6)
    assert np.allclose(fit_logistic(features, labels, 4, 0.7).numpy(), slow, atol=1e-4)


@pytest.mark.parametrize("room", [logistic.ROOM, 1])  # a block for each class, one for all
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_the_optimum_is_reached_on_correlated_features(
    c: float, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few directions hold most of the variance, as in pretext features: L-BFGS gets nowhere.

    With blocks that know nothing of the classifier, 187 products for c = 10 in place of 88; one
    for all classes saves none.
    """
    monkeypatch.setattr(logistic, "ROOM", room)
    products, plain = [], logistic._Hessian._product

    def counted(self: Any, *given: Tensor) -> Tensor:
        products.append(1)
        return plain(self, *given)

    monkeypatch.setattr(logistic._Hessian, "_product", counted)
    rng = np.random.default_rng(0)
    spectrum = 1 / np.arange(1, 201) ** 1.5
    rows = np.maximum(rng.normal(size=(2000, 200)) * spectrum @ rng.normal(size=(200, 300)), 0)
    rows = (rows - rows.mean(0)) / rows.std(0)
    labels = (3 * rows[:, :5] + rng.gumbel(size=(2000, 5))).argmax(1)
    inputs = torch.from_numpy(np.concatenate([rows, np.ones((2000, 1))], axis=1))
    truth = torch.from_numpy(labels)
    ours = fit_logistic(inputs[:, :-1].float(), truth, 5, c)
    assert len(products) < (120 if room > 1 else 250)
    inputs[:, :-1] = inputs[:, :-1].float()
    weights = ours.clone().requires_grad_()
    loss = F.cross_entropy(inputs @ weights.T, truth, reduction="sum")
    (slope,) = torch.autograd.grad(weights.square().sum() / 2 + c * loss, weights)
    assert float(slope.norm()) < 1e-3  # by strong convexity the distance to the optimum is below


def test_the_optimum_does_not_depend_on_the_precision_around_it() -> None:
    features, labels = blobs(40, 8, 4)
    alone = fit_logistic(features, labels, 4, 10.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fit_logistic(features, labels, 4, 10.0), alone)


def test_features_that_are_not_finite() -> None:
    features, labels = blobs(12, 4, 3)
    features[5, 2] = torch.inf
    with pytest.raises(ArithmeticError, match="finite"):
        fit_logistic(features, labels, 3, 1.0)


def test_nothing_to_learn() -> None:
    """The search starts at the optimum: each class once, and features that say nothing."""
    weights = fit_logistic(torch.zeros(4, 3), torch.arange(4), 4, 10.0)
    assert torch.equal(weights, torch.zeros(4, 4, dtype=torch.float64))


def test_duplicates_and_one_sample() -> None:
    features, labels = blobs(1, 5, 1)
    twice = fit_logistic(features.repeat(6, 1), labels.repeat(6), 3, 0.5)
    assert torch.allclose(twice, fit_logistic(features, labels, 3, 3.0), atol=1e-5)
