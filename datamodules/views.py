"""Views of images for pretext training and scoring: crops, flips, blur, rotations, color jitter.

Whole batches on their device, with parameters of its own for every sample and no loop over samples.
Images enter as (N, C, H, W) uint8, or float32 in [0, 1], with C = 1 or 3, and leave as float32 in
[0, 1]. Every view is a function of (seed, sample index): on one device a sample gets the same view,
bit for bit, in any batch, order and batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from datamodules import color
from datamodules.draws import uniform
from datamodules.transforms import (
    BLUR_SIGMA,
    blur,
    blur_kernel,
    random_flip,
    resized_crop,
    to_float,
)


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
    its authors train on CIFAR-10; the study lists blur, which its code does not have. On images of
    one channel the jitter is of brightness and contrast.

    Args:
        crop_scale: smallest area of a crop; the paper has 0.08, most CIFAR code 0.2.
        flip: whether to mirror half of the views; not for digits and letters.
        jitter: strength of brightness, contrast and saturation; the hue turns by a quarter of it.
        gray: share of the views that lose their color.
    """

    LANES = 11  # crop 4, flip, jitter 5, gray
    JITTERED = 0.8  # share of the views

    def __init__(
        self,
        crop_scale: float = 0.2,
        flip: bool = True,
        jitter: float = 0.4,
        gray: float = 0.2,
    ):
        _check_share("crop_scale", crop_scale, 0.01)
        _check_share("jitter", jitter)
        _check_share("gray", gray)
        self.crop_scale, self.flip, self.jitter, self.gray = crop_scale, flip, jitter, gray

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        draws = torch.cat(uniform(seed, indices, 2 * self.LANES).split(self.LANES, dim=1))
        flip = draws[:, 4] if self.flip else None
        views = images.repeat(2, 1, 1, 1)
        views = resized_crop(views, draws, (self.crop_scale, 1.0), flip=flip)
        if self.jitter:
            views = color.jitter(views, draws[:, 5:10], self.jitter, self.JITTERED)
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
