"""Typicality, TypiClust, purity radii and nearest neighbors against naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datamodules import distances as exact_distances
from datamodules.distances import nearest, nearest_neighbors, purity_radius, smallest_distance
from datamodules.typiclust import k_means, typicality, typiclust
from tests.feature_sets import LABELED, SEEDS, check, distances, mixture, tensor, unit


def test_the_most_typical_are_the_densest() -> None:
    degrees = np.array([-8, -4, -2, -1, 0, 1, 2, 4, 8])
    angles = np.radians(np.concatenate([degrees, 90 + degrees[1:-1]]))
    features = unit(np.stack([np.cos(angles), np.sin(angles)], 1))
    score = typicality(features, torch.tensor([0] * 9 + [1] * 7))
    assert int(score[:9].argmax()) == 4
    assert float(score[4]) == pytest.approx(1 / (math.radians(1.5) + 1e-5), rel=1e-3)
    assert typiclust(features, 2).tolist() == [4, 12]  # the larger first
    assert typiclust(features, 1, labeled=torch.tensor([0])).tolist() == [12]


@pytest.mark.parametrize("neighbors", [1, 5, 20])
@pytest.mark.parametrize("seed", SEEDS)
def test_typicality_equals_a_slow_loop(seed: int, neighbors: int) -> None:
    features = mixture(60, seed, twins=20 * (seed % 2))
    clusters = np.random.default_rng(seed).integers(0, 5, 60)
    clusters[7] = 9  # alone; and 5 to 8 are empty
    dist, want = distances(features), []
    for i in range(60):
        members = [j for j in range(60) if clusters[j] == clusters[i]]
        m = max(min(neighbors, len(members) // 2), 1)
        near = sorted(dist[i, j] for j in members if j != i)[:m]
        want.append(1 / (sum(near) / m + 1e-5) if near else 0.0)
    got = typicality(features, torch.from_numpy(clusters), neighbors)
    np.testing.assert_allclose(got.numpy(), want, rtol=2e-2 if seed % 2 else 1e-4)
    assert got.isfinite().all()


def slow_typiclust(
    clusters: np.ndarray, score: np.ndarray, budget: int, labeled: list[int], smallest: int
) -> list[int]:
    size = {c: int((clusters == c).sum()) for c in clusters}
    picks: list[int] = []
    while len(picks) < budget:
        chosen = [*labeled, *picks]
        free = [i for i in range(len(clusters)) if i not in chosen]
        count = {c: sum(clusters[i] == c for i in chosen) for c in size}
        left = {clusters[i] for i in free}
        cluster = min(left, key=lambda c: (size[c] <= smallest, count[c], -size[c], c))
        members = [i for i in free if clusters[i] == cluster]
        picks.append(max(members, key=lambda i: (score[i], -i)))
    return picks


@pytest.mark.parametrize("labeled", LABELED)
@pytest.mark.parametrize("seed", SEEDS)
def test_typiclust_equals_a_slow_loop(seed: int, labeled: list[int] | None) -> None:
    features = mixture(70, seed, twins=20 * (seed % 2))
    known = labeled or []
    for budget in (1, 5, 20, 60, 70 - len(known)):
        for limit, smallest in ((8, 5), (500, 5), (20, 2)):
            options = {"seed": seed, "max_clusters": limit, "smallest": smallest}
            picks = typiclust(features, budget, labeled=tensor(labeled), **options)
            check(picks, budget, labeled, 70)
            num = min(len(known) + budget, limit, 70)
            clusters = k_means(features.numpy(), num, seed)
            score = typicality(features, torch.from_numpy(clusters)).numpy()
            assert picks.tolist() == slow_typiclust(clusters, score, budget, known, smallest)
            again = typiclust(features, budget, labeled=tensor(labeled), **options)
            assert torch.equal(picks, again)


@pytest.mark.parametrize("purity", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_purity_radius_equals_a_search_over_all_pairs(seed: int, purity: float) -> None:
    features = mixture(40, seed, twins=10 * (seed % 2))
    clusters = np.random.default_rng(seed).integers(0, 2 + seed, 40)
    clusters[:20] = 0
    dist = distances(features)

    def share(delta: float) -> float:
        balls = [clusters[dist[i] < delta] == clusters[i] for i in range(40)]
        return float(np.mean([ball.all() for ball in balls]))

    want = max((d for d in [0.0, *dist.ravel()] if share(d) >= purity - 1e-12), default=0.0)
    got = purity_radius(features, torch.from_numpy(clusters), purity)
    assert got == pytest.approx(want, abs=1e-6)


def test_purity_radius_of_one_cluster_is_infinite() -> None:
    assert purity_radius(mixture(20, 0), torch.zeros(20, dtype=torch.int64)) == math.inf


@pytest.mark.parametrize("k", [1, 4, 39])
@pytest.mark.parametrize("seed", SEEDS)
def test_nearest_neighbors_equal_a_slow_loop(seed: int, k: int) -> None:
    features = mixture(40, seed, twins=10 * (seed % 2))
    got = nearest_neighbors(features, k)
    x = features.double().numpy()
    assert got.shape == (40, k)
    for i, row in enumerate(got.tolist()):
        assert i not in row
        assert len(set(row)) == k
        want = sorted((float(x[i] @ x[j]) for j in range(40) if j != i), reverse=True)[:k]
        assert [float(x[i] @ x[j]) for j in row] == pytest.approx(want, abs=1e-6)
    with pytest.raises(AssertionError, match="40 neighbors"):
        nearest_neighbors(features, 40)


@pytest.mark.parametrize("tile", [(1024, 2**14), (7, 11), (64, 23), (30, 200)])
def test_tiles_do_not_change_a_bit(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all pairs at once: every distance is exact, so that no block can change it."""
    features = mixture(200, 3, twins=30)
    clusters = torch.from_numpy(np.random.default_rng(0).integers(0, 4, 200))
    x = exact_distances.exact(features)
    squared = (x[:, None] - x).square().sum(2)
    others = squared.clone().fill_diagonal_(math.inf).sort(1).values
    monkeypatch.setattr(exact_distances, "TILE", tile)
    for k in (1, 20, 199):
        values, samples = nearest(features, k)
        assert torch.equal(values, others[:, :k])
        assert torch.equal(squared.gather(1, samples), values)
        products, samples = nearest(features, k, products=True)
        assert torch.equal((x[:, None] * x[samples]).sum(2), products)
        assert torch.equal(products, (x @ x.T).fill_diagonal_(-math.inf).topk(k).values)
        assert torch.equal(nearest_neighbors(features, k), samples)
    assert smallest_distance(features) == math.sqrt(squared[squared > 0].min())
    radii = squared.masked_fill(clusters[:, None] == clusters, math.inf).amin(1).sort().values
    for pure in (1, 77, 200):
        want = math.sqrt(radii[200 - pure])
        assert purity_radius(features, clusters, pure / 200) == pytest.approx(want, rel=1e-15)
