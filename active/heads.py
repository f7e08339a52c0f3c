"""Leading components of many vectors, which bound their inner products at a fraction of the cost.

Legend: N vectors, D coordinates, r components.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.distances import block_rows

SAMPLE = 2048  # vectors of which the components are found
FEWEST = 32  # components; or twice, four times as many, to a quarter of the coordinates
LEFT = 0.05  # of the sample's squared norms, at most, that they leave out


class Heads(NamedTuple):
    """x.y is the product of the heads, but for at most that of the tails (Cauchy-Schwarz)."""

    rows: Tensor  # (N, r) float32
    tails: Tensor  # (N, 1) float32, norms of what the components leave, not below the true ones


def pays(count: int, size: int, budget: int) -> bool:
    """Whether heads cost far less than `budget` products of (N, D) vectors without them."""
    return budget * count > 64 * size**2 and torch.get_float32_matmul_precision() == "highest"


def heads_of(unit: Callable[[slice], Tensor], count: int) -> Heads | None:
    """Of the N vectors, at most of unit length, that `unit` gives in float32, by slices.

    Pretext features, and those of trained classifiers, lie close to a few dozen directions; None
    where many would be needed.
    """
    basis = _basis(unit(slice(0, count, max(1, count // SAMPLE))))
    if basis is None:
        return None
    heads, tails, size = [], [], block_rows(basis.T)
    rounding = 4 * (len(basis) + 16) * 2.0**-24
    for start in range(0, count, size):
        vectors = unit(slice(start, start + size))
        heads.append(vectors @ basis)
        rest = vectors.square().sum(dim=1) - heads[-1].square().sum(dim=1)
        tails.append(rest.clamp_(min=0).add_(rounding).sqrt_())
    return Heads(torch.cat(heads), torch.cat(tails)[:, None])


def _basis(sample: Tensor) -> Tensor | None:
    """(D, r) orthonormal columns."""
    values, vectors = torch.linalg.eigh(sample.T @ sample)  # ascending
    left = (values.clamp(min=0).cumsum(0) / values.sum()).tolist()
    rank = FEWEST
    while rank <= len(left) // 4:
        if left[-rank - 1] <= LEFT:
            return vectors[:, -rank:].float().contiguous()
        rank *= 2
    return None
