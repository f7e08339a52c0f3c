"""Exact distances between unit-length features, in blocks: no N x N matrix is ever stored.

Coordinates are rounded to multiples of 2^-24 (float32's own step next to 1) and multiplied in
float64. At unit length every inner product and squared distance is then free of rounding: the same
in any block and on any device, zero between duplicates, and ties are true ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 512  # rows
TILE = (1024, 2**14)  # rows and columns of all pairs at once: 128 MiB of float64
WITHOUT_FLOAT64 = "mps"


def exact_device(kind: str) -> str:
    """The device, or the CPU for one without float64."""
    return "cpu" if kind == WITHOUT_FLOAT64 else kind


def where_exact(tensor: Tensor) -> Tensor:
    """The tensor where it is, or on the CPU if its device has no float64."""
    return tensor.cpu() if tensor.device.type == WITHOUT_FLOAT64 else tensor


def exact(features: Tensor) -> Tensor:
    """Rows in float64, rounded to multiples of 2^-24, so that their products are exact."""
    copied = features.to(torch.float64, copy=True)  # one, and never the caller's own
    return copied.mul_(2.0**24).round_().mul_(2.0**-24)


def block_rows(centers: Tensor) -> int:
    """How many samples are held to all centers at once: 32 or more, and at most BLOCK on CPUs.

    Their distances fill 8 MiB there, where caches count, and 128 MiB elsewhere, where launches do.
    """
    cells, most = (2**20, BLOCK) if centers.device.type == "cpu" else (2**24, 2**14)
    return max(32, min(most, cells // max(len(centers), 1)))


def squared_distances(
    x: Tensor,
    y: Tensor,
    norms: Tensor | None = None,
    memory: Tensor | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """(A, B) squared distances of exact rows; `norms` are the squared ones of `y` if known.

    They are written to `memory`, one-dimensional, where they fit: a heap that is given large
    blocks of changing sizes again and again grows. `own` are the squared norms of `x` if known.
    """
    norms, cells, out = squared_norms(y) if norms is None else norms, len(x) * len(y), None
    if memory is not None and cells <= len(memory):
        out = memory[:cells].view(len(x), len(y))
    products = torch.addmm(norms, x, y.T, alpha=-2, out=out)
    own = squared_norms(x) if own is None else own
    return products.add_(own[:, None]).clamp_(min=0)


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


def tiles(
    features: Tensor, *, products: bool = False, twice: bool = True
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and their squared distances, or inner products, for all pairs of samples.

    Each tile, of at most TILE, is written over the last one.

    Args:
        twice: False leaves out the tiles whose pairs are all the mirror image of another tile's.
    """
    x = exact(features)
    norms = torch.cat([squared_norms(part) for part in x.split(BLOCK)])
    height, width = (min(len(x), side) for side in TILE)
    memory = x.new_empty(height * width)
    for rows in _slices(len(x), height):
        for columns in _slices(len(x), width):
            if columns.stop <= rows.start and not twice:
                continue
            a, b = x[rows], x[columns]
            if products:
                tile = torch.mm(a, b.T, out=memory[: len(a) * len(b)].view(len(a), len(b)))
            else:
                tile = squared_distances(a, b, norms[columns], memory, norms[rows])
            yield rows, columns, tile


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def nearest_neighbors(features: Tensor, k: int) -> Tensor:
    """(N, k) int64, each sample's k nearest others by inner product, nearest first.

    A duplicate of the sample may be among them, the sample itself never; which of equally near ones
    is undefined. AssertionError unless k < N.
    """
    return nearest(features, k, products=True)[1]


def nearest(features: Tensor, k: int, *, products: bool = False) -> tuple[Tensor, Tensor]:
    """(N, k) squared distances, or inner products, of each sample and its k nearest others, nearest
    first; and (N, k) which these are. AssertionError unless k < N.
    """
    assert 0 < k < len(features), f"{k} neighbors of {len(features)} samples"
    farthest = -math.inf if products else math.inf
    values = features.new_full((len(features), k), farthest, dtype=torch.float64)
    samples = torch.zeros_like(values, dtype=torch.int64)
    for rows, columns, tile in tiles(features, products=products):
        tile.diagonal(rows.start - columns.start).fill_(farthest)
        new, place = tile.topk(min(k, tile.shape[1]), largest=products)
        values[rows], order = torch.cat([values[rows], new], 1).topk(k, largest=products)
        place = torch.cat([samples[rows], place + columns.start], 1)
        samples[rows] = place.gather(1, order)
    return values, samples


def purity_radius(features: Tensor, clusters: Tensor, purity: float = 0.95) -> float:
    """ProbCover's delta: the largest for which a share `purity` of the balls is pure.

    A ball {j: dist(i, j) < delta} is pure if all in it have the pseudo-label (N,) of its center,
    that is, if delta is at most the distance to the nearest sample of another one: the answer is an
    order statistic of these distances. Infinite where all samples have one pseudo-label.
    """
    assert 0 < purity <= 1, f"a purity of {purity}"
    other = features.new_full((len(features),), math.inf, dtype=torch.float64)
    for rows, columns, tile in tiles(features, twice=False):
        tile.masked_fill_(clusters[rows, None] == clusters[columns], math.inf)
        for side, dim in ((rows, 1), (columns, 0)):
            other[side] = torch.minimum(other[side], tile.amin(dim))
    count = math.ceil(purity * len(features) - 1e-9)
    squared = float(other.topk(count).values[-1])
    root = math.sqrt(squared)
    return root if root * root <= squared else math.nextafter(root, 0)


def smallest_distance(features: Tensor) -> float:
    """The smallest Euclidean distance above 0 of two rows; 1 where there are none."""
    smallest = features.new_full((), math.inf, dtype=torch.float64)
    for _, _, tile in tiles(features, twice=False):
        smallest = torch.minimum(smallest, tile.masked_fill_(tile <= 0, math.inf).amin())
    return math.sqrt(float(smallest)) if smallest.isfinite() else 1.0
