"""The strong augmentation of SCAN's self-labeling step, on whole batches.

Van Gansbeke et al. 2020, "SCAN: Learning to Classify Images without Labels", after RandAugment
(Cubuk et al. 2020); the operations and their ranges are those of the authors' `data/augment.py`
(https://github.com/wvangansbeke/Unsupervised-Classification). Where this differs from it:

- A sample's geometric operations become one affine map, which is applied after its color
  operations. Black corners thus stay out of histograms and means, and stay black.
- Images stay float32 between operations, and are sampled bilinearly, once; PIL rounds to 256
  levels after each operation and takes the nearest pixel.
- The hole is `side` pixels wide; the authors' is 2 (side // 2), none for one pixel.
- Their RandomCrop(32) of 32-pixel images does nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import radians
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.color import luma, mean_luma
from datamodules.draws import uniform
from datamodules.views import resized_crop, to_float

# Draws name an operation by its place here.
OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "color", "contrast",
    "brightness", "sharpness", "shear_x", "translate_x", "translate_y", "posterize", "shear_y",
)  # fmt: skip
ANGLE = radians(30)  # rotate: up to this, either way
SHEAR = 0.1  # pixels along for each pixel across, either way
SHIFT = 0.1  # translate: share of the side, either way
BLEND = (0.05, 0.95)  # factor of color, contrast, brightness and sharpness
BITS = (4, 8)  # posterize keeps 4 to 7: the authors truncate a number below 8


def _is(operation: Tensor) -> dict[str, Tensor]:
    """Where operation numbers, of any shape, are of each name: float32 of that shape, 1 or 0."""
    numbers = torch.arange(len(OPERATIONS), device=operation.device)
    chosen = (operation == numbers.view(-1, *(1,) * operation.dim())).float()
    return dict(zip(OPERATIONS, chosen, strict=True))


def affine(operation: Tensor, level: Tensor, height: int, width: int) -> Tensor:
    """(..., N) numbers and levels -> (..., N, 3, 3), from a pixel of the result to its source.

    In pixels around the center of the image; the identity for operations of color. Shears keep the
    first row or column in place, as PIL's do.
    """
    chosen, signed = _is(operation), 2 * level - 1
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


def equalize(images: Tensor) -> Tensor:
    """Equalize the histogram of 256 levels of each channel of each image, as PIL does.

    PIL's integer step is (pixels below the brightest level) // 255: channels of fewer than 255
    such pixels, so all images under 16 x 16, stay as they are.
    """
    levels = (images * 255).round_().long().flatten(2).flatten(0, 1)  # (N C, H W)
    ones = torch.ones((), dtype=torch.int32, device=images.device).expand(levels.shape)
    with _in_any_order():
        counts = ones.new_zeros(len(levels), 256).scatter_add_(1, levels, ones)
    brightest = counts.gather(1, levels.amax(dim=1, keepdim=True))
    step = (levels.shape[1] - brightest) // 255
    below = counts.cumsum(dim=1, dtype=torch.int32) - counts
    table = ((below + step // 2) // step.clamp_min(1)).clamp_(0, 255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device)) / 255
    return table.gather(1, levels).view_as(images)


@contextmanager
def _in_any_order() -> Iterator[None]:
    """For sums of integers, which have one result: the deterministic way on a GPU is a sort."""
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)


def _stretch(images: Tensor) -> tuple[Tensor, Tensor]:
    """autocontrast as gain and shift, (N, C) each; a channel of one value stays as it is."""
    low, high = images.amin(dim=(2, 3)), images.amax(dim=(2, 3))
    flat = low == high
    gain = 1 / torch.where(flat, 1.0, high - low)
    return gain, torch.where(flat, 0.0, -low * gain)


class Color(NamedTuple):
    """What color operations do, as float32 of any one shape, known before the pixels are."""

    gain: Tensor  # of the image: brightness, contrast and color
    shift: Tensor  # in mean lumas: contrast
    gray: Tensor  # in lumas: color
    blur: Tensor  # in sums of the pixels around: sharpness
    autocontrast: Tensor  # 1 or 0, like the next two
    equalize: Tensor
    posterize: Tensor
    levels: Tensor  # of posterize
    threshold: Tensor  # of solarize; 2, above every pixel, for all others


def color_of(operation: Tensor, level: Tensor, channels: int) -> Color:
    """Numbers of operations (place in `OPERATIONS`) and levels, of one shape -> their `Color`.

    A level is uniform on [0, 1), from the lowest to the highest value of the operation.
    """
    chosen = _is(operation)
    missing = 1 - (BLEND[0] + (BLEND[1] - BLEND[0]) * level)
    gray = chosen["color"] if channels == 3 else torch.zeros_like(missing)
    return Color(
        gain=1 - missing * (chosen["contrast"] + gray + chosen["brightness"]),
        shift=missing * chosen["contrast"],
        gray=missing * gray,
        blur=missing * chosen["sharpness"] / 13,
        autocontrast=chosen["autocontrast"],
        equalize=chosen["equalize"],
        posterize=chosen["posterize"],
        levels=(BITS[0] + (BITS[1] - BITS[0]) * level).floor().exp2(),
        threshold=torch.where(operation == OPERATIONS.index("solarize"), level, 2.0),
    )


def _blend(images: Tensor, color: Color) -> Tensor:
    """autocontrast, brightness, contrast, color and sharpness: gain x image + shift + (gray, blur).

    A sample of another operation stays as it is.
    """
    gain, shift = color.gain[:, None], (color.shift * mean_luma(images))[:, None]
    stretched, stretch = color.autocontrast[:, None], _stretch(images)
    gain, shift = gain.lerp(stretch[0], stretched), shift.lerp(stretch[1], stretched)
    result = (images * gain[:, :, None, None]).add_(shift[:, :, None, None])
    if images.shape[1] == 3:
        result.add_(luma(images) * color.gray.view(-1, 1, 1, 1))
    _add_blur(result, images, color.blur)
    return result.clamp_(0, 1)


def _add_blur(result: Tensor, images: Tensor, weight: Tensor) -> None:
    """Move `result` by 13 `weight` (N,) from `images` to their 3 x 3 blur, borders aside, as PIL.

    The kernel is 5 in the middle and 1 around, over 13: box / 13 less 9 / 13 of the pixel.
    """
    if min(images.shape[2:]) <= 2:
        return
    rows = (images[:, :, :-2] + images[:, :, 1:-1]).add_(images[:, :, 2:])
    box = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    result[inner].add_(box.sub_(images[inner], alpha=9).mul_(weight.view(-1, 1, 1, 1)))


def _posterize(images: Tensor, levels: Tensor) -> Tensor:
    levels = levels.view(-1, 1, 1, 1)
    return (images * levels).floor_().minimum(levels - 1).div_(levels)


def recolor(images: Tensor, color: Color) -> Tensor:
    """One color operation for each sample; operations of geometry leave it as it is.

    All are computed for all samples and one is selected: no branches, no wait for the device.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        color: of shape (N,).
    """
    result = _blend(images, color)
    result.lerp_(equalize(images), color.equalize.view(-1, 1, 1, 1))
    result.lerp_(_posterize(images, color.levels), color.posterize.view(-1, 1, 1, 1))
    return torch.where(images >= color.threshold.view(-1, 1, 1, 1), 1 - images, result)


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
        crop_scale: smallest area of a random resized crop before; None, as in the paper's code for
            small images: no crop.
        fill: in the hole, one value or one for each channel, in 0 to 1. The paper's is the mean of
            the data, 0 after normalization.
    """

    def __init__(
        self,
        flip: bool = True,
        ops: int = 4,
        cutout: float = 0.5,
        crop_scale: float | None = None,
        fill: float | Sequence[float] = 0.5,
    ):
        if ops < 0 or not 0 <= cutout <= 1:
            raise ValueError(f"ops must be 0 or more and cutout in [0, 1], not {ops} and {cutout}")
        if crop_scale is not None and not 0.01 <= crop_scale <= 1:
            raise ValueError(f"crop_scale must be in [0.01, 1], not {crop_scale}")
        self.flip, self.ops, self.cutout, self.crop_scale = flip, ops, cutout, crop_scale
        levels = [fill] if isinstance(fill, int | float) else list(fill)
        if not all(0 <= level <= 1 for level in levels):
            raise ValueError(f"fill must be in [0, 1], not {fill}")
        self.fill = torch.tensor(levels, dtype=torch.float32).view(1, -1, 1, 1)

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        draws = uniform(seed, indices, 8 + 2 * self.ops)  # crop 4, flip, cutout 3, operations
        images = to_float(images)
        if self.crop_scale is not None:
            images = resized_crop(images, draws, (self.crop_scale, 1.0))
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
