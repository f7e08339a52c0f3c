"""The LightningDataModule: pools of images in, batches on the device out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.augment import Augmenter
from datamodules.draws import random_order
from datamodules.images import Images, Part
from datamodules.loading import ImageDataModule
from datamodules.pools import Pools
from datamodules.samplers import PairBatches, TrainBatches
from datamodules.seeds import Seeds

STATISTICS_IMAGES = 1000  # how many images the mean and std of an unknown data set are taken from


class Batch(NamedTuple):
    """What a module is given: N images, their labels and their sample indices.

    `labels` is None in a query, so that none can see a label of U.
    """

    images: Tensor  # (N, C, H, W) float32, normalized; or features (N, D) in their place
    labels: Tensor | None  # (N,) int64
    indices: Tensor  # (N,) int64, positions in the train part (test part while testing)


class PoolDataModule(ImageDataModule):
    """Serves L for training, V for validation, the test part, and U for queries.

    Args:
        batch_size: the global one, over all devices.
        eval_batch_size: for V, U and the test part, on each device.
        augmenter, normalizer: of what is served; identities where it is no pixels but features.
    """

    def __init__(
        self,
        images: Images,
        pools: Pools,
        seeds: Seeds,
        *,
        augmenter: Augmenter,
        normalizer: Callable[[Tensor], Tensor],
        batch_size: int,
        eval_batch_size: int = 500,
        workers: int | None = None,
        channels_last: bool = False,
    ):
        super().__init__(images, eval_batch_size, workers, channels_last)
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, not {batch_size}")
        self.pools, self.seeds = pools, seeds
        self.batch_size = batch_size
        self.augmenter, self.normalizer = augmenter, normalizer
        self.at(0)

    def at(
        self, cycle: int, member: int = 0, asked: tuple[str, ...] = ("unlabeled",), paired: int = 0
    ) -> None:
        """Serves a cycle's batches of one classifier, and these pools to a query's pass.

        Args:
            paired: for a query that trains a model of its own: batches of so many labeled and,
                after them, as many unlabeled images, without labels, augmented anew each step.
        """
        self.cycle, self.member, self.asked, self.paired = cycle, member, asked, paired

    def train_dataloader(self) -> DataLoader:
        rank, world_size = self.ranks()
        if self.paired:
            pools = self.pools.labeled, self.pools.unlabeled
            pairs = PairBatches(*pools, self.paired, self.seeds, self.cycle, rank, world_size)
            return self.loader(self.images.train, pairs)
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
        if self.paired or not len(self.pools.validation):
            return []
        return self.eval_loader(self.images.train, self.pools.validation)

    def test_dataloader(self) -> DataLoader:
        assert self.images.test is not None
        return self.eval_loader(self.images.test, np.arange(len(self.images.test)))

    def predict_dataloader(self) -> DataLoader:
        pools = [getattr(self.pools, name) for name in self.asked]
        return self.eval_loader(self.images.train, np.concatenate(pools))

    def validation_sample(self, count: int, device: torch.device) -> Batch:
        """At most `count` samples of V with their labels, the same for all arms of a seed."""
        order = random_order(self.seeds.stream("split"), self.pools.validation)[:count]
        indices = torch.from_numpy(order).to(device)
        images, _ = self.raw(self.images.train, (indices,))
        labels = self.labels(self.images.train, indices)
        return Batch(self.lay_out(self.normalizer(images)), labels, indices)

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
            moment = trainer.global_step if self.paired else trainer.current_epoch
            seed = self.seeds.of(self.member).stream("augmentation", self.cycle, moment)
            images = self.augmenter(images, indices, seed)
        blind = trainer.predicting or self.paired
        labels = None if blind else self.labels(part, indices)
        return Batch(self.lay_out(self.normalizer(images)), labels, indices)


def channel_statistics(part: Part) -> tuple[list[float], list[float]]:
    """Mean and std of each channel, on pixels in 0 to 1, over evenly spaced images of `part`.

    Measured once: where images stay in their files, a thousand are decoded for it.
    """
    if "statistics" not in part.copies:
        positions = np.unique(np.linspace(0, len(part) - 1, STATISTICS_IMAGES).astype(np.int64))
        pixels = part.take(positions).double().div_(255)
        std = pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
        part.copies["statistics"] = torch.stack([pixels.mean(dim=(0, 2, 3)), std])
    statistics = part.copies["statistics"]
    assert statistics is not None
    mean, std = statistics
    return mean.tolist(), std.tolist()
