"""The strong augmentation of SCAN's self-labeling step, on whole batches.

Van Gansbeke et al. 2020, "SCAN: Learning to Classify Images without Labels", after RandAugment
(Cubuk et al. 2020); the operations and their ranges are those of the authors' `data/augment.py`
(https://github.com/wvangansbeke/Unsupervised-Classification). Where this differs from it:

- A sample's geometric operations become one affine map, which is applied after its color
  operations. Black corners thus stay out of histograms and means, and stay black.
- Images stay float32 between operations, and are sampled bilinearly, once; PIL rounds to 256
  levels after each operation and takes the nearest pixel.
- The hole is `side` pixels wide; the authors' is 2 (side // 2), none for one pixel.
- Their RandomCrop(32) of 32-pixel images does nothing and is left out. The initial-pools study's
  code has random resized crops instead (areas of .08 to 1), and holes of up to 16 pixels on all of
  its data; here they are of up to half a side, which is 32 on Tiny ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import radians

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.draws import uniform
from datamodules.recolor import OPERATIONS, Color, color_of, recolor, where_named
from datamodules.transforms import to_float

ANGLE = radians(30)  # rotate: up to this, either way
SHEAR = 0.1  # pixels along for each pixel across, either way
SHIFT = 0.1  # translate: share of the side, either way


def affine(operation: Tensor, level: Tensor, height: int, width: int) -> Tensor:
    """(..., N) numbers and levels -> (..., N, 3, 3), from a pixel of the result to its source.

    In pixels around the center of the image; the identity for operations of color. Shears keep the
    first row or column in place, as PIL's do.
    """
    chosen, signed = where_named(operation), 2 * level - 1
    angle, shear, shift = signed * ANGLE * chosen["rotate"], signed * SHEAR, signed * SHIFT
    along_x, along_y = (shear * chosen[f"shear_{axis}"] for axis in "xy")
    shift_x, shift_y = (shift * chosen[f"translate_{axis}"] for axis in "xy")
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(level), torch.ones_like(level)
    entries = [
        cos, along_x - sin, shift_x * width + along_x * height / 2,
        along_y + sin, cos, shift_y * height + along_y * width / 2,
        zero, zero, one,
    ]  # fmt: skip
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def compose(first: Tensor, second: Tensor) -> Tensor:
    """(N, 3, 3) of `first`, then `second`; not a matrix product, which may be TF32 on a GPU."""
    return (first[:, :, :, None] * second[:, None, :, :]).sum(dim=2)


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Bilinear samples of (N, C, H, W) where the (N, 3, 3) `maps` of `affine` look; else black."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    a = maps[:, :2, :, None, None]
    column, row = ((a[:, i, 0] * x + a[:, i, 1] * y).add_(a[:, i, 2]) for i in (0, 1))
    grid = torch.stack([column * (2 / width), row * (2 / height)], dim=3)
    return F.grid_sample(images, grid, align_corners=False).clamp_(0, 1)


def cut_out(images: Tensor, draws: Tensor, largest: int, fill: Tensor) -> Tensor:
    """A square hole around a random pixel, cut at the border (DeVries and Taylor 2017).

    Args:
        images: (N, C, H, W) float32.
        draws: (N, 3) uniform on [0, 1): side (1 to `largest` pixels), row and column of the center.
        fill: (1, C or 1, 1, 1), the value in the hole.
    """
    side = (draws[:, 0:1] * largest).floor() + 1

    def inside(draw: Tensor, length: int) -> Tensor:
        start = (draw * length).floor() - (side / 2).floor()
        pixels = torch.arange(length, device=images.device)
        return (pixels >= start) & (pixels < start + side)

    rows, columns = inside(draws[:, 1:2], images.shape[2]), inside(draws[:, 2:3], images.shape[3])
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], fill, images)


class StrongViews:
    """Strong view of each image: flip, `ops` random operations, cutout. (N, C, H, W) to the same.

    Args:
        flip: whether to mirror half of the images left to right.
        ops: operations for each image, drawn with replacement, uniformly from `OPERATIONS`.
        cutout: largest side of the hole, as a share of the image's; 0 for none.
        fill: in the hole, one value or one for each channel, in 0 to 1. The paper's is the mean of
            the data, 0 after normalization.
    """

    def __init__(
        self,
        flip: bool = True,
        ops: int = 4,
        cutout: float = 0.5,
        fill: float | Sequence[float] = 0.5,
    ):
        if ops < 0 or not 0 <= cutout <= 1:
            raise ValueError(f"ops must be 0 or more and cutout in [0, 1], not {ops} and {cutout}")
        self.flip, self.ops, self.cutout = flip, ops, cutout
        levels = [fill] if isinstance(fill, int | float) else list(fill)
        if not all(0 <= level <= 1 for level in levels):
            raise ValueError(f"fill must be in [0, 1], not {fill}")
        self.fill = torch.tensor(levels, dtype=torch.float32).view(1, -1, 1, 1)

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        draws = uniform(seed, indices, 8 + 2 * self.ops)  # unused 4, flip, cutout 3, operations
        images = to_float(images)
        operations = (draws[:, 8 : 8 + self.ops] * len(OPERATIONS)).long()
        images = self._operate(images, operations, draws[:, 8 + self.ops :], draws[:, 4])
        if not self.cutout:
            return images
        if self.fill.device != images.device:
            self.fill = self.fill.to(images.device)
        largest = max(1, int(self.cutout * min(images.shape[2:])))
        return cut_out(images, draws[:, 5:8], largest, self.fill)

    def _operate(self, images: Tensor, operations: Tensor, levels: Tensor, flip: Tensor) -> Tensor:
        """The operations (N, ops), at levels (N, ops) in [0, 1), after the flip (N,) in [0, 1)."""
        _, channels, height, width = images.shape
        operations, levels = operations.T.contiguous(), levels.T.contiguous()  # (ops, N)
        for step in zip(*color_of(operations, levels, channels), strict=True):
            images = recolor(images, Color(*step))
        maps = torch.eye(3, device=images.device).repeat(len(images), 1, 1)
        if self.flip:
            maps[:, 0, 0] = torch.where(flip < 0.5, -1.0, 1.0)
        for step in affine(operations, levels, height, width):
            maps = compose(maps, step)
        return warp(images, maps)
