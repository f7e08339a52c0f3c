"""Color operations on whole batches, with a factor of its own for every sample.

Images are (N, C, H, W) float32 in [0, 1], C = 1 or 3, and stay so; factors are (N,). Each function
equals `torchvision.transforms.v2.functional`'s of the same name, which takes one factor for all.
Where torchvision leaves a one-channel image alone (saturation, hue), so do these.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # torchvision's rounding of ITU-R 601
_HUE_OFFSETS = (1 / 2, 1 / 6, -1 / 6)  # turns from red, green, blue to their opposite color


def luma(images: Tensor) -> Tensor:
    """Brightness as the eye weighs the channels: (N, C, H, W) -> (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def mean_luma(images: Tensor) -> Tensor:
    """Mean luma of each image: (N, C, H, W) -> (N,)."""
    means = images.mean(dim=(2, 3))
    if images.shape[1] == 1:
        return means[:, 0]
    return means[:, 0] * _LUMA[0] + means[:, 1] * _LUMA[1] + means[:, 2] * _LUMA[2]


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """images x factor; 0 is black, 1 the image itself."""
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or toward (below 1) the image's mean luma."""
    shift = mean_luma(images) * (1 - factor)
    return (images * factor.view(-1, 1, 1, 1)).add_(shift.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or toward (below 1) the image's own gray version."""
    if images.shape[1] == 1:
        return images
    factor = factor.view(-1, 1, 1, 1)
    return (images * factor).add_(luma(images).mul_(1 - factor)).clamp_(0, 1)


def grayscale(images: Tensor, weight: Tensor) -> Tensor:
    """Gray version, with C channels still, where `weight` (N,) is 1; the image where it is 0."""
    return adjust_saturation(images, 1 - weight.float())


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Turn the color circle by `factor` turns, -0.5 to 0.5, keeping HSV's saturation and value.

    A channel is `value - chroma x f(distance)`, where f rises from 0 to 1 as the hue comes within
    two sixths and one sixth of a turn of the channel's opposite color: HSV and back in one step,
    without the six cases, and exact in the same sense.
    """
    if images.shape[1] == 1:
        return images
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    hue = _hue(images, value, chroma) + factor.view(-1, 1, 1, 1)
    turned = torch.cat([hue + offset for offset in _HUE_OFFSETS], dim=1)
    distance = turned.sub_(turned.round()).abs_()
    return (value - distance.mul_(-6).add_(2).clamp_(0, 1).mul_(chroma)).clamp_(0, 1)


def _hue(images: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """(N, 1, H, W), in turns from red; 0 for gray."""
    red, green, blue = images.split(1, dim=1)
    sixths = torch.where(red == value, green - blue, red - green + 4 * chroma)
    between = (green == value).logical_and_(red != value)
    sixths = torch.where(between, blue - red + 2 * chroma, sixths)
    return sixths.div_(chroma.clamp_min(torch.finfo(torch.float32).tiny)).mul_(1 / 6)


def jitter(images: Tensor, draws: Tensor, strength: float, probability: float = 1.0) -> Tensor:
    """Random brightness, contrast, saturation and hue (SimCLR: Chen et al. 2020, appendix A).

    Always in this order. torchvision's ColorJitter permutes the four for each image; a batch of
    different orders would need either branches or all four operations at each of four places.
    A sample that is left alone has identity factors, and keeps its pixels up to rounding (1e-6).

    Args:
        images: (N, C, H, W) float32 in [0, 1]; with C = 1 only brightness and contrast apply.
        draws: (N, 5) uniform on [0, 1): the four strengths, and whether to jitter at all.
        strength: factors are uniform in 1 +- `strength` (typically 0.4), not below 0; the hue turns
            by up to +- `strength` / 4, as in the paper.
        probability: of jittering a sample at all.
    """
    applied = (draws[:, 4:5] < probability).float()
    shifts = (2 * draws[:, :4] - 1) * strength * applied
    factors = (1 + shifts[:, :3]).clamp_min(0)
    images = adjust_brightness(images, factors[:, 0])
    images = adjust_contrast(images, factors[:, 1])
    if images.shape[1] == 1 or strength == 0:
        return images
    return adjust_hue(adjust_saturation(images, factors[:, 2]), shifts[:, 3] / 4)
