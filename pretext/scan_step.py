"""SCAN's clustering step: an image and its nearest neighbors belong to one cluster."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.distances import nearest_neighbors
from datamodules.pretext_data import ViewBatch
from datamodules.strong import StrongViews
from pretext.losses import scan_loss
from pretext.module import Embedding, PretextModule, count_clusters, unit


class Clusterer(PretextModule):
    """A backbone with a linear head over clusters: what both steps of SCAN train.

    Leaves `cluster`, `confidence`, the probability of that cluster, and the backbone's features.
    """

    leaves: ClassVar[tuple[str, ...]] = ("clusters", "features")

    def __init__(self, inputs: dict[str, Any], seed: int, clusters: int, flip: bool):
        super().__init__(inputs, seed)
        self.backbone = self.make_backbone()
        self.head = nn.Linear(self.backbone.out_features, clusters)
        self.views = StrongViews(flip=flip, fill=inputs["mean"])

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] -> pooled features (N, D) and cluster logits (N, K), float32."""
        pooled = self.backbone(self.standardize(images))
        with torch.autocast(pooled.device.type, enabled=False):
            return pooled.float(), self.head(pooled.float())

    def embed(self, images: Tensor) -> Embedding:
        pooled, logits = self.logits(images)
        return Embedding(unit(pooled), logits.argmax(dim=1), logits)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        assert embedding.source is not None
        confidence, cluster = embedding.source.softmax(dim=1).max(dim=1)
        return {"cluster": cluster, "confidence": confidence}


class ScanStep(Clusterer):
    """SCAN (https://arxiv.org/abs/2005.12320) before self-labeling.

    Starts from the parent's backbone; all of it is trained. A sample's neighbors are the nearest by
    cosine of the parent's features, without the sample itself, which the study's code counted
    among them; anchor and neighbor are both strongly augmented. The last epoch is kept; the SCAN
    repository keeps the one with the lowest loss on the test images.

    Args:
        clusters: None for as many as the data set has classes.
        num_neighbors: of which one is drawn each time.
        entropy_weight: what keeps the clusters in use, see `losses.scan_loss`.
        flip: whether the strong augmentation mirrors images.
    """

    builds_on: ClassVar[str] = (
        "a model with the shared backbone (simclr, rotation, inpainting, deepcluster)"
    )
    pairs: ClassVar[bool] = True
    drop_last: ClassVar[bool] = True
    gathers: ClassVar[bool] = True

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
        clusters: int | None,
        num_neighbors: int,
        entropy_weight: float,
        flip: bool,
    ):
        if num_neighbors < 1:
            raise ValueError(f"num_neighbors must be at least 1, not {num_neighbors}")
        super().__init__(inputs, seed, count_clusters(clusters, inputs), flip)
        self.num_neighbors = min(num_neighbors, inputs["num_train"] - 1)
        self.entropy_weight = entropy_weight

    @classmethod
    def accepts(cls, parent: type[PretextModule]) -> bool:
        return parent.has_backbone

    def search(self, features: Tensor) -> np.ndarray:
        """(N, k) neighbors."""
        return nearest_neighbors(features, self.num_neighbors).cpu().numpy()

    def adopt(self, parent: PretextModule, found: np.ndarray | None) -> None:
        assert found is not None
        self.backbone.load_state_dict(parent.backbone.state_dict())
        self.neighbors = found

    def loss(self, batch: ViewBatch) -> Tensor:
        anchors, neighbors = self.logits(batch.images)[1].chunk(2)
        everyone, _ = self.gather_views(anchors.softmax(dim=1))
        return scan_loss(anchors, neighbors, self.entropy_weight, everyone.mean(dim=0))[0]
