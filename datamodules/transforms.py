"""Crops, flips, blur and rotations of whole batches on their device, a parameter a sample.

Images enter as (N, C, H, W) uint8, or float32 in [0, 1], with C = 1 or 3, and leave as float32 in
[0, 1].
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

RATIO = (3 / 4, 4 / 3)  # width / height of a random crop, torchvision's default
BLUR_SIGMA = (0.1, 2.0)  # pixels, SimCLR's range


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 / 255; float32 as it is."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def crop_boxes(draws: Tensor, height: int, width: int, scale: tuple[float, float]) -> Tensor:
    """torchvision's RandomResizedCrop boxes: (N, 4) draws -> (N, 4) top, left, height, width.

    The area is uniform in `scale` (a share of the image), width / height log-uniform in `RATIO`,
    the position uniform; whole pixels. A side that does not fit into the image is cut to it, where
    torchvision draws again, up to ten times, then takes a centered crop. That favors small crops:
    from 20 to 100 % of the area its crops have 55 % on average, these 59 %.
    """
    area = (scale[0] + (scale[1] - scale[0]) * draws[:, 0]) * (height * width)
    aspect = (log(RATIO[0]) + (log(RATIO[1]) - log(RATIO[0])) * draws[:, 1]).exp()
    rows = (area / aspect).sqrt().round().clamp(1, height)
    columns = (area * aspect).sqrt().round().clamp(1, width)
    top = (draws[:, 2] * (height - rows + 1)).floor()
    left = (draws[:, 3] * (width - columns + 1)).floor()
    return torch.stack([top, left, rows, columns], dim=1)


def _positions(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Where `side` pixels over `length` pixels from `start` look: (N,) -> (N, side) coordinates.

    Clamped to the first and the last pixel of the cut-out, as in resizing it by itself.
    """
    length = length[:, None]
    pixels = torch.arange(side, device=start.device) + 0.5
    inside = (pixels * (length / side) - 0.5).clamp_min_(0).minimum(length - 1)
    return (2 * (inside + start[:, None]) + 1) / side - 1


def crop_resize(images: Tensor, boxes: Tensor, flipped: Tensor | None = None) -> Tensor:
    """Cut out a box of every image and resize it to the image's size, bilinearly.

    One grid_sample: on 2 cores 4 ms for (1024, 3, 32, 32), two batched matrix products take 6.

    Args:
        images: (N, C, H, W) float32.
        boxes: (N, 4) top, left, height, width in pixels.
        flipped: (N,) bool, whether to mirror the result left to right; None: no.
    """
    n, _, height, width = images.shape
    rows = _positions(boxes[:, 0], boxes[:, 2], height)
    columns = _positions(boxes[:, 1], boxes[:, 3], width)
    if flipped is not None:
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    shape = (n, height, width)
    grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], dim=3)
    # The grid stays between pixel centers, so that padding says nothing; MPS has no border.
    padding = "zeros" if images.device.type == "mps" else "border"
    images = F.grid_sample(images, grid, padding_mode=padding, align_corners=False)
    return images.clamp_(0, 1)


def resized_crop(
    images: Tensor, draws: Tensor, scale: tuple[float, float], flip: Tensor | None = None
) -> Tensor:
    """Random crop, resized to the image's size: torchvision's RandomResizedCrop, see `crop_boxes`.

    Args:
        images: (N, C, H, W) uint8, or float32 in [0, 1].
        draws: (N, 4) uniform on [0, 1): area, ratio, row, column.
        scale: smallest and largest area of a crop, as a share of the image.
        flip: (N,) uniform on [0, 1), to mirror a sample with probability 1/2; None: no mirroring.
    """
    boxes = crop_boxes(draws, images.shape[2], images.shape[3], scale)
    return crop_resize(to_float(images), boxes, None if flip is None else flip < 0.5)


def random_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror left to right where `draws` (N,), uniform on [0, 1), is below 1/2."""
    return torch.where((draws < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def blur_kernel(side: int) -> int:
    """SimCLR's kernel size in pixels for images of `side` pixels: a tenth, odd, at least 3."""
    return max(3, side // 10 | 1)


def blur(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Gaussian blur with reflected borders, torchvision's gaussian_blur for each sample.

    Args:
        images: (N, C, H, W) uint8, or float32 in [0, 1].
        sigma: (N,) in pixels, above 0.
        kernel: odd size of the kernel, in pixels.
    """
    if kernel % 2 == 0 or not 1 <= kernel < 2 * min(images.shape[2:]):
        raise ValueError(f"kernel must be odd and fit into the image, not {kernel}")
    offsets = torch.arange(kernel, device=images.device) - kernel // 2
    weights = (-((offsets / sigma[:, None]) ** 2) / 2).softmax(dim=1)
    margin = kernel // 2
    images = F.pad(to_float(images), (margin,) * 4, mode="reflect")
    for axis in (2, 3):
        taps = [images.narrow(axis, k, images.shape[axis] - 2 * margin) for k in range(kernel)]
        images = taps[0] * weights[:, 0].view(-1, 1, 1, 1)
        for k in range(1, kernel):
            images.addcmul_(taps[k], weights[:, k].view(-1, 1, 1, 1))
    return images.clamp_(0, 1)


def rotations(images: Tensor) -> Tensor:
    """All four turns by 90 degrees counterclockwise (Gidaris et al. 2018, RotNet).

    (N, C, H, H) -> (4N, C, H, H), rotation-major: row r N + n is image n turned r times.
    """
    if images.shape[2] != images.shape[3]:
        raise ValueError(f"rotations need square images, not {tuple(images.shape[2:])}")
    images = to_float(images)
    return torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(4)])
