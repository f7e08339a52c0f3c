"""Committees and calibration against scipy, slow loops and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from active.acquisition import entropy, least_confidence, margin, mean_log_probs, variation_ratio
from active.calibration import TEMPERATURES, fit_temperature


def committee(members: int, num: int = 200, classes: int = 6) -> Tensor:
    """(M, N, C) raw logits."""
    logits = np.random.default_rng(members).normal(0, 3, (members, num, classes))
    return torch.from_numpy(logits).float()


def mean_probs(logits: Tensor) -> np.ndarray:
    return special.softmax(logits.double().numpy(), axis=2).mean(axis=0)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_mean_log_probs_equals_the_mean_in_float64(members: int) -> None:
    logits = committee(members)
    assert np.allclose(mean_log_probs(logits), np.log(mean_probs(logits)), atol=1e-5)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_acquisition_functions_take_mean_log_probs_for_logits(members: int) -> None:
    logits = committee(members)
    probs, ours = mean_probs(logits), mean_log_probs(logits)
    ordered = np.sort(probs, axis=1)
    assert np.allclose(entropy(ours), stats.entropy(probs, axis=1), atol=1e-5)
    assert np.allclose(least_confidence(ours), 1 - ordered[:, -1], atol=1e-6)
    assert np.allclose(margin(ours), 1 - ordered[:, -1] + ordered[:, -2], atol=1e-6)


def test_a_saturated_committee_is_finite_and_still_ranked() -> None:
    gaps = torch.tensor([90.0, 20.0, 60.0])
    ours = mean_log_probs(torch.stack([gaps, torch.zeros(3)], dim=1).expand(2, -1, -1))
    assert least_confidence(ours).argsort(descending=True).tolist() == [1, 2, 0]
    extreme = mean_log_probs(torch.tensor([[[3e38, 0.0, -3e38]], [[0.0, 3e38, 0.0]]]))
    assert entropy(extreme).item() == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("members", [1, 2, 3, 5, 10])
def test_variation_ratio_equals_scipys_mode_and_a_loop(members: int) -> None:
    logits = committee(members)
    votes = logits.numpy().argmax(axis=2)
    ours = variation_ratio(logits).numpy()
    assert np.allclose(ours, 1 - stats.mode(votes, axis=0).count / members, atol=1e-7)
    assert np.allclose(ours, [1 - np.bincount(v).max() / members for v in votes.T], atol=1e-7)


def test_variation_ratio_of_known_votes() -> None:
    votes = torch.tensor([[0, 0, 2], [0, 1, 2], [0, 2, 1]])  # members x samples
    logits = 9.0 * torch.nn.functional.one_hot(votes, 3)
    assert variation_ratio(logits).tolist() == pytest.approx([0, 2 / 3, 1 / 3])


def test_variation_ratio_of_ties_and_of_nan() -> None:
    """Equal logits are a vote for the first class, as for argmax; NaN is no vote."""
    logits = torch.tensor([[[1.0, 1, 0], [0, 2, 2]], [[3, 3, 3], [0, 0, torch.nan]]])
    ratio = variation_ratio(logits)
    assert ratio[0] == 0
    assert ratio[1].isnan()


def held_out(scale: float, num: int = 600, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits `scale` times those that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (num, 5))
    labels = [rng.choice(5, p=p) for p in special.softmax(true, axis=1)]
    return torch.from_numpy(scale * true).float(), torch.tensor(labels)


def slow_ece(probs: np.ndarray, labels: np.ndarray, bins: int) -> float:
    top = probs.max(axis=1).astype(np.float32)
    right = probs.argmax(axis=1) == labels
    which = np.digitize(top, np.linspace(0, 1, bins + 1).astype(np.float32))
    masks = [which == b for b in np.unique(which)]
    return sum(abs(right[m].mean() - top[m].mean(dtype=np.float64)) * m.mean() for m in masks)


@pytest.mark.parametrize("scale", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("bins", [5, 15])
def test_no_other_temperature_has_less_error(scale: float, bins: int) -> None:
    logits, labels = held_out(scale, seed=bins)
    found = fit_temperature(logits, labels, bins)
    slow, theirs = [], []
    for t in TEMPERATURES:
        probs = special.softmax(logits.double().numpy() / t, axis=1)
        slow.append(slow_ece(probs, labels.numpy(), bins))
        error = multiclass_calibration_error(torch.from_numpy(probs), labels, 5, n_bins=bins)
        theirs.append(float(error))
    assert found in TEMPERATURES
    place = int(np.flatnonzero(found == TEMPERATURES)[0])
    assert slow[place] == pytest.approx(min(slow), abs=1e-6)
    assert theirs[place] == pytest.approx(min(theirs), abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_the_true_temperature_is_found(scale: float) -> None:
    assert fit_temperature(*held_out(scale, num=6000)) == pytest.approx(scale, rel=0.15)


def test_grid_ends_and_ties() -> None:
    assert TEMPERATURES[[0, 1, -1]].tolist() == [1.0, 1.1, 19.9]
    assert len(TEMPERATURES) == 190
    assert fit_temperature(*held_out(0.3)) == 1.0  # less confident than right: no T helps
    logits, labels = held_out(1.0)
    assert fit_temperature(30 * logits, logits.argmin(dim=1)) == 19.9  # sure and always wrong
    assert fit_temperature(torch.zeros(10, 5), torch.zeros(10, dtype=torch.int64)) == 1.0  # a tie
    assert fit_temperature(logits[:0], labels[:0]) == 1.0
