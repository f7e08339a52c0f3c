"""Features on the sphere, their exact distances, and what every selection of them holds."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LABELED = [None, [5], [3, 11, 7, 30]]
SEEDS = range(4)


def unit(points: np.ndarray) -> Tensor:
    points = np.asarray(points, dtype=np.float64)
    return torch.from_numpy(points / np.linalg.norm(points, axis=1, keepdims=True)).float()


def mixture(num: int, seed: int, dims: int = 8, classes: int = 5, twins: int = 0) -> Tensor:
    """Gaussians around random centers, on the sphere; the last `twins` repeat earlier samples."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(classes, dims))
    x = centers[rng.integers(0, classes, num)] + 0.5 * rng.normal(size=(num, dims))
    x[num - twins :] = x[rng.integers(0, num - twins, twins)]
    return unit(x)


def distances(features: Tensor) -> np.ndarray:
    """Exact at duplicates: differences first."""
    x = features.double().numpy()
    return np.array([[math.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])


def tensor(labeled: list[int] | None) -> Tensor | None:
    return None if labeled is None else torch.tensor(labeled)


def check(picks: Tensor, budget: int, labeled: list[int] | None, num: int) -> None:
    assert picks.dtype == torch.int64
    assert picks.shape == (budget,)
    assert len(set(picks.tolist()) - set(labeled or [])) == budget
    assert 0 <= int(picks.min()) <= int(picks.max()) < num
