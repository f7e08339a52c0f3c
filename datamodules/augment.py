"""Augmentation of whole batches on their device, with a different draw for every sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.draws import uniform


def crop_flip(images: Tensor, draws: Tensor, padding: int, flip: bool) -> Tensor:
    """Random crop after zero padding, then a random horizontal flip with probability 1/2.

    Args:
        images: (N, C, H, W) uint8; the padding is black, as pixels and not after normalization.
        draws: (N, 3) uniform on [0, 1): row offset, column offset, flip.
        padding: pixels on each side; 0 for no crop.
    """
    n, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(n, height)
    columns = torch.arange(width, device=images.device).expand(n, width)
    if flip:
        columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
    if padding:
        offsets = (draws[:, :2] * (2 * padding + 1)).long()
        rows, columns = rows + offsets[:, :1], columns + offsets[:, 1:]
        images = F.pad(images, (padding,) * 4)
    sample = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


class Augmenter:
    """Crop and flip of the classifier's training, by draws of (seed, epoch, sample index)."""

    def __init__(self, crop: int = 0, flip: bool = False):
        self.crop, self.flip = crop, flip

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        if not self.crop and not self.flip:
            return images
        return crop_flip(images, uniform(seed, indices, 3), self.crop, self.flip)


class Normalizer:
    """uint8 images -> float32, (x / 255 - mean) / std for each channel."""

    def __init__(self, mean: list[float], std: list[float]):
        self.scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(
            1, -1, 1, 1
        )

    def __call__(self, images: Tensor) -> Tensor:
        if self.scale.device != images.device:
            self.scale, self.shift = self.scale.to(images.device), self.shift.to(images.device)
        return torch.addcmul(self.shift, images.float(), self.scale)
