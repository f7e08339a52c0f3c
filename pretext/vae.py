"""VAE: what the autoencoder reconstructs badly is hard (Kingma and Welling, 2014)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.pretext_data import ViewBatch
from pretext.losses import vae_loss
from pretext.module import Embedding, PretextModule, unit

WIDTHS = (32, 64, 128, 256, 512)  # of the encoder's convolutions, four of them at 32 px
SLOPE = 0.01
COLLAPSED = 0.1  # nats in the whole code


class VAE(PretextModule):
    """Variational autoencoder (https://arxiv.org/abs/1312.6114) with the study's networks.

    Convolutions of stride 2 halve the image down to 2 pixels (four at 32 px, five at 64) and
    transposed ones mirror them. The output is linear: the study's ended in tanh, which cannot reach
    36 % of the standardized pixels of CIFAR-10, so that bright images looked hard. No augmentation:
    the study's code cropped at random while training and while scoring.

    Leaves `error`, the mean squared error of the reconstruction from the posterior mean of the
    clean image, `kl`, `loss` = error + weight * kl, `score`, one of the two, and the posterior mean
    as features.

    Args:
        latent: dimensions of the code.
        kl_weight: of the KL, summed over dimensions, beside the error, mean over pixels; None:
            batch_size / images trained on, as the study's code, which on a thousand images is so
            much that the code collapses. Its score had another weight.
        score: `reconstruction` (the paper) or `loss` (its code, there with a sampled code).
        val: share of the train part held out for `val/loss`.
    """

    leaves: ClassVar[tuple[str, ...]] = ("scores", "features")
    has_backbone: ClassVar[bool] = False

    curves = ("train/kl",)

    def __init__(
        self,
        inputs: dict[str, Any],
        seed: int,
        max_epochs: int,
        batch_size: int,
        optimizer: str,
        lr: float,
        weight_decay: float,
        schedule: str,
        latent: int,
        kl_weight: float | None,
        score: str,
        val: float,
    ):
        super().__init__(inputs, seed)
        if score not in ("reconstruction", "loss"):
            raise ValueError(f"score must be reconstruction or loss, not {score!r}")
        if not 0 <= val < 1:
            raise ValueError(f"val must be a share of at least 0 and below 1, not {val}")
        trained = inputs["num_train"] - int(val * inputs["num_train"])
        self.kl_weight = batch_size / trained if kl_weight is None else kl_weight
        self.score, self.held_out = score, val
        channels, height, width = inputs["shape"]
        sides = halvings(height, len(WIDTHS)), halvings(width, len(WIDTHS))
        widths = [channels, *WIDTHS[: len(sides[0]) - 1]]
        self.small = (widths[-1], sides[0][-1], sides[1][-1])
        flat = self.small[0] * self.small[1] * self.small[2]
        self.encoder = nn.Sequential(*(_down(a, b) for a, b in pairwise(widths)), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.expand = nn.Linear(latent, flat)
        self.decoder = make_decoder(widths, sides)

    @property
    def network(self) -> nn.Module:
        return self.encoder

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Standardized images -> mean and log variance of the posterior, (N, latent), float32."""
        hidden = self.encoder(images)
        return self.mean(hidden).float(), self.log_variance(hidden).float()

    def decode(self, code: Tensor) -> Tensor:
        """(N, latent) -> (N, C, H, W) in standardized units, float32."""
        return self.decoder(self.expand(code).view(-1, *self.small)).float()

    def on_train_epoch_start(self) -> None:
        """The noise of an epoch depends on the seed and the epoch, also after a restart."""
        torch.manual_seed(self.stream("noise", self.current_epoch, self.global_rank))

    def loss(self, batch: ViewBatch) -> Tensor:
        images = self.standardize(batch.images)
        mean, log_variance = self.encode(images)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        error, kl = vae_loss(images, self.decode(code), mean, log_variance)
        if self.training:
            self._add("kl", kl.detach().sum(), len(kl))
        return (error + self.kl_weight * kl).mean()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/kl", self._mean("kl"), rank_zero_only=True)

    def warning(self, columns: dict[str, np.ndarray]) -> str:
        nats = columns["kl"].mean()
        if nats >= COLLAPSED:
            return ""
        return (
            f"the code has collapsed ({nats:.2g} nats): every image is reconstructed as the mean "
            "image, so the score is only the distance from it; try --model.kl_weight below "
            f"{self.kl_weight:.2g}"
        )

    def embed(self, images: Tensor) -> Embedding:
        mean, log_variance = self.encode(self.standardize(images))
        return Embedding(unit(mean), None, torch.stack([mean, log_variance]))

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        assert embedding.source is not None
        mean, log_variance = embedding.source
        error, kl = vae_loss(self.standardize(images), self.decode(mean), mean, log_variance)
        loss = error + self.kl_weight * kl
        score = error if self.score == "reconstruction" else loss
        return {"score": score, "error": error, "kl": kl, "loss": loss}


def halvings(side: int, most: int) -> list[int]:
    """Sides after each convolution of stride 2, down to 2 pixels or `most` of them.

    >>> halvings(32, 5), halvings(9, 5), halvings(224, 5)
    ([32, 16, 8, 4, 2], [9, 5, 3, 2], [224, 112, 56, 28, 14, 7])
    """
    sides = [side]
    while sides[-1] > 2 and len(sides) <= most:
        sides.append((sides[-1] + 1) // 2)
    return sides


def make_decoder(widths: list[int], sides: tuple[list[int], list[int]]) -> nn.Sequential:
    """The encoder's mirror: (N, widths[-1], ...) -> (N, widths[0], H, W), without a nonlinearity
    at its end.

    Args:
        widths: channels of the image and after each convolution of the encoder.
        sides: heights and widths of the image and after each convolution.
    """
    mirrored = [*reversed(widths[1:]), widths[1]]
    sizes = list(zip(*sides, strict=True))[-2::-1]
    steps = (_up(a, b, size) for (a, b), size in zip(pairwise(mirrored), sizes, strict=True))
    return nn.Sequential(*steps, nn.Conv2d(widths[1], widths[0], 3, padding=1))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)
    )


def _up(inputs: int, outputs: int, size: tuple[int, int]) -> nn.Sequential:
    """Doubles to `size`: an even side needs one more pixel than an odd one."""
    extra = tuple(1 - side % 2 for side in size)
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, extra),  # type: ignore[arg-type]
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE),
    )
