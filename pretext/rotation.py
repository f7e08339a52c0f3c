"""Rotation: images whose turn is hard to tell (Gidaris et al., 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.pretext_data import ViewBatch
from datamodules.transforms import rotations
from datamodules.views import CropFlipViews
from pretext.module import Embedding, PretextModule, unit

TURNS = 4


class Rotation(PretextModule):
    """RotNet (https://arxiv.org/abs/1803.07728): a batch holds all four turns of each image.

    Leaves `score`, the mean cross-entropy (nats) over the four turns of the clean image,
    `accuracy`, the share of them that is told, and the backbone's features.

    Args:
        crop_scale: smallest area of a random crop before the turn; None for no crop.
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
        crop_scale: float | None,
        flip: bool,
    ):
        super().__init__(inputs, seed)
        self.backbone = self.make_backbone()
        self.head = nn.Linear(self.backbone.out_features, TURNS)
        self.views = CropFlipViews(crop_scale, flip)

    def judge_turns(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each turn of each image, and whether it is told: (4, N) both."""
        turned = self.standardize(rotations(images))
        pooled = self.backbone(turned)
        with torch.autocast(pooled.device.type, enabled=False):
            logits = self.head(pooled.float())
        turns = torch.arange(TURNS, device=images.device).repeat_interleave(len(images))
        told = (logits.argmax(dim=1) == turns).float()
        loss = F.cross_entropy(logits, turns, reduction="none")
        return loss.view(TURNS, -1), told.view(TURNS, -1)

    def loss(self, batch: ViewBatch) -> Tensor:
        return self.judge_turns(batch.images)[0].mean()

    def embed(self, images: Tensor) -> Embedding:
        return Embedding(unit(self.backbone(self.standardize(images))), None)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        loss, told = self.judge_turns(images)
        return {"score": loss.mean(dim=0), "accuracy": told.mean(dim=0)}
