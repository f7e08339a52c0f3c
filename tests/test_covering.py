"""Queries that cover a pretext model's features, from cycle to cycle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from active.queries import probcover
from active.queries.probcover import ProbCover
from active.query import Gathered, Request
from datamodules.distances import purity_radius
from datamodules.seeds import Seeds
from datamodules.typiclust import k_means


def asking(labeled: list[int], cycle: int) -> tuple[Gathered, Request]:
    """For 4 of 80 samples, of which 5 belong to V."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    held_out = [3, 17, 40, 41, 79]
    unlabeled = np.setdiff1d(np.arange(80), [*held_out, *labeled])
    return Gathered(unlabeled, np.array(labeled)), Request(
        4, cycle, Seeds(1), features, num_classes=10
    )


def test_the_radius_is_found_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of L and U together, so that a run that was killed goes on with the same one."""
    found: list[tuple[int, float]] = []

    def counted(features: torch.Tensor, labels: torch.Tensor, purity: float) -> float:
        found.append((len(features), purity_radius(features, labels, purity)))
        assert labels.tolist() == k_means(features.numpy(), 10, seed=0).tolist()
        return found[-1][1]

    monkeypatch.setattr(probcover, "purity_radius", counted)
    query, labeled, choices = ProbCover(purity=0.5), [60, 2, 33], []
    for cycle in (1, 2, 3):
        choices.append(query.select(*asking(labeled, cycle)).indices.tolist())
        labeled += choices[-1]
    assert [count for count, _ in found] == [75]
    again = ProbCover(purity=0.5).select(*asking(labeled[:-4], 3)).indices.tolist()
    assert again == choices[-1]
    assert found[1] == found[0]


def test_other_samples_have_another_radius() -> None:
    query, held_out = ProbCover(purity=0.5), [3, 17, 40, 41, 79]
    first, other = query.radius(*asking([60], 1)), query.radius(*asking([60, *held_out], 1))
    assert other == ProbCover(purity=0.5).radius(*asking([60, *held_out], 1))
    assert other != first
