"""VAAL's networks, as the study's code has them, for images of any size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

MOST = 4  # convolutions
HIDDEN, LAYERS = 512, 4  # of the discriminator


class Autoencoder(nn.Module):
    """Convolutions (kernel 4, stride 2, no bias, batch norm, ReLU) of width, 2, 4 and 8 * width
    channels, linear heads, and three transposed ones back; the output is linear.

    An image of fewer than 16 pixels a side has fewer convolutions; one whose side is no multiple of
    8 is decoded larger and cropped.

    Args:
        shape: (C, H, W), sides of at least 2.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, latent: int):
        super().__init__()
        channels, *self.sides = shape
        depth = min(MOST, *(side.bit_length() - 1 for side in self.sides))
        if depth < 1:
            raise ValueError(f"VAAL needs images of at least 2 x 2 pixels, not {self.sides}")
        widths = [channels, *(width * 2**i for i in range(depth))]
        last = [side >> depth for side in self.sides]
        self.encoder = nn.Sequential(*(_down(a, b) for a, b in pairwise(widths)), nn.Flatten())
        flat = widths[-1] * last[0] * last[1]
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.small = (8 * width, *(-(-side // 8) for side in self.sides))
        self.expand = nn.Linear(latent, self.small[0] * self.small[1] * self.small[2])
        mirrored = [8 * width, 4 * width, 2 * width, width]
        ups = (_up(a, b) for a, b in pairwise(mirrored))
        self.decoder = nn.Sequential(*ups, nn.ConvTranspose2d(width, channels, 1))
        for layer in [*self.encoder.modules(), self.expand]:
            _initialize(layer)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, (N, latent), in the weights' precision: bf16 ties."""
        hidden = self.encoder(images)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(self.mean.weight)
            return self.mean(hidden), self.log_variance(hidden)

    def decode(self, code: Tensor) -> Tensor:
        """(N, latent) -> (N, C, H, W), in the weights' precision."""
        small = self.expand(code).view(-1, *self.small)
        return self.decoder(small)[:, :, : self.sides[0], : self.sides[1]].to(self.expand.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log variance, and what a code drawn from them is decoded to."""
        mean, log_variance = self.encode(images)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return mean, log_variance, self.decode(code)


def discriminator(latent: int) -> nn.Sequential:
    """(N, latent) -> (N, 1) logits; the study's ended in a sigmoid."""
    sizes = [latent, *[HIDDEN] * LAYERS]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*hidden, nn.Linear(HIDDEN, 1))
    for layer in network:
        _initialize(layer)
    return network


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _initialize(layer: nn.Module) -> None:
    """The study's: Kaiming for what a ReLU follows; the others keep PyTorch's."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
