"""Views of images for pretext training and scoring: crops, flips, blur, rotations, color jitter.

Whole batches on their device, with parameters of its own for every sample and no loop over samples.
Images enter as (N, C, H, W) uint8, or float32 in [0, 1], with C = 1 or 3, and leave as float32 in
[0, 1]. Every view is a function of (seed, sample index): on one device a sample gets the same view,
bit for bit, in any batch, order and batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import color
from datamodules.draws import uniform

RATIO = (3 / 4, 4 / 3)  # width / height of a random crop, torchvision's default
BLUR_SIGMA = (0.1, 2.0)  # pixels, SimCLR's range


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 / 255; float32 as it is."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def crop_boxes(
    draws: Tensor,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = RATIO,
) -> Tensor:
    """torchvision's RandomResizedCrop boxes: (N, 4) draws -> (N, 4) top, left, height, width.

    The area is uniform in `scale` (a share of the image), width / height log-uniform in `ratio`,
    the position uniform; whole pixels. A side that does not fit into the image is cut to it, where
    torchvision draws again, up to ten times, then takes a centered crop. That favors small crops:
    from 20 to 100 % of the area its crops have 55 % on average, these 59 %.
    """
    area = (scale[0] + (scale[1] - scale[0]) * draws[:, 0]) * (height * width)
    aspect = (log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * draws[:, 1]).exp()
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
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return images.clamp_(0, 1)


def resized_crop(
    images: Tensor,
    draws: Tensor,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = RATIO,
    flip: Tensor | None = None,
) -> Tensor:
    """Random crop, resized to the image's size: torchvision's RandomResizedCrop, see `crop_boxes`.

    Args:
        images: (N, C, H, W) uint8, or float32 in [0, 1].
        draws: (N, 4) uniform on [0, 1): area, ratio, row, column.
        scale: smallest and largest area of a crop, as a share of the image.
        ratio: smallest and largest width / height.
        flip: (N,) uniform on [0, 1), to mirror a sample with probability 1/2; None: no mirroring.
    """
    boxes = crop_boxes(draws, images.shape[2], images.shape[3], scale, ratio)
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


def _check_share(name: str, value: float, low: float = 0.0) -> None:
    if not low <= value <= 1:
        raise ValueError(f"{name} must be in [{low}, 1], not {value}")


class CropFlipViews:
    """One view of each image, (N, C, H, W) -> (N, C, H, W): random resized crop and flip.

    Args:
        scale: smallest area of the crop, as a share of the image; None: no crop.
        flip: whether to mirror half of the images left to right.
    """

    def __init__(self, scale: float | None = 0.2, flip: bool = True):
        if scale is not None:
            _check_share("scale", scale, 0.01)
        self.scale, self.flip = scale, flip

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        draws = uniform(seed, indices, 5)
        if self.scale is not None:
            flip = draws[:, 4] if self.flip else None
            return resized_crop(images, draws, (self.scale, 1.0), flip=flip)
        images = to_float(images)
        return random_flip(images, draws[:, 4]) if self.flip else images


class SimCLRViews:
    """Two views of each image (SimCLR, Chen et al. 2020): crop, flip, color jitter, gray.

    (N, C, H, W) -> (2N, C, H, W): the first view of all, then the second of all. Without blur, as
    the paper trains on CIFAR-10. On one-channel images the jitter is of brightness and contrast.

    Args:
        crop_scale: smallest area of a crop; the paper has 0.08, most CIFAR code 0.2.
        flip: whether to mirror half of the views; not for digits and letters.
        jitter: strength of brightness, contrast and saturation; the hue turns by a quarter of it.
        jitter_probability: share of the views that are jittered.
        gray: share of the views that lose their color.
    """

    LANES = 11  # crop 4, flip, jitter 5, gray

    def __init__(
        self,
        crop_scale: float = 0.2,
        flip: bool = True,
        jitter: float = 0.4,
        jitter_probability: float = 0.8,
        gray: float = 0.2,
    ):
        _check_share("crop_scale", crop_scale, 0.01)
        for name, value in (("jitter_probability", jitter_probability), ("gray", gray)):
            _check_share(name, value)
        _check_share("jitter", jitter)
        self.crop_scale, self.flip, self.jitter = crop_scale, flip, jitter
        self.jitter_probability, self.gray = jitter_probability, gray

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        draws = torch.cat(uniform(seed, indices, 2 * self.LANES).split(self.LANES, dim=1))
        flip = draws[:, 4] if self.flip else None
        views = images.repeat(2, 1, 1, 1)
        views = resized_crop(views, draws, (self.crop_scale, 1.0), flip=flip)
        if self.jitter:
            views = color.jitter(views, draws[:, 5:10], self.jitter, self.jitter_probability)
        return color.grayscale(views, draws[:, 10] < self.gray) if self.gray else views


class FixedViews:
    """The same named views at every call, for scores: (N, C, H, W) -> (names, N, C, H, W).

    Each name has draws of its own, so a view does not depend on the other names. The views:

    - flip: mirrored left to right.
    - blur: Gaussian, sigma uniform in 0.1 to 2 pixels, kernel a tenth of the side.
    - jitter: `color.jitter` of strength `jitter`, always applied.
    - gray: without color; a one-channel image stays as it is.
    - crop: one resized crop of at least `crop_scale` of the area.
    """

    def __init__(self, names: Sequence[str], jitter: float = 0.4, crop_scale: float = 0.2):
        # The number is the first column of the draws: moving one changes every score made with it.
        views: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
            "flip": (0, self._flip),
            "gray": (0, self._gray),
            "blur": (0, self._blur),
            "jitter": (1, self._jitter),
            "crop": (6, self._crop),
        }
        if not names or any(name not in views for name in names):
            raise ValueError(f"views must be among {sorted(views)}, not {list(names)}")
        _check_share("jitter", jitter)
        _check_share("crop_scale", crop_scale, 0.01)
        self.names, self.jitter, self.crop_scale = tuple(names), jitter, crop_scale
        self._views = [views[name] for name in names]

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        images, draws = to_float(images), uniform(seed, indices, 10)
        return torch.stack([view(images, draws[:, lane:]) for lane, view in self._views])

    def _flip(self, images: Tensor, draws: Tensor) -> Tensor:
        return images.flip(3)

    def _gray(self, images: Tensor, draws: Tensor) -> Tensor:
        return color.grayscale(images, torch.ones_like(draws[:, 0]))

    def _blur(self, images: Tensor, draws: Tensor) -> Tensor:
        sigma = BLUR_SIGMA[0] + (BLUR_SIGMA[1] - BLUR_SIGMA[0]) * draws[:, 0]
        return blur(images, sigma, blur_kernel(min(images.shape[2:])))

    def _jitter(self, images: Tensor, draws: Tensor) -> Tensor:
        return color.jitter(images, draws, self.jitter)

    def _crop(self, images: Tensor, draws: Tensor) -> Tensor:
        return resized_crop(images, draws, (self.crop_scale, 1.0))
