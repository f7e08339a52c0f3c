"""Monitors against brute force and scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from pretext import monitors
from pretext.monitors import clustering_accuracy, clustering_metrics, knn_accuracy


def blobs(count: int, seed: int, spread: float = 1.0, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Overlapping classes on the sphere: neither all nor none are told apart."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, 6, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (count,), generator=generator)
    noise = torch.randn(count, 6, generator=generator)
    return F.normalize(centers[labels] + spread * noise, dim=1), labels


@pytest.mark.parametrize("spread", [0.7, 1.5, 4.0])
def test_knn_accuracy_equals_weighted_votes_of_scikit_learn(spread: float) -> None:
    bank, known = blobs(300, 0, spread)
    probe, truth = blobs(200, 1, spread)

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / 0.1)  # scikit-learn's cosine distance is 1 - cosine

    slow = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=weights)
    expected = slow.fit(bank.numpy(), known.numpy()).score(probe.numpy(), truth.numpy())
    assert 0.2 < expected < 1
    assert knn_accuracy(bank, known, probe, truth, 5) == pytest.approx(expected)


def test_nearer_neighbors_weigh_more() -> None:
    """One very near neighbor outvotes two that are far; only the nearest twenty have a vote."""
    probe, one = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    angles = torch.tensor([0.1, 1.0, 1.0])
    bank = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert knn_accuracy(bank, torch.tensor([1, 0, 0]), probe, one, 2) == 1
    cosines = torch.tensor([0.905] * 9 + [0.9] * 10 + [0.899] + [0.898] * 500)
    bank = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    labels = torch.tensor([1] * 9 + [0] * 10 + [1] + [0] * 500)  # 19 or 21 votes would say 0
    assert knn_accuracy(bank, labels, probe, one, 2) == 1


def test_a_bank_smaller_than_k_votes_as_a_whole() -> None:
    bank, known = blobs(7, 0)
    probe, truth = blobs(50, 1)
    weights = (probe.double() @ bank.double().T / 0.1).exp()
    votes = weights @ F.one_hot(known, 5).double()
    expected = (votes.argmax(dim=1) == truth).double().mean().item()
    assert knn_accuracy(bank, known, probe, truth, 5) == pytest.approx(expected)


def test_knn_accuracy_is_of_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, known = blobs(100, 0)
    probe, truth = blobs(83, 1)
    whole = knn_accuracy(bank, known, probe, truth, 5)
    assert whole * 83 == pytest.approx(round(whole * 83))
    monkeypatch.setattr(monitors, "BLOCK", 10)
    assert knn_accuracy(bank, known, probe, truth, 5) == whole


@pytest.mark.parametrize(("classes", "rows"), [(5, 4), (50, 1)])
def test_knn_accuracy_keeps_to_its_memory(
    classes: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Similarities to 120 images and 20 votes for each class are at most 500, or a row's."""
    bank, known = blobs(120, 0)
    probe, truth = blobs(30, 1)
    whole = knn_accuracy(bank, known, probe, truth, classes)
    plain, sizes = monitors.knn_predict, []

    def predict(feature: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(feature))
        return plain(feature, *rest)

    monkeypatch.setattr(monitors, "knn_predict", predict)
    monkeypatch.setattr(monitors, "CELLS", 500)
    assert knn_accuracy(bank, known, probe, truth, classes) == whole
    assert max(sizes) == rows
    assert sum(sizes) == 30


def best_matching(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Tries every one-to-one matching; who has no partner is wrong."""
    num_clusters, num_classes = int(clusters.max()) + 1, int(labels.max()) + 1
    targets = [*range(num_classes), *[-1] * num_clusters]
    return max(
        float((np.array(matching)[clusters] == labels).mean())
        for matching in set(itertools.permutations(targets, num_clusters))
    )


@pytest.mark.parametrize(
    ("num_clusters", "num_classes"), [(1, 3), (3, 1), (2, 2), (3, 3), (4, 4), (4, 2), (2, 5)]
)
@pytest.mark.parametrize("seed", range(3))
def test_clustering_accuracy_equals_the_best_of_all_matchings(
    num_clusters: int, num_classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=40)
    clusters = np.where(
        rng.random(40) < 0.5, (labels * 7 + 1) % num_clusters, rng.integers(num_clusters, size=40)
    )
    slow = best_matching(clusters, labels)
    assert clustering_accuracy(clusters, labels) == pytest.approx(slow)


def test_five_clusters_of_five_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=60)
    clusters = np.where(rng.random(60) < 0.6, (2 * labels + 1) % 5, rng.integers(5, size=60))
    slow = max(
        float((np.array(matching)[clusters] == labels).mean())
        for matching in itertools.permutations(range(5))
    )
    assert slow > (clusters == labels).mean()
    assert clustering_accuracy(clusters, labels) == pytest.approx(slow)


def test_a_greedy_matching_is_not_enough() -> None:
    """Cluster 0 has most of class 0, but class 0 is all that cluster 1 can have."""
    clusters = np.array([0] * 9 + [1] * 4)
    labels = np.array([0] * 5 + [1] * 4 + [0] * 4)
    assert clustering_accuracy(clusters, labels) == 8 / 13


def test_numbers_of_clusters_need_not_be_in_use() -> None:
    assert clustering_accuracy(np.array([7, 7, 3]), np.array([2, 2, 0])) == 1


@pytest.mark.parametrize("seed", range(3))
def test_clustering_metrics_equal_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=80)
    clusters = np.where(rng.random(80) < 0.6, labels % 3, rng.integers(6, size=80))
    ours = clustering_metrics(clusters, labels)
    table = metrics.cluster.contingency_matrix(labels, clusters)
    joint = table / table.sum()

    def entropy(p: np.ndarray) -> float:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    h_labels, h_clusters = entropy(joint.sum(1)), entropy(joint.sum(0))
    information = h_labels + h_clusters - entropy(joint)
    assert ours["cluster/nmi"] == pytest.approx(2 * information / (h_labels + h_clusters))

    def pairs(n: np.ndarray) -> float:
        return float((n * (n - 1) / 2).sum())

    rows, columns, total = pairs(table.sum(1)), pairs(table.sum(0)), 80 * 79 / 2
    chance = rows * columns / total
    ari = (pairs(table) - chance) / ((rows + columns) / 2 - chance)
    assert ours["cluster/ari"] == pytest.approx(ari)
    assert ours["cluster/acc"] == clustering_accuracy(clusters, labels)
    assert ours["cluster/nmi"] == pytest.approx(
        metrics.normalized_mutual_info_score(labels, clusters)
    )
    assert ours["cluster/ari"] == pytest.approx(metrics.adjusted_rand_score(labels, clusters))


def test_metrics_do_not_depend_on_the_numbers_of_clusters() -> None:
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(4, size=50), rng.integers(5, size=50)
    renamed = np.array([3, 0, 9, 1, 4])[clusters]
    assert clustering_metrics(renamed, labels) == pytest.approx(
        clustering_metrics(clusters, labels)
    )
    perfect = clustering_metrics(np.array([2, 0, 1, 5])[labels], labels)
    assert perfect == pytest.approx({"cluster/acc": 1, "cluster/nmi": 1, "cluster/ari": 1})
