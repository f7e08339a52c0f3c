"""Queries that cover a pretext model's features, from cycle to cycle."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from active.queries import probcover
from active.queries.coreset import Coreset
from active.queries.maxherding import MaxHerding
from active.queries.probcover import ProbCover
from active.query import Gathered, Query, Request
from datamodules.distances import purity_radius
from datamodules.seeds import Seeds
from datamodules.typiclust import k_means


def asking(labeled: list[int], cycle: int, rows: int = 0) -> tuple[Gathered, Request]:
    """For 4 of 80 samples, of which 5 belong to V; of these rows."""
    rng = np.random.default_rng(rows)
    features = rng.normal(size=(80, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    held_out = [3, 17, 40, 41, 79]
    unlabeled, chosen = np.setdiff1d(np.arange(80), [*held_out, *labeled]), np.sort(labeled)
    seen = [{"features": torch.from_numpy(features[pool])} for pool in (unlabeled, chosen)]
    request = Request(4, cycle, Seeds(1), features, num_classes=10)
    return Gathered(unlabeled, chosen, *seen), request


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


@pytest.mark.parametrize("make", [Coreset, MaxHerding, ProbCover])
def test_what_is_remembered_changes_no_pick(make: Callable[[], Query]) -> None:
    query, labeled = make(), [60, 2, 33]
    for cycle in (1, 2, 3, 4):
        picks = query.select(*asking(labeled, cycle)).indices.tolist()
        assert picks == make().select(*asking(labeled, cycle)).indices.tolist()
        labeled += picks


@pytest.mark.parametrize("make", [Coreset, MaxHerding, ProbCover])
@pytest.mark.parametrize("others", [[60, 2], [1, 60, 2, 33], [60, 2, 33, 3, 17, 40, 41, 79]])
def test_nothing_is_remembered_of_other_pools(make: Callable[[], Query], others: list[int]) -> None:
    """Whose labeled samples are not those of before and more, or that are of other samples."""
    query = make()
    query.select(*asking([60, 2, 33], 1))
    picks = query.select(*asking(others, 2)).indices.tolist()
    assert picks == make().select(*asking(others, 2)).indices.tolist()


def test_coreset_forgets_features_that_training_changes() -> None:
    picks, labeled = {}, [60, 2, 33]
    for fixed in (True, False):
        query, trainer, module = Coreset(), Any, SimpleNamespace(fixed_features=fixed)
        first = query.select(*asking(labeled, 1)).indices.tolist()
        query.on_predict_start(trainer, module)  # type: ignore[arg-type]
        second = asking([*labeled, *first], 2, rows=1)
        picks[fixed] = query.select(*second).indices.tolist()
    assert picks[False] == Coreset().select(*second).indices.tolist()
    assert picks[True] != picks[False], "these pools cannot tell"
