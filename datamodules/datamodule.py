"""The LightningDataModule: pools of images in, batches on the device out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.augment import Augmenter, Normalizer
from datamodules.images import Images, Part
from datamodules.loading import ImageDataModule
from datamodules.pools import Pools
from datamodules.samplers import TrainBatches
from datamodules.seeds import Seeds

STATISTICS_IMAGES = 1000  # how many images the mean and std of an unknown data set are taken from


class Batch(NamedTuple):
    """What a module is given: N images, their labels and their sample indices.

    `labels` is None while predicting, so that no query can see a label of U.
    """

    images: Tensor  # (N, C, H, W) float32, normalized
    labels: Tensor | None  # (N,) int64
    indices: Tensor  # (N,) int64, positions in the train part (test part while testing)


class PoolDataModule(ImageDataModule):
    """Serves L for training, V for validation, the test part, and U for queries.

    Args:
        batch_size: the global one, over all devices.
        eval_batch_size: for V, U and the test part, on each device.
        mean, std: of each channel, on pixels in 0 to 1; None: taken from the train part.
    """

    def __init__(
        self,
        images: Images,
        pools: Pools,
        seeds: Seeds,
        *,
        augmenter: Augmenter,
        batch_size: int,
        eval_batch_size: int = 500,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        workers: int | None = None,
        channels_last: bool = False,
    ):
        super().__init__(images, eval_batch_size, workers, channels_last)
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, not {batch_size}")
        self.pools, self.seeds = pools, seeds
        self.batch_size = batch_size
        if mean is None or std is None:
            measured = channel_statistics(images.train)
            mean, std = mean or measured[0], std or measured[1]
        self.normalizer, self.augmenter = Normalizer(mean, std), augmenter
        self.cycle, self.member = 0, 0
        self.asked: tuple[str, ...] = ("unlabeled",)  # pools that a query's pass covers
        self._augmentation_seed = (-1, -1, -1, 0)  # cycle, member, epoch, seed

    def at(self, cycle: int, member: int = 0, asked: tuple[str, ...] = ("unlabeled",)) -> None:
        """Serves a cycle's batches of one classifier, and these pools to a query's pass."""
        self.cycle, self.member, self.asked = cycle, member, asked

    def train_dataloader(self) -> DataLoader:
        rank, world_size = self.ranks()
        sampler = TrainBatches(
            self.pools.labeled,
            self.batch_size,
            self.seeds.of(self.member),
            self.cycle,
            rank,
            world_size,
        )
        return self.loader(self.images.train, sampler)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if not len(self.pools.validation):
            return []
        return self.eval_loader(self.images.train, self.pools.validation)

    def test_dataloader(self) -> DataLoader:
        assert self.images.test is not None
        return self.eval_loader(self.images.test, np.arange(len(self.images.test)))

    def predict_dataloader(self) -> DataLoader:
        pools = [getattr(self.pools, name) for name in self.asked]
        return self.eval_loader(self.images.train, np.concatenate(pools))

    def loader_generator(self) -> torch.Generator:
        return self.seeds.of(self.member).torch("batches", self.cycle)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """(indices[, pixels]) on the device -> a `Batch`: gather, augment, normalize."""
        trainer = self.trainer
        assert trainer is not None
        part = self.images.test if trainer.testing else self.images.train
        assert part is not None
        images, indices = self.raw(part, batch)
        if trainer.training:
            images = self.augmenter(images, indices, self._seed_of_epoch(trainer.current_epoch))
        labels = None if trainer.predicting else self.labels(part, indices)
        return Batch(self.lay_out(self.normalizer(images)), labels, indices)

    def _seed_of_epoch(self, epoch: int) -> int:
        *known, seed = self._augmentation_seed
        now = (self.cycle, self.member, epoch)
        if now != tuple(known):
            seed = self.seeds.of(self.member).stream("augmentation", self.cycle, epoch)
            self._augmentation_seed = (*now, seed)
        return seed


def channel_statistics(part: Part) -> tuple[list[float], list[float]]:
    """Mean and std of each channel, on pixels in 0 to 1, over evenly spaced images of `part`."""
    positions = np.unique(np.linspace(0, len(part) - 1, STATISTICS_IMAGES).astype(np.int64))
    pixels = part.take(positions).double().div_(255)
    std = pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
    return pixels.mean(dim=(0, 2, 3)).tolist(), std.tolist()
