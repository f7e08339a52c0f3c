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

from active import penalized_loss, quasi_newton
from active.logistic import fit_logistic
from active.penalized_loss import PenalizedLoss


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    rows = rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d))
    return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(labels)


LIMITS = ["", "ROOM", "TOGETHER", "STRIP", "ENOUGH", "STALE", "PAIRS", "STEPS", "CACHED"]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("c", [1e-6, 0.01, 1.0, 100.0])
@pytest.mark.parametrize(("n", "d"), [(12, 40), (60, 8), (9, 9)])
def test_logistic_regression_is_sklearns(
    n: int, d: int, c: float, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with one block of the Hessian for all classes, in other parts, of fewer samples."""
    if limit:
        place = penalized_loss if limit == "CACHED" else quasi_newton
        monkeypatch.setattr(place, limit, 3 if limit == "STEPS" else 1)
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


def correlated() -> tuple[Tensor, Tensor]:
    """A few directions hold most of the variance, as in pretext features; and classes of them."""
    rng = np.random.default_rng(0)
    spectrum = 1 / np.arange(1, 201) ** 1.5
    rows = np.maximum(rng.normal(size=(2000, 200)) * spectrum @ rng.normal(size=(200, 300)), 0)
    rows = (rows - rows.mean(0)) / rows.std(0)
    labels = (3 * rows[:, :5] + rng.gumbel(size=(2000, 5))).argmax(1)
    return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(labels)


def slope(weights: Tensor, features: Tensor, labels: Tensor, c: float) -> Tensor:
    inputs = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    weights = weights.clone().requires_grad_()
    loss = F.cross_entropy(inputs @ weights.T, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(weights.square().sum() / 2 + c * loss, weights)
    return gradient


@pytest.mark.parametrize("room", [quasi_newton.ROOM, 1])  # a block for each class, one for all
@pytest.mark.parametrize(("c", "most"), [(1e-6, 40), (0.1, 40), (10.0, 70), (1e4, 900)])
def test_the_optimum_is_reached_on_correlated_features(
    c: float, most: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain L-BFGS gets nowhere; samples that are separated, to the last (c = 1e4), are hardest."""
    monkeypatch.setattr(quasi_newton, "ROOM", room)
    evaluated, plain = [], PenalizedLoss.change

    def counted(self: Any, *given: Any) -> Any:
        evaluated.append(1)
        return plain(self, *given)

    monkeypatch.setattr(PenalizedLoss, "change", counted)
    features, labels = correlated()
    ours = fit_logistic(features, labels, 5, c)
    # By strong convexity the distance to the optimum is below.
    assert float(slope(ours, features, labels, c).norm()) < 1e-3 * min(1, c)
    assert len(evaluated) <= (most if room > 1 else 4 * most)


@pytest.mark.parametrize("c", [1.0, 1e4])
def test_many_classes_with_few_samples(c: float) -> None:
    """The first steps are so long that float32's exponentials overflow."""
    features, labels = correlated()
    features, labels = features[:40], torch.arange(40)
    ours = fit_logistic(features, labels, 500, c)
    assert float(slope(ours, features, labels, c).norm()) < 1e-3


@pytest.mark.parametrize("size", [1e-7, 1e-3, 1.0])
@pytest.mark.parametrize("c", [1.0, 1e3])  # at whose optimum most samples are certain
def test_changes_are_those_of_exact_points(size: float, c: float) -> None:
    """To float32's rounding of the change, however small it is beside the value itself."""
    features, labels = correlated()
    inputs = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    loss = PenalizedLoss(inputs, labels, 5, c)
    start = loss.exact(fit_logistic(features, labels, 5, c))
    step = torch.randn(5, 301, generator=torch.Generator().manual_seed(0))
    step = size * (step - step.mean(dim=0))
    value, gradient = loss.change(start, step)
    end = loss.exact(start.weights + step)
    assert torch.allclose(loss.probs(start, step), end.probs, atol=1e-5)
    assert float((gradient - end.gradient).norm()) < 1e-5 * float(end.gradient.norm())

    def exact_value(at: Tensor) -> Tensor:
        crosses = F.cross_entropy(inputs.double() @ at.T, labels, reduction="sum")
        return at.square().sum() / 2 + c * crosses

    after = float(exact_value(end.weights))
    rise = after - float(exact_value(start.weights))
    assert float(value) == pytest.approx(rise, rel=1e-4, abs=1e-14 * after)


def test_a_point_is_taken_where_the_mean_over_classes_is_zero() -> None:
    """What is common to all classes costs penalty alone, and no step would take it away."""
    features, labels = blobs(30, 4, 3)
    inputs = torch.cat([features, torch.ones(30, 1)], dim=1)
    at = PenalizedLoss(inputs, labels, 3, 1.0).exact(torch.ones(3, 5, dtype=torch.float64))
    assert torch.equal(at.weights, torch.zeros(3, 5, dtype=torch.float64))


def test_samples_are_drawn_as_often_as_they_weigh() -> None:
    weights = torch.tensor([[1.0, 2.0, 3.0, 6.0, 0.0], [5.0, 5.0, 1.0, 1.0, 0.0]])
    drawn, each = quasi_newton.sample(weights, 4)
    assert drawn.tolist() == [[1, 2, 3, 3], [0, 0, 1, 2]]
    assert each.tolist() == [[3.0] * 4] * 2
    everyone, own = quasi_newton.sample(weights, 5)
    assert everyone.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert torch.equal(own, weights)


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
