"""Random images with edges and flat regions, for tests of views."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def make_images(n: int, channels: int = 3, side: int = 16, width: int = 0) -> Tensor:
    """Blocks of random color under noise, for edges and flat regions both."""
    generator = torch.Generator().manual_seed(n)
    shape = (n, channels, side, width or side)
    blocks = torch.rand((n, channels, 4, 4), generator=generator)
    blocks = torch.nn.functional.interpolate(blocks, shape[2:])
    noise = 0.1 * torch.rand(shape, generator=generator)
    return (255 * (0.9 * blocks + noise)).round().to(torch.uint8)


def floats(n: int, channels: int = 3, side: int = 16, width: int = 0) -> Tensor:
    return make_images(n, channels, side, width).float() / 255
