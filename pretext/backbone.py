"""The one ResNet-18 that every pretext model and the classifier share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """3x3, padded by one pixel; where its output is a single one, a linear layer.

    There, all but the taps on the image only ever meet the padding. Libraries of convolutions
    multiply by them all the same: so went six tenths of a training step on MNIST, whose last stage
    is one pixel wide.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if max(height, width) > self.stride[0]:
            return super().forward(x)
        taps = self.weight[..., 1 : 1 + height, 1 : 1 + width]
        return F.linear(x.flatten(1), taps.flatten(1))[..., None, None]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalization and a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = Convolution(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Convolution(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 for small images: (N, channels, H, W) -> (N, 8 * width), average-pooled.

    Args:
        channels: 1 for gray images, 3 for color.
        width: channels of the first stage; the paper's is 64, the output then has 512.
        stem: 3 (3x3, stride 1) or 7 (7x7, stride 2, for MNIST and images above 64 px).
        max_pool: 3x3, stride 2, after the stem, as in the study's classifier. Its pretext
            networks had other poolings (PyTorch's SCAN code has none); here all are the same.

    Convolutions start Kaiming-normal (fan-out), batch norms at weight 1 and bias 0. The study's
    code left its MNIST stem at PyTorch's default; ours is initialized like the others.
    """

    def __init__(self, channels: int = 3, width: int = 64, stem: int = 3, max_pool: bool = True):
        super().__init__()
        if stem not in (3, 7):
            raise ValueError(f"stem must be 3 or 7, not {stem}")
        self.out_features = 8 * width
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, stem, 1 if stem == 3 else 2, stem // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1) if max_pool else nn.Identity(),
        )
        self.stages = nn.Sequential(
            _stage(width, width, 1),
            _stage(width, 2 * width, 2),
            _stage(2 * width, 4 * width, 2),
            _stage(4 * width, 8 * width, 2),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x)).mean(dim=(2, 3))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))
