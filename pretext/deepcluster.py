"""DeepCluster: k-means labels the images and a classifier learns them, by turns (Caron, 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from datamodules.errors import UserError
from datamodules.pretext_data import PretextDataModule, ViewBatch
from datamodules.views import CropFlipViews
from pretext.collect import features_on_zero
from pretext.module import Embedding, PretextModule, count_clusters, unit


class DeepCluster(PretextModule):
    """DeepCluster (https://arxiv.org/abs/1807.05520) with the one backbone.

    Before each epoch all train images are embedded, their features whitened by PCA, scaled to unit
    length and clustered; the linear head starts anew, because clusters have no lasting numbers. A
    sample weighs the inverse of its cluster's size, which the paper names as equal to its sampling
    uniformly over clusters. A cluster that runs empty in k-means starts again from the sample that
    is farthest from its center. The paper's Sobel filter is left out.

    Leaves `cluster`, `distance` to its center and the backbone's features.

    Args:
        clusters: None for as many as the data set has classes; the paper has ten times as many.
        components: of the PCA, at most the features' dimensions.
        crop_scale, flip: of the training view.
    """

    leaves: ClassVar[tuple[str, ...]] = ("clusters", "features")
    recipe: ClassVar[int] = 2  # an epoch's clusters by features in the precision of its training
    assignment: Tensor
    weight: Tensor
    offset: Tensor
    whitening: Tensor
    centers: Tensor

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
        components: int,
        crop_scale: float,
        flip: bool,
    ):
        super().__init__(inputs, seed)
        if components < 1:
            raise ValueError(f"components must be at least 1, not {components}")
        self.backbone = self.make_backbone()
        width, total = self.backbone.out_features, inputs["num_train"]
        self.num_clusters = count_clusters(clusters, inputs)
        self.components = min(components, width, total - 1)
        self.head = nn.Linear(width, self.num_clusters)
        self.views = CropFlipViews(crop_scale, flip)
        self.register_buffer("assignment", torch.zeros(total, dtype=torch.long))
        self.register_buffer("weight", torch.ones(self.num_clusters))
        self.register_buffer("offset", torch.zeros(width))
        self.register_buffer("whitening", torch.zeros(width, self.components))
        self.register_buffer("centers", torch.zeros(self.num_clusters, self.components))

    def whiten(self, features: Tensor) -> Tensor:
        """(N, D) features -> (N, components), whitened, of unit length."""
        return F.normalize((features - self.offset) @ self.whitening, dim=1)

    def on_train_epoch_start(self) -> None:
        """Assigns all images anew and starts the head from its beginning."""
        with self.trainer.precision_plugin.forward_context():  # as its training steps
            self._cluster(self._datamodule, self.current_epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.stream("head", self.current_epoch))
            fresh = nn.Linear(self.head.in_features, self.num_clusters)
        with torch.no_grad():
            self.head.weight.copy_(fresh.weight)
            self.head.bias.copy_(fresh.bias)
        self._forget_momentum()

    def _forget_momentum(self) -> None:
        """The head's, which belongs to clusters that are no more."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for parameter in self.head.parameters():
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor):
                    value.zero_()

    def finish(self, datamodule: PretextDataModule) -> None:
        """The clusters of the trained backbone, in float32."""
        self._cluster(datamodule, -1)

    @torch.no_grad()
    def _cluster(self, datamodule: PretextDataModule, epoch: int) -> None:
        """All ranks embed their share of the images; rank zero clusters, and tells the others."""
        training = self.training
        self.eval()
        features = self._embed_all(datamodule)
        self.train(training)
        found, state = None, self.stream("clusters", epoch) % 2**32
        if self.global_rank == 0 and np.isfinite(features).all():
            with threadpool_limits(torch.get_num_threads()):  # scikit-learn would take all cores
                found = self._find(features, state)
        if self._trainer is not None:  # there is none where nothing is trained
            found = self.trainer.strategy.broadcast(found)
        if found is None:
            raise UserError("training diverged; a smaller --model.lr may help")
        for name, value in found.items():
            getattr(self, name).copy_(torch.from_numpy(value))

    def _embed_all(self, datamodule: PretextDataModule) -> np.ndarray:
        """(N, D) features of all train images, on rank zero."""
        part, rows = datamodule.images.train, []
        everything = np.arange(len(part))
        for batch in datamodule.eval_loader(part, everything):
            moved = [x.to(self.device, non_blocking=True) for x in batch]
            images, indices = datamodule.raw(part, moved)
            rows.append((indices, self.embed(datamodule.clean(images)).features))
        return features_on_zero(self, rows, everything)

    def _find(self, features: np.ndarray, state: int) -> dict[str, np.ndarray]:
        """The buffers of a new clustering of (N, D) features."""
        pca = PCA(self.components, whiten=True, random_state=state).fit(features)
        scale = np.sqrt(np.maximum(pca.explained_variance_, 1e-12))
        offset, whitening = pca.mean_, (pca.components_ / scale[:, None]).T
        white = (features - offset) @ whitening
        white /= np.linalg.norm(white, axis=1, keepdims=True).clip(1e-12)
        found = KMeans(self.num_clusters, n_init=1, random_state=state).fit(white)
        sizes = np.bincount(found.labels_, minlength=self.num_clusters)
        weight = len(features) / (self.num_clusters * np.maximum(sizes, 1))
        buffers = {
            "offset": offset, "whitening": whitening, "centers": found.cluster_centers_,
            "weight": weight, "assignment": found.labels_.astype(np.int64),
        }  # fmt: skip
        return {name: np.ascontiguousarray(value) for name, value in buffers.items()}

    def loss(self, batch: ViewBatch) -> Tensor:
        pooled = self.backbone(self.standardize(batch.images))
        with torch.autocast(pooled.device.type, enabled=False):
            logits = self.head(pooled.float())
        target = self.assignment[batch.indices]
        loss = F.cross_entropy(logits, target, reduction="none")
        return (self.weight[target] * loss).mean()

    def embed(self, images: Tensor) -> Embedding:
        """While training, the clusters that the head tells: the centers' features have moved on."""
        pooled = self.backbone(self.standardize(images)).float()
        return Embedding(unit(pooled), self.head(pooled).argmax(dim=1))

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        distances = torch.cdist(self.whiten(embedding.features), self.centers)
        distance, cluster = distances.min(dim=1)
        return {"cluster": cluster, "distance": distance}
