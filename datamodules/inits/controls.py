"""Controls: pools that copy one property of another and must not do better for any other reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.initial import Candidates, Init, rank_within
from datamodules.inits.scores import finite_scores, highest_first
from datamodules.seeds import Seeds

BLOCK = 4096  # images whose pixels are looked at together


class ShuffledScores(Init):
    """The hardest by scores that were permuted among the candidates: a second random pool.

    The A/A control: it shares no draw with the random pool of the same seed, so that a test that
    tells the two apart too often is wrong.
    """

    reads = "scores"

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates; UserError where scores are missing or not finite."""
        own = independent(seed, 1)
        scores = finite_scores(candidates)
        shuffled = np.empty_like(scores)
        shuffled[random_order(own, candidates.indices)] = scores[candidates.indices]
        return highest_first(shuffled, candidates.indices, own)[:budget]


class HistogramInit(Init):
    """Random members with the class histogram of another init's pool.

    Whether a pool's classes explain what it does. Sample i of the pool has the class of sample i
    of the other, so that the histograms of the first samples agree as well. Members are drawn
    independently of the other's and may coincide by chance. It reads all labels: a reference.
    """

    needs_labels: ClassVar[bool] = True

    def __init__(self, of: Any):
        if not isinstance(of, Init):
            raise ValueError(f"of must be another init, not {of!r}")
        self.of = of
        self.reads = of.reads

    @property
    def chain(self) -> list[Init]:
        return [self, *self.of.chain]

    @property
    def fingerprint(self) -> str:
        return self.of.fingerprint

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates; UserError where the data set has no labels."""
        if candidates.labels is None:
            raise UserError("init histogram needs the labels of all samples; here are none")
        seen = candidates if self.of.needs_labels else replace(candidates, labels=None)
        wanted = candidates.labels[self.of(seen, budget, seed)]
        order = random_order(independent(seed, 2), candidates.indices)
        members = order[np.argsort(candidates.labels[order], kind="stable")]
        first = np.searchsorted(candidates.labels[members], wanted)
        return members[first + rank_within(wanted)]


class PixelFloor(Init):
    """The images with the most energy outside [-1, 1]: mean over pixels of max(|x| - 1, 0)^2.

    What a decoder that ends in tanh can never reconstruct of a standardized image, trained or not.
    The published VAE of "On Initial Pools for Deep Active Learning" (Chandra et al., 2021,
    https://proceedings.mlr.press/v148/chandra21a.html) had one, so that its squared errors were at
    least this; ours ends linearly. No model is trained.
    """

    reads = "pixels"

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates, the largest first; ties at random by `seed`."""
        assert candidates.pixels is not None
        indices = candidates.indices
        scores = np.zeros(indices.max() + 1)
        scores[indices] = pixel_floor(candidates.pixels, indices)
        return highest_first(scores, indices, seed)[:budget]


def pixel_floor(pixels: Callable[[np.ndarray], np.ndarray], indices: np.ndarray) -> np.ndarray:
    """(M,) float64 of the images `pixels(indices)` (M, C, H, W): mean of max(|x| - 1, 0)^2."""
    floors = np.empty(len(indices))
    for start in range(0, len(indices), BLOCK):
        excess = np.abs(pixels(indices[start : start + BLOCK]))
        np.maximum(excess - 1, 0, out=excess)
        floors[start : start + BLOCK] = np.square(excess, out=excess).mean(
            axis=(1, 2, 3), dtype=np.float64
        )
    return floors


def independent(seed: int, key: int) -> int:
    """A seed whose draws have nothing to do with those of `seed` or of another key."""
    return Seeds(init=seed).stream("init", key)
