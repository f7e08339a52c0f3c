"""Random numbers that belong to a sample, not to the order in which samples are met.

A generator hands out numbers in sequence, so what an image draws depends on its batch, on the
number of devices and on the workers. Here a draw is a hash of (seed, sample index): the same on any
device, in any order, at any batch size, and without a loop over samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


# splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts int64 arithmetically


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def random_bits(seed: int, indices: Tensor, num: int) -> Tensor:
    """(N,) int64 sample indices -> (N, num) int64 of 64 random bits each, on the same device."""
    lane = torch.arange(1, num + 1, device=indices.device)
    key = _mix(indices.long() * _GOLDEN + seed)
    return _mix(key[:, None] + lane * _GOLDEN)


def uniform(seed: int, indices: Tensor, num: int) -> Tensor:
    """(N,) int64 sample indices -> (N, num) float32, uniform on [0, 1) in steps of 2^-24."""
    return _shift(random_bits(seed, indices, num), 40).float() * 2.0**-24


def random_order(seed: int, indices: np.ndarray) -> np.ndarray:
    """`indices` in the order of one random priority for each (seed, sample).

    The order of a subset is the order of the whole, restricted to it: arms that share a seed pick
    mostly the same samples, and a smaller random pool lies inside a larger one.
    """
    indices = np.asarray(indices, dtype=np.int64)
    keys = random_bits(seed, torch.from_numpy(indices), 1)[:, 0].numpy()
    return indices[np.lexsort((indices, keys))]
