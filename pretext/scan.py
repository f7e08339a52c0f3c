"""SCAN's self-labeling: confident samples become their own labels."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.pretext_data import ViewBatch
from datamodules.transforms import to_float
from pretext.losses import self_label_loss
from pretext.module import Embedding, PretextModule, count_clusters
from pretext.scan_step import Clusterer, ScanStep

log = logging.getLogger("initial_pools")


class CleanAndStrong:
    """(B, C, H, W) -> (2B, C, H, W): the clean images, then strong views of them."""

    def __init__(self, strong: Any):
        self.strong = strong

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor:
        return torch.cat([to_float(images), self.strong(images, indices, seed)])


class SelfLabel(Clusterer):
    """SCAN (https://arxiv.org/abs/2005.12320) with self-labeling: what the paper's Table 2 reports.

    The target of a confident sample is its cluster on the clean image (no average of weights, as in
    the SCAN repository); the input is the strongly augmented image. Clusters weigh the same over
    all devices. Weight decay is AdamW's, the repository's Adam's: in a batch without a confident
    sample Adam would take the decay alone for the gradient and step by its full rate. Besides
    `cluster` and `confidence` it leaves `cluster_scan`, the cluster before self-labeling.

    Args:
        threshold: probability above which a sample is confident.
        clusters: those of its parent.
        flip: whether the strong augmentation mirrors images.
    """

    gathers: ClassVar[bool] = True
    builds_on: ClassVar[str] = "scan_step"

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
        threshold: float,
        clusters: int | None,
        flip: bool,
    ):
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and below 1, not {threshold}")
        clusters = count_clusters(clusters, inputs)
        super().__init__(inputs, seed, clusters, flip)
        self.threshold = threshold
        self.views = CleanAndStrong(self.views)
        self.before = Clusterer(inputs, seed, clusters, flip).requires_grad_(False)

    @classmethod
    def accepts(cls, parent: type[PretextModule]) -> bool:
        return issubclass(parent, ScanStep)

    def adopt(self, parent: PretextModule, found: np.ndarray | None) -> None:
        assert isinstance(parent, Clusterer)
        for clusterer in (self, self.before):
            clusterer.backbone.load_state_dict(parent.backbone.state_dict())
            clusterer.head.load_state_dict(parent.head.state_dict())

    def loss(self, batch: ViewBatch) -> Tensor:
        clean, strong = batch.images.chunk(2)
        with torch.no_grad():
            target = self.logits(clean)[1]
        loss, share = self_label_loss(
            target, self.logits(strong)[1], self.threshold, self._over_ranks
        )
        self._add("confident", share * len(strong), len(strong))
        return loss

    def _over_ranks(self, sizes: Tensor) -> Tensor:
        return self.gather_views(sizes[None])[0].mean(dim=0)

    def warning(self, columns: dict[str, np.ndarray]) -> str:
        before, after = (self._in_use(columns[name]) for name in ("cluster_scan", "cluster"))
        if after >= before:
            return ""
        return (
            f"self-labeling left {after} of {before} clusters that hold a tenth of an equal share "
            "or more: where features are weak it repeats its own errors; --init.model scan_step "
            "takes the clusters before it"
        )

    def _in_use(self, clusters: np.ndarray) -> int:
        sizes = np.bincount(clusters, minlength=self.head.out_features)
        return int((sizes >= 0.1 * sizes.mean()).sum())

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        share = self._mean("confident").item()
        if share == 0 and self.global_rank == 0:
            log.warning("no sample is more confident than %g: nothing was learned", self.threshold)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        columns = super().columns(images, indices, embedding, seen)
        return columns | {"cluster_scan": self.before.logits(images)[1].argmax(dim=1)}
