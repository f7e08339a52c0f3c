"""What queries choose, against slow loops on the classifier's own outputs.

The functions that they call are tested where they are; this is about what they are given.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from active.badge import badge
from active.calibration import fit_temperature
from active.classifier import Classifier
from datamodules.images import Images, Part
from datamodules.seeds import Seeds
from tests.test_queries import ask, make, make_pool

V, L, U = np.arange(4), np.arange(4, 10), np.arange(10, 60)  # as `ask` has them


@pytest.fixture
def pool() -> tuple[Classifier, Images]:
    """Confident and unsure samples, on which criteria differ."""
    classifier, images = make_pool("random")
    with torch.no_grad():
        classifier.head.weight.mul_(200)
    return classifier, images


def outputs(classifier: Classifier, images: Images) -> tuple[torch.Tensor, ...]:
    """Pooled, projected features and logits of all images, in float64."""
    pixels = images.train.take(np.arange(60)).float().div(255).sub(0.5).div(0.3)
    with torch.no_grad():
        pooled = classifier.embed(pixels)
        features, logits = classifier.classify(pooled)
    return pooled, features.double(), logits.double()


def distances(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None] - x[None], axis=2)


def unit_pixels(images: Images) -> np.ndarray:
    """The artifact's features that `ask` gives."""
    x = images.train.take(np.arange(60)).flatten(1).double().numpy() + 1
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def slow_herding(kernel: np.ndarray, weights: np.ndarray, budget: int) -> list[int]:
    cover, picks = kernel[:, L].max(1), []
    for _ in range(budget):
        gains = weights @ np.maximum(kernel[:, U] - cover[:, None], 0)
        gains[np.isin(U, picks)] = -1
        picks.append(int(U[gains.argmax()]))
        cover = np.maximum(cover, kernel[:, picks[-1]])
    return picks


@pytest.mark.parametrize("name", ["dbal", "bald", "powerbald", "batchbald"])
def test_bayesian_queries(name: str, pool: tuple[Classifier, Images]) -> None:
    query = make(name)
    if name == "powerbald":
        query.beta = 1e6  # type: ignore[attr-defined]  # BALD's own ranking
    chosen, _ = ask(query, *pool, 50)
    masks = query._masks  # type: ignore[attr-defined]
    assert set(masks.unique().tolist()) == {0.0, 2.0}, "of dropout .5, as in training"
    pooled = outputs(*pool)[0]
    with torch.no_grad():
        logits = pool[0].mc_logits(pooled, masks)
    p = softmax(logits.double().numpy(), axis=2)  # (samples, N, classes)
    whole = entropy(p.mean(0), axis=1)
    wanted = whole if name == "dbal" else whole - entropy(p, axis=2).mean(0)
    np.testing.assert_allclose(chosen.scores, wanted[chosen.indices], atol=1e-6)
    if name == "batchbald":
        picks = slow_batch_bald(p, entropy(p, axis=2).mean(0), 5)
        assert chosen.indices[:5].tolist() == picks
        assert picks != U[np.argsort(-wanted[U])][:5].tolist()
    else:
        assert (np.diff(chosen.scores) <= 1e-6).all()


def slow_batch_bald(p: np.ndarray, conditional: np.ndarray, budget: int) -> list[int]:
    """Greedy joint information by enumeration of all labels of the batch."""
    picks: list[int] = []
    joint = np.ones((len(p), 1))  # P(labels of the picks | mask)
    for _ in range(budget):

        def information(i: int, joint: np.ndarray = joint) -> float:
            both = (joint[:, :, None] * p[:, i, None]).reshape(len(p), -1)
            return float(entropy(both.mean(0))) - conditional[[*picks, i]].sum()

        picks.append(max((i for i in U.tolist() if i not in picks), key=information))
        joint = (joint[:, :, None] * p[:, picks[-1], None]).reshape(len(p), -1)
    return picks


def test_coreset_is_in_the_projectors_features(pool: tuple[Classifier, Images]) -> None:
    apart = distances(outputs(*pool)[1].numpy())
    picks: list[int] = []
    for _ in range(8):
        picks.append(int(U[apart[U][:, [*L, *picks]].min(1).argmax()]))
    assert ask(make("coreset"), *pool, 8)[0].indices.tolist() == picks


def test_badge_is_of_the_last_layers_gradients(pool: tuple[Classifier, Images]) -> None:
    _, features, logits = outputs(*pool)
    gradients = softmax(logits.numpy(), axis=1)
    gradients[np.arange(60), gradients.argmax(1)] -= 1
    longest = np.linalg.norm(gradients[:, :, None] * features.numpy()[:, None], axis=(1, 2))[U]
    chosen = ask(make("badge"), *pool, 8)[0].indices
    assert chosen[0] == U[longest.argmax()]
    inputs = features[U]
    same = badge(logits[U], inputs, 8, Seeds(0).numpy("query", 1))
    assert torch.equal(inputs, features[U]), "nothing is changed in place"
    assert chosen.tolist() == U[same.numpy()].tolist()


def test_uherding_weighs_by_calibrated_margins(pool: tuple[Classifier, Images]) -> None:
    logits = outputs(*pool)[2]
    temperature = fit_temperature(logits[V], torch.zeros(4, dtype=torch.long))
    assert abs(temperature - 1) > 0.1
    p = np.sort(softmax(logits.numpy() / temperature, axis=1), axis=1)
    weights = 1 - (p[:, -1] - p[:, -2])
    weights[np.concatenate([V, L])] = 0
    apart = distances(unit_pixels(pool[1]))
    sigma = apart[np.ix_(L, L)][np.triu_indices(len(L), 1)].min()
    picks = slow_herding(np.exp(-((apart / sigma) ** 2)), weights, 8)
    assert ask(make("uherding"), *pool, 8)[0].indices.tolist() == picks


def test_maxherding_covers_what_is_not_labeled(pool: tuple[Classifier, Images]) -> None:
    weights, apart = np.ones(60), distances(unit_pixels(pool[1]))
    weights[V] = 0
    found = []
    for sigma in (1.0, 0.3):
        query = make("maxherding")
        if sigma != 1:  # the YAML file's
            query.sigma = sigma  # type: ignore[attr-defined]
        found.append(ask(query, *pool, 8)[0].indices.tolist())
        assert found[-1] == slow_herding(np.exp(-((apart / sigma) ** 2)), weights, 8)
    assert found[0] != found[1]


def test_typiclust_has_a_cluster_for_each_label(pool: tuple[Classifier, Images]) -> None:
    """Twelve far groups, six of them labeled: six more labels are one of each other group."""
    _, images = pool
    groups = np.arange(60) % 12
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 9, (60, 1, 8, 8))
    pixels[np.arange(60), 0, groups // 8, groups % 8] = 250
    part = Part(images.train.ids, None, (1, 8, 8), torch.from_numpy(pixels).byte(), None)
    grouped = Images("fake", part, None, images.classes, "fake")
    chosen = ask(make("typiclust"), pool[0], grouped, 6)[0].indices
    assert sorted(groups[chosen]) == sorted(set(range(12)) - set(groups[L]))
