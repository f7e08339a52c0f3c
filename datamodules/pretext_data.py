"""The LightningDataModule of pretext models: all train images, without their labels."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.draws import random_order
from datamodules.images import Images
from datamodules.loading import ImageDataModule
from datamodules.samplers import PartnerBatches, TrainBatches
from datamodules.seeds import Seeds
from datamodules.transforms import to_float

MONITORED = 10_000  # images of each part that a monitor looks at while training
MONITOR_WORKERS = 2  # of each of its loaders, which are read a few times in a training


class ViewBatch(NamedTuple):
    """What a pretext model is given; there are no labels in it."""

    images: Tensor  # (V * B, C, H, W) float32 in [0, 1]: the views, or B clean images
    indices: Tensor  # (B,) int64 sample indices; anchors, then partners, where there are any


class Views(Protocol):
    """uint8 (B, C, H, W) and their indices -> (V * B, C, H, W) in [0, 1], drawn by `seed`."""

    def __call__(self, images: Tensor, indices: Tensor, seed: int) -> Tensor: ...


class PretextDataModule(ImageDataModule):
    """Serves views of shuffled images for training, and clean images for everything else.

    Validation has up to three loaders, named in `val_names`: `bank`, train images whose labels the
    k-NN monitor votes with; `probe`, the test images it classifies; `held_out`, for `val/loss`.

    Args:
        views: what training makes of a batch; None: clean images.
        batch_size: the global one, over all devices; less where there are fewer images.
        held_out: sample indices that are not trained on.
        neighbors: (N, k) sample indices: each batch is followed by a partner of each sample.
        monitor: whether there are labels to monitor the features with.
        superclasses: of each class, what a monitor measures clusters by.
    """

    def __init__(
        self,
        images: Images,
        seeds: Seeds,
        *,
        views: Views | None = None,
        batch_size: int = 512,
        drop_last: bool = True,
        held_out: np.ndarray | None = None,
        neighbors: np.ndarray | None = None,
        monitor: bool = True,
        superclasses: list[int] | None = None,
        eval_batch_size: int = 500,
        workers: int | None = None,
        channels_last: bool = False,
    ):
        super().__init__(images, eval_batch_size, workers, channels_last)
        everything = np.arange(len(images.train))
        self.held_out = everything[:0] if held_out is None else held_out
        self.trained = np.setdiff1d(everything, self.held_out)
        self.seeds, self.views, self.drop_last = seeds, views, drop_last
        self.batch_size = min(batch_size, len(self.trained))
        self.neighbors, self.superclasses = neighbors, superclasses
        self.predicted = "train"  # or test; `new` where the images are not those trained on
        order = random_order(seeds.stream("monitor"), self.trained)
        self.bank = np.sort(order[:MONITORED])
        self.val_names = [
            *(["bank", "probe"] if monitor and images.test is not None else []),
            *(["held_out"] if len(self.held_out) else []),
        ]

    @property
    def num_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return len(self._anchors())

    def _anchors(self) -> TrainBatches:
        rank, world_size = self.ranks()
        size = self.batch_size
        if self.drop_last:  # ranks that gather each other's rows hold equally many
            size -= size % world_size
        return TrainBatches(
            self.trained, size, self.seeds, 0, rank, world_size, drop_last=self.drop_last
        )

    def train_dataloader(self) -> DataLoader:
        anchors = self._anchors()
        sampler = anchors if self.neighbors is None else PartnerBatches(anchors, self.neighbors)
        return self.loader(self.images.train, sampler)

    def val_dataloader(self) -> list[DataLoader]:
        train, test = self.images.train, self.images.test
        loaders = []
        for name in self.val_names:
            if name == "probe":
                assert test is not None
                probe = np.linspace(0, len(test) - 1, min(MONITORED, len(test))).astype(np.int64)
                loaders.append(self.eval_loader(test, probe, MONITOR_WORKERS))
            else:
                indices = self.bank if name == "bank" else self.held_out
                loaders.append(self.eval_loader(train, indices, MONITOR_WORKERS))
        return loaders

    def predict_dataloader(self) -> DataLoader:
        part = self.images.test if self.predicted == "test" else self.images.train
        assert part is not None
        return self.eval_loader(part, np.arange(len(part)))

    def loader_generator(self) -> torch.Generator:
        return self.seeds.torch("batches")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> ViewBatch:
        """(indices[, pixels]) on the device -> a `ViewBatch`."""
        trainer = self.trainer
        assert trainer is not None
        name = self.val_names[dataloader_idx] if trainer.validating else self.predicted
        in_test = not trainer.training and name in ("probe", "test")
        part = self.images.test if in_test else self.images.train
        assert part is not None
        images, indices = self.raw(part, batch)
        if trainer.training:
            return self.view(images, indices, trainer.current_epoch)
        return ViewBatch(self.clean(images), indices)

    def clean(self, images: Tensor) -> Tensor:
        """uint8 images as they are, in 0 to 1."""
        return self.lay_out(to_float(images))

    def view(self, images: Tensor, indices: Tensor, epoch: int) -> ViewBatch:
        """The batch that training makes of uint8 images in an epoch."""
        if self.views is None:
            return ViewBatch(self.clean(images), indices)
        views = self.views(images, indices, self.seeds.stream("augmentation", epoch))
        return ViewBatch(self.lay_out(views), indices)
