"""k-means on the features of another model."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.cluster import KMeans as ScikitKMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pretext.module import Embedding, PretextModule, count_clusters


class KMeans(PretextModule):
    """k-means++ (Arthur and Vassilvitskii, 2007), Euclidean, on a parent's unit-length features.

    Holds the parent, so that it assigns new images as well. Leaves the parent's features, `cluster`
    and `distance` to the center.

    Args:
        clusters: None for as many as the data set has classes.
        starts: of which the tightest is kept. The study's code had one, from random points.
        parent: description of the model it stands on, filled in by `adopt`.
    """

    leaves: ClassVar[tuple[str, ...]] = ("clusters", "features")
    builds_on: ClassVar[str] = "a model that embeds images"
    has_backbone: ClassVar[bool] = False
    centers: Tensor

    def __init__(
        self,
        inputs: dict[str, Any],
        seed: int,
        clusters: int | None,
        starts: int,
        parent: dict[str, Any] | None = None,
    ):
        super().__init__(inputs, seed)
        if starts < 1:
            raise ValueError(f"starts must be at least 1, not {starts}")
        self.num_clusters, self.starts = count_clusters(clusters, inputs), starts
        if parent is not None:
            self._stand_on(_rebuild(parent))

    @property
    def network(self) -> nn.Module:
        return self.parent.network

    def _stand_on(self, parent: PretextModule) -> None:
        self.parent = parent
        width = parent.embed(torch.zeros(1, *self.inputs["shape"])).features.shape[1]
        self.register_buffer("centers", torch.zeros(self.num_clusters, width))

    @classmethod
    def accepts(cls, parent: type[PretextModule]) -> bool:
        return "features" in parent.leaves and parent.embeds

    def search(self, features: Tensor) -> np.ndarray:
        """(K, D) centers."""
        state = self.stream("clusters") % 2**32
        kmeans = ScikitKMeans(self.num_clusters, n_init=self.starts, random_state=state)
        with threadpool_limits(torch.get_num_threads()):  # scikit-learn takes all cores otherwise
            return kmeans.fit(features.cpu().numpy()).cluster_centers_

    def adopt(self, parent: PretextModule, found: np.ndarray | None) -> None:
        assert found is not None
        self._stand_on(parent.eval())
        self.hparams["parent"] = _describe(parent)
        self.centers.copy_(torch.from_numpy(found))

    def embed(self, images: Tensor) -> Embedding:
        features = self.parent.embed(images).features
        return Embedding(features, self._distances(features).argmin(dim=1))

    def _distances(self, features: Tensor) -> Tensor:
        return torch.cdist(features, self.centers)

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        assert embedding.clusters is not None
        distance, cluster = self._distances(embedding.features).min(dim=1)
        return {"cluster": cluster, "distance": distance}


def _describe(module: PretextModule) -> dict[str, Any]:
    """Type and arguments of a module as plain Python, for the checkpoint."""
    kind = type(module)
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "arguments": dict(module.hparams)}


def _rebuild(description: dict[str, Any]) -> PretextModule:
    """A module as `_describe` saw it, with fresh weights."""
    file, _, name = description["type"].rpartition(".")
    return getattr(import_module(file), name)(**description["arguments"]).eval()
