"""The color operations of the strong augmentation, each with its own strength for every sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.color import luma, mean_luma

# Draws name an operation by its place here.
OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "color", "contrast",
    "brightness", "sharpness", "shear_x", "translate_x", "translate_y", "posterize", "shear_y",
)  # fmt: skip
BLEND = (0.05, 0.95)  # factor of color, contrast, brightness and sharpness
BITS = (4, 8)  # posterize keeps 4 to 7: the authors truncate a number below 8


def where_named(operation: Tensor) -> dict[str, Tensor]:
    """Where operation numbers, of any shape, are of each name: float32 of that shape, 1 or 0."""
    numbers = torch.arange(len(OPERATIONS), device=operation.device)
    chosen = (operation == numbers.view(-1, *(1,) * operation.dim())).float()
    return dict(zip(OPERATIONS, chosen, strict=True))


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
    chosen = where_named(operation)
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
