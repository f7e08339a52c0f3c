"""Inpainting: images whose hidden square is hard to guess (Pathak et al., 2016)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datamodules.draws import uniform
from datamodules.pretext_data import ViewBatch
from datamodules.views import CropFlipViews
from pretext.losses import masked_error
from pretext.module import Embedding, PretextModule, unit
from pretext.vae import WIDTHS, halvings, make_decoder


def square_masks(draws: Tensor, height: int, width: int, hole: float) -> Tensor:
    """A square at a random place: (N, 2) uniform draws -> (N, 1, H, W), 1 inside.

    Args:
        hole: its side as a share of the image's shorter one, at least one pixel.
    """
    side = max(1, round(hole * min(height, width)))
    top = (draws[:, 0] * (height - side + 1)).long()[:, None]
    left = (draws[:, 1] * (width - side + 1)).long()[:, None]
    rows = torch.arange(height, device=draws.device)
    columns = torch.arange(width, device=draws.device)
    inside_rows = (rows >= top) & (rows < top + side)
    inside_columns = (columns >= left) & (columns < left + side)
    return (inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).float()


class Inpainting(PretextModule):
    """A context encoder (https://arxiv.org/abs/1604.07379) for these image sizes.

    The one backbone sees the image with a square hidden (at its mean color) and a decoder, that of
    the VAE, must fill it. Squared error alone: the paper adds an adversarial loss for sharpness,
    with weights .999 and .001.

    Leaves `score`, the mean squared error inside `masks` squares drawn once per sample from the
    seed, in standardized units, and the features of the whole image.

    Args:
        hole: side of the square, as a share of the image's.
        masks: squares that an image is scored with.
        flip: whether half of the training images are mirrored.
    """

    leaves: ClassVar[tuple[str, ...]] = ("scores", "features")

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
        hole: float,
        masks: int,
        flip: bool,
    ):
        super().__init__(inputs, seed)
        if not 0 < hole < 1:
            raise ValueError(f"hole must be a share between 0 and 1, not {hole}")
        if masks < 1:
            raise ValueError(f"masks must be at least 1, not {masks}")
        self.hole, self.masks = hole, masks
        self.backbone = self.make_backbone()
        channels, *size = inputs["shape"]
        sides = halvings(size[0], len(WIDTHS)), halvings(size[1], len(WIDTHS))
        widths = [channels, *WIDTHS[: len(sides[0]) - 1]]
        self.small = (widths[-1], sides[0][-1], sides[1][-1])
        flat = self.small[0] * self.small[1] * self.small[2]
        self.expand = nn.Linear(self.backbone.out_features, flat)
        self.decoder = make_decoder(widths, sides)
        self.views = CropFlipViews(None, flip)

    def errors(self, images: Tensor, indices: Tensor, seed: int, number: int) -> Tensor:
        """(number, N) error inside the squares drawn by (seed, sample index)."""
        clean = self.standardize(images)
        draws = uniform(seed, indices, 2 * number).view(-1, number, 2).transpose(0, 1)
        height, width = images.shape[2:]
        masks = square_masks(draws.reshape(-1, 2), height, width, self.hole)
        clean = clean.repeat(number, 1, 1, 1)
        pooled = self.backbone(clean * (1 - masks))
        output = self.decoder(self.expand(pooled).view(-1, *self.small)).float()
        return masked_error(clean, output, masks).view(number, -1)

    def loss(self, batch: ViewBatch) -> Tensor:
        epoch = self.current_epoch if self._trainer is not None else 0
        return self.errors(batch.images, batch.indices, self.stream("holes", epoch), 1).mean()

    def embed(self, images: Tensor) -> Embedding:
        return Embedding(unit(self.backbone(self.standardize(images))), None)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        errors = self.errors(images, indices, self.stream("masks"), self.masks)
        return {"score": errors.mean(dim=0)}
