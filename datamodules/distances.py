"""Exact distances between unit-length features, in blocks: no N x N matrix is ever stored.

Coordinates are rounded to multiples of 2^-24 (float32's own step next to 1) and multiplied in
float64. At unit length every inner product and squared distance is then free of rounding: the same
in any block and on any device, zero between duplicates, and ties are true ties.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK = 512  # rows
WITHOUT_FLOAT64 = "mps"


def exact_device(kind: str) -> str:
    """The device, or the CPU for one without float64."""
    return "cpu" if kind == WITHOUT_FLOAT64 else kind


def where_exact(tensor: Tensor) -> Tensor:
    """The tensor where it is, or on the CPU if its device has no float64."""
    return tensor.cpu() if tensor.device.type == WITHOUT_FLOAT64 else tensor


def exact(features: Tensor) -> Tensor:
    """Rows in float64, on the grid on which their products are exact."""
    return features.double().mul_(2.0**24).round_().mul_(2.0**-24)


def exact_blocks(features: Tensor) -> Iterator[Tensor]:
    """Exact rows, BLOCK at a time."""
    return map(exact, features.split(BLOCK))


def row_blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Positions, so many at once that a row for each is 128 MiB of float64."""
    return torch.arange(len(x), device=x.device).split(max(1, 2**24 // len(x)))


def block_rows(centers: Tensor) -> int:
    """How many samples are held to all centers at once: 32 or more, and at most BLOCK on CPUs.

    Their distances fill 8 MiB there, where caches count, and 128 MiB elsewhere, where launches do.
    """
    cells, most = (2**20, BLOCK) if centers.device.type == "cpu" else (2**24, 2**14)
    return max(32, min(most, cells // max(len(centers), 1)))


def squared_distances(
    x: Tensor, y: Tensor, norms: Tensor | None = None, memory: Tensor | None = None
) -> Tensor:
    """(A, B) squared distances of exact rows; `norms` are the squared ones of `y` if known.

    They are written to `memory`, one-dimensional, where they fit: a heap that is given large
    blocks of changing sizes again and again grows.
    """
    norms, cells, out = squared_norms(y) if norms is None else norms, len(x) * len(y), None
    if memory is not None and cells <= len(memory):
        out = memory[:cells].view(len(x), len(y))
    products = torch.addmm(norms, x, y.T, alpha=-2, out=out)
    return products.add_(squared_norms(x)[:, None]).clamp_(min=0)


def bounds_to_nearest(features: Tensor, centers: Tensor) -> Tensor:
    """(N,) float64 upper bounds of the squared distances to the nearest of the exact `centers`.

    Products are float32, in one buffer: for GPUs without fast float64 a matter of 32 times or more.
    What rounding can amount to is added, (D + 8) units in the last place of the squared norms.
    """
    bounds, norms = centers.new_empty(len(features)), squared_norms(centers)
    unit = 2.0**-24 if torch.get_float32_matmul_precision() == "highest" else 2.0**-8
    slack, largest = (features.shape[1] + 8) * unit, norms.max()
    rough, rough_norms = centers.float().T, norms.float()
    rows = block_rows(centers)
    buffer = rough.new_empty(min(rows, len(features)), len(centers))
    for part, out in zip(features.split(rows), bounds.split(rows), strict=True):
        x = exact(part)
        with torch.autocast(x.device.type, enabled=False):
            products = torch.addmm(rough_norms, x.float(), rough, alpha=-2, out=buffer[: len(x)])
        own = squared_norms(x)
        out.copy_(products.amin(1)).add_(own).add_(own + largest, alpha=slack)
    return bounds


def squared_norms(x: Tensor) -> Tensor:
    return x.square().sum(1)


def nearest_neighbors(features: Tensor, k: int) -> Tensor:
    """(N, k) int64, each sample's k nearest others by inner product, nearest first.

    A duplicate of the sample may be among them, the sample itself never; which of equally near ones
    is undefined. AssertionError unless k < N.
    """
    assert 0 < k < len(features), f"{k} neighbors of {len(features)} samples"
    return torch.cat([indices for _, indices in nearest(features, k, lambda x, y: x @ y.T)])


def nearest(
    features: Tensor, k: int, similarity: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of (n, k) similarities, descending, and of the samples they belong to."""
    x = exact(features)
    for block in row_blocks(x):
        values = similarity(x[block], x)
        values[torch.arange(len(block), device=x.device), block] = -math.inf
        yield values.topk(k)


def purity_radius(features: Tensor, clusters: Tensor, purity: float = 0.95) -> float:
    """ProbCover's delta: the largest for which a share `purity` of the balls is pure.

    A ball {j: dist(i, j) < delta} is pure if all in it have the pseudo-label (N,) of its center,
    that is, if delta is at most the distance to the nearest sample of another one: the answer is an
    order statistic of these distances. Infinite if too few samples have such a neighbor.
    """
    assert 0 < purity <= 1, f"a purity of {purity}"
    x, found = exact(features), []
    for block in row_blocks(x):
        same = clusters[block, None] == clusters
        found.append(squared_distances(x[block], x).masked_fill_(same, math.inf).amin(1))
    count = math.ceil(purity * len(features) - 1e-9)
    squared = float(torch.cat(found).topk(count).values[-1])
    root = math.sqrt(squared)
    return root if root * root <= squared else math.nextafter(root, 0)


def smallest_distance(features: Tensor) -> float:
    """The smallest Euclidean distance above 0 of two rows; 1 where there are none."""
    x, smallest = exact(features), math.inf
    for rows in row_blocks(x):
        squared = squared_distances(x[rows], x)
        smallest = min(smallest, float(squared.masked_fill_(squared <= 0, math.inf).min()))
    return math.sqrt(smallest) if math.isfinite(smallest) else 1.0
