"""What all pretext models share: optimizer, the log of losses, and monitors by labels."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.errors import UserError
from datamodules.pretext_data import PretextDataModule, ViewBatch, Views
from datamodules.seeds import Seeds
from pretext.backbone import ResNet18
from pretext.collect import gather_rows
from pretext.monitors import clustering_metrics, knn_accuracy, merged
from pretext.trainable import Trainable, check_optimization

FLOOR = 1e-3  # of the base rate, where the cosine ends


class Embedding(NamedTuple):
    """Features of N images, (N, D) of unit length, and their clusters (N,) where there are any.

    `source` is what a model made them of, for its `columns`: no pass is made twice.
    """

    features: Tensor
    clusters: Tensor | None
    source: Tensor | None = None


class Scored(NamedTuple):
    """What a pass over clean images leaves: one number a sample in each column, and features."""

    indices: Tensor
    columns: dict[str, Tensor]
    features: Tensor


class Standardize(nn.Module):
    """Images in [0, 1] -> (x - mean) / std, kept with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class PretextModule(Trainable):
    """A label-free model; a subclass defines its `loss`, its `embed` and its `columns`.

    Args of every subclass, kept in its checkpoint:
        inputs: of the data: `shape` (C, H, W), `mean`, `std`, `num_train`, `clusters`, and the
            backbone's `width`, `stem`, `max_pool`.
        seed: the pretext seed.
        max_epochs, batch_size, optimizer, lr, weight_decay, schedule: of its training, where it
            has one.
    """

    recipe: ClassVar[int] = 1  # raised when the meaning of what it leaves changes
    leaves: ClassVar[tuple[str, ...]] = ("features",)  # of scores, clusters, features
    curves: ClassVar[tuple[str, ...]] = ()  # logged by epoch besides those of every model
    drop_last: ClassVar[bool] = False
    gathers: ClassVar[bool] = False  # the loss is of all ranks' samples, not a mean of its own
    has_backbone: ClassVar[bool] = True  # the one ResNet-18
    pairs: ClassVar[bool] = False  # batches are anchors followed by neighbors
    embeds: ClassVar[bool] = True  # any image; else only those that it was made of
    builds_on: ClassVar[str] = "no other model"
    backbone: nn.Module
    views: Views | None = None  # what training makes of images; None: clean ones
    held_out: float = 0.0  # share of the train part that is not trained on, for `val/loss`
    neighbors: np.ndarray | None = None  # (N, k) sample indices that `pairs` are drawn from

    def __init__(self, inputs: dict[str, Any], seed: int):
        super().__init__()
        self.save_hyperparameters()  # the subclass's arguments as well
        self.inputs, self.seed = inputs, seed
        self.standardize = Standardize(inputs["mean"], inputs["std"])
        self._kept: dict[str, list[tuple[Tensor, ...]]] = {}
        if "max_epochs" in self.hparams:
            check_recipe(self.hparams)

    def make_backbone(self) -> ResNet18:
        """The one ResNet-18, as the classifier has it."""
        names = ("width", "stem", "max_pool")
        return ResNet18(self.inputs["shape"][0], **{name: self.inputs[name] for name in names})

    def stream(self, name: str, *keys: int) -> int:
        """A seed of the model's own stream `name`."""
        return Seeds(self.seed).stream(name, *keys)

    @property
    def network(self) -> nn.Module:
        """What torch.compile is for."""
        return self.backbone

    @classmethod
    def identity(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """What of its settings its artifact is named after; a file's content for its path."""
        return settings

    @classmethod
    def accepts(cls, parent: type[PretextModule]) -> bool:
        """Whether a model of type `parent` can be built on; most models need none."""
        return False

    def search(self, features: Tensor) -> np.ndarray | None:
        """What it needs of its finished parent's (N, D) features, for which rank zero alone looks:
        on the device that trains, or on the CPU where that has no float64."""
        return None

    def adopt(self, parent: PretextModule, found: np.ndarray | None) -> None:
        """Takes over what it needs of its finished parent, and what `search` has found."""

    def loss(self, batch: ViewBatch) -> Tensor:
        raise NotImplementedError

    def embed(self, images: Tensor) -> Embedding:
        """Clean images in [0, 1], (N, C, H, W) -> features and clusters."""
        raise NotImplementedError

    def columns(
        self, images: Tensor, indices: Tensor, embedding: Embedding, seen: bool
    ) -> dict[str, Tensor]:
        """The numbers kept of each sample, (N,) each; `seen`: the images are the train part."""
        return {} if embedding.clusters is None else {"cluster": embedding.clusters}

    def warning(self, columns: dict[str, np.ndarray]) -> str:
        """What a user should know of the finished model, by the (N,) columns of its train images;
        empty: nothing. Asked on rank zero."""
        return ""

    def finish(self, datamodule: PretextDataModule) -> None:
        """After training, on every rank, in evaluation mode: what scoring needs besides weights."""

    def training_step(self, batch: ViewBatch, batch_idx: int) -> Tensor:
        loss, count = self.loss(batch), len(batch.indices)
        self._add("train", loss.detach() * count, count)
        return loss if self.gathers else self._evenly(loss, count, batch_idx)

    def on_train_epoch_end(self) -> None:
        loss, epoch = self._mean("train"), float(self.current_epoch + 1)
        if not torch.isfinite(loss):
            raise UserError(
                f"training diverged in epoch {epoch:.0f} (the loss is {loss.item()}); "
                "a smaller --model.lr may help"
            )
        self.log_dict({"train/loss": loss, "epoch": epoch}, rank_zero_only=True)

    def on_train_end(self) -> None:
        """Finished here, because after `fit` the weights are back on the CPU."""
        super().on_train_end()
        self.eval()
        with torch.no_grad():
            self.finish(self._datamodule)

    def validation_step(self, batch: ViewBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        name = self._datamodule.val_names[dataloader_idx]
        if name == "held_out":
            count = len(batch.indices)  # 0 on a rank that has less to do
            loss = self.loss(batch) * count if count else batch.images.new_zeros(())
            self._add("val", loss, count)
            return
        features, clusters, _ = self.embed(batch.images)
        rows = (
            (batch.indices, features) if clusters is None else (batch.indices, features, clusters)
        )
        self._kept.setdefault(name, []).append(rows)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/loss`, and by labels `knn/acc`, `cluster/acc`, `cluster/nmi`, `cluster/ari`."""
        values: dict[str, Any] = {"epoch": float(self.current_epoch + 1)}
        if "val" in self._sums:
            values["val/loss"] = self._mean("val")
        if self._kept:
            values |= self._monitor()
        self.log_dict(values, rank_zero_only=True)

    def _monitor(self) -> dict[str, float]:
        """Of the bank (train images) and of how well it classifies the probe (test images)."""
        images = self._datamodule.images
        assert images.classes
        assert images.test is not None

        def gathered(name: str) -> list[Tensor]:
            columns = zip(*self._kept.pop(name), strict=True)
            return [gather_rows(self, torch.cat(column)) for column in columns]

        bank, probe = gathered("bank"), gathered("probe")
        train, test = (
            torch.as_tensor(part.labels)[rows[0].cpu()]
            for part, rows in ((images.train, bank), (images.test, probe))
        )
        values = {"knn/acc": knn_accuracy(bank[1], train, probe[1], test, len(images.classes))}
        if len(bank) > 2:
            labels = merged(train.numpy(), self._datamodule.superclasses)
            values |= clustering_metrics(bank[2].cpu().numpy(), labels)
        return values

    @property
    def _datamodule(self) -> PretextDataModule:
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, PretextDataModule)
        return datamodule

    def predict_step(self, batch: ViewBatch) -> Scored:
        """In float32, so that a sample's numbers do not depend on its batch but for rounding."""
        predicted, columns = self._datamodule.predicted, {}
        with torch.autocast(self.device.type, enabled=False):
            embedding = self.embed(batch.images)
            # Clusters of the test part are measured; its scores would serve nothing.
            if predicted != "test" or "clusters" in self.leaves:
                seen = predicted == "train"
                columns = self.columns(batch.images, batch.indices, embedding, seen)
        return Scored(batch.indices, columns, embedding.features)

    def gather_views(self, z: Tensor) -> tuple[Tensor, int]:
        """Rows of all ranks with gradients, (ranks * N, D), and where this rank's begin."""
        if self._trainer is None or self.trainer.world_size == 1:
            return z, 0
        everyone = self.all_gather(z, sync_grads=True)
        assert isinstance(everyone, Tensor)
        return everyone.flatten(0, 1), self.global_rank * len(z)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.hparams["max_epochs"], FLOOR)


def check_recipe(settings: Any) -> None:
    """Raises ValueError, with the allowed values, for a recipe that cannot be trained."""
    if settings["max_epochs"] < 0 or settings["batch_size"] < 2:
        raise ValueError("max_epochs must be at least 0 and batch_size at least 2")
    check_optimization(settings)


def unit(features: Tensor) -> Tensor:
    """Rows of unit length, in float32."""
    return F.normalize(features.float(), dim=1)


def count_clusters(clusters: int | None, inputs: dict[str, Any]) -> int:
    """As many as asked for, else as the data have classes; at most one a sample."""
    count = inputs["clusters"] if clusters is None else clusters
    if count < 2:
        raise ValueError(f"clusters must be at least 2, not {count}")
    return min(count, inputs["num_train"])
