"""Acquisition functions against scipy and slow loops, and where they saturate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from active.acquisition import entropy, least_confidence, margin, top

LOGITS = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (300, 7))).float()
PROBS = special.softmax(LOGITS.double().numpy(), axis=1)
SCORES = {"least_confidence": least_confidence, "entropy": entropy, "margin": margin}


def test_entropy_equals_scipys() -> None:
    assert np.allclose(entropy(LOGITS), stats.entropy(PROBS, axis=1), atol=1e-6)
    assert entropy(torch.zeros(1, 10)).item() == pytest.approx(math.log(10), rel=1e-6)


def test_least_confidence_and_margin_equal_a_loop() -> None:
    for i, p in enumerate(PROBS):
        first, second = sorted(p)[::-1][:2]
        assert least_confidence(LOGITS[i : i + 1]).item() == pytest.approx(1 - first, abs=1e-6)
        value = margin(LOGITS[i : i + 1]).item()
        assert value == pytest.approx(1 - (first - second), abs=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_saturated_logits_are_finite_and_still_ranked(name: str) -> None:
    """Gaps of 20 to 90 round 1 - p to 0 in float32; the least confident must still come first."""
    gaps = torch.tensor([90.0, 20.0, 60.0, 30.0])
    logits = torch.stack([gaps, torch.zeros(4), torch.zeros(4)], dim=1)
    values = SCORES[name](logits)
    assert torch.isfinite(values).all()
    assert values.argsort(descending=True).tolist() == [1, 3, 2, 0]
    extreme = SCORES[name](torch.tensor([[3e38, 0.0, -3e38]]))
    assert extreme.item() == 0


def test_known_values() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1]]).log()
    assert least_confidence(logits).item() == pytest.approx(0.3, abs=1e-6)
    assert margin(logits).item() == pytest.approx(0.5, abs=1e-6)
    assert entropy(logits).item() == pytest.approx(0.8018186, abs=1e-6)


def test_top_breaks_ties_at_random() -> None:
    values = np.array([1.0, 5.0, 1.0, 1.0, 1.0])
    firsts = [top(values, 2, np.random.default_rng(seed)) for seed in range(400)]
    assert all(first[0] == 1 for first in firsts)
    counts = np.bincount([first[1] for first in firsts], minlength=5)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3, 4]]).pvalue > 1e-3


def test_top_orders_by_value() -> None:
    values = np.random.default_rng(1).normal(size=50)
    assert top(values, 50, np.random.default_rng(0)).tolist() == np.argsort(-values).tolist()
