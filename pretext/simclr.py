"""SimCLR: two views of an image should be neighbors, and no others (Chen et al., 2020)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from datamodules.pretext_data import PretextDataModule, ViewBatch
from datamodules.seeds import Seeds
from datamodules.views import FixedViews, SimCLRViews
from pretext.losses import bank_score, nt_xent
from pretext.module import Embedding, PretextModule, unit

BLOCK = 500  # bank images embedded at once


class SimCLR(PretextModule):
    """SimCLR (https://arxiv.org/abs/2002.05709) with the recipe of the SCAN repository.

    Leaves unit-length features and, for each image, `score` (how hard it is: see
    `losses.bank_score`), `alignment` and `density`, the score's two parts: a high score can mean
    a crowded neighborhood rather than a hard image.

    Args:
        temperature: of NT-Xent and of the score.
        projection: width of the projection head's output.
        crop_scale, flip, jitter, gray: of the two training views, see `SimCLRViews`.
        views: the fixed views that the score compares an image with: `auto` takes those that the
            model was trained to be invariant to, and blur; `paper` takes flip, blur, jitter and,
            on color images, gray.
        features: `pooled`, the backbone's output, or `projection`, the head's. k-means on the
            projection, as in the study's code, finds the digits of MNIST half as often.
        bank: images that the score takes as negatives, drawn once from the seed.
    """

    leaves: ClassVar[tuple[str, ...]] = ("scores", "features")
    drop_last: ClassVar[bool] = True
    gathers: ClassVar[bool] = True
    recipe: ClassVar[int] = 2  # its loss in float32
    members: Tensor
    bank: Tensor

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
        temperature: float,
        projection: int,
        crop_scale: float,
        flip: bool,
        jitter: float,
        gray: float,
        views: str,
        features: str,
        bank: int,
    ):
        super().__init__(inputs, seed)
        if features not in ("pooled", "projection"):
            raise ValueError(f"features must be pooled or projection, not {features!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if bank < 2:
            raise ValueError(f"bank must be at least 2, not {bank}")
        self.backbone = self.make_backbone()
        width = self.backbone.out_features
        # Without batch norm, as in the SCAN repository, whose recipe this is.
        self.head = SimCLRProjectionHead(width, width, projection, batch_norm=False)
        self.temperature, self.features = temperature, features
        color = inputs["shape"][0] == 3
        self.views = SimCLRViews(crop_scale, flip, jitter, gray if color else 0)
        names = scored_view_names(views, flip, jitter > 0, gray > 0, color)
        self._fixed = FixedViews(names, jitter, crop_scale)
        members = Seeds(seed).numpy("bank").permutation(inputs["num_train"])[:bank]
        self.register_buffer("members", torch.from_numpy(np.sort(members)))
        self.register_buffer("bank", torch.zeros(len(members), projection))

    def project(self, pooled: Tensor) -> Tensor:
        """(N, D) pooled -> (N, P) projections of unit length, in float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            return unit(self.head(pooled.float()))

    def loss(self, batch: ViewBatch) -> Tensor:
        z = self.project(self.backbone(self.standardize(batch.images)))
        everyone, first = self.gather_views(z)  # in one message
        all0, all1 = everyone.view(-1, 2, len(z) // 2, z.shape[1]).transpose(0, 1).flatten(1, 2)
        z0, z1 = z.chunk(2)
        with torch.autocast(z.device.type, enabled=False):  # its products would be in bf16
            return nt_xent(z0, z1, self.temperature, all0, all1, first // 2)

    def embed(self, images: Tensor) -> Embedding:
        pooled = self.backbone(self.standardize(images))
        projected = self.project(pooled)
        features = projected if self.features == "projection" else unit(pooled)
        return Embedding(features, None, projected)

    def finish(self, datamodule: PretextDataModule) -> None:
        """Fills the bank with the clean images' projections."""
        members = self.members.cpu().numpy()
        for start in range(0, len(members), BLOCK):
            pixels = datamodule.images.train.take(members[start : start + BLOCK]).to(self.device)
            pooled = self.backbone(self.standardize(datamodule.clean(pixels)))
            self.bank[start : start + BLOCK] = self.project(pooled)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        fixed = self._fixed(images, indices, self.stream("views"))
        views = self.project(self.backbone(self.standardize(fixed.flatten(0, 1))))
        z = embedding.source
        assert z is not None
        own = torch.searchsorted(self.members, indices).clamp_max(len(self.members) - 1)
        own = torch.where((self.members[own] == indices) & seen, own, -1)
        score, alignment, density = bank_score(
            z, views.view(len(fixed), *z.shape), self.bank, own, self.temperature
        )
        return {"score": score, "alignment": alignment, "density": density}


def scored_view_names(setting: str, flip: bool, jitter: bool, gray: bool, color: bool) -> list[str]:
    """Which fixed views a score uses.

    >>> scored_view_names("auto", flip=False, jitter=True, gray=True, color=False)
    ['blur', 'jitter', 'crop']
    """
    if setting not in ("auto", "paper"):
        raise ValueError(f"views must be auto or paper, not {setting!r}")
    if setting == "paper":
        return ["flip", "blur", "jitter", *(["gray"] if color else [])]
    trained = {"flip": flip, "blur": True, "jitter": jitter, "gray": gray and color}
    names = [name for name, use in trained.items() if use]
    return names if flip else [*names, "crop"]
