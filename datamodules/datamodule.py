"""The LightningDataModule: pools of images in, batches on the device out."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.augment import Augmenter, Normalizer
from datamodules.images import Images, Part
from datamodules.pools import Pools
from datamodules.samplers import EvalBatches, TrainBatches
from datamodules.seeds import Seeds

STATISTICS_IMAGES = 1000  # how many images the mean and std of an unknown data set are taken from
DEVICE_SHARE = 0.5  # of the device's free memory that images may take


class Batch(NamedTuple):
    """What a module is given: N images, their labels and their sample indices.

    `labels` is None while predicting, so that no query can see a label of U.
    """

    images: Tensor  # (N, C, H, W) float32, normalized
    labels: Tensor | None  # (N,) int64
    indices: Tensor  # (N,) int64, positions in the train part (test part while testing)


class _Positions(Dataset):
    """Batches of positions; with `part`, also their pixels, decoded in a loader worker."""

    def __init__(self, part: Part | None):
        self.part = part

    def __getitem__(self, batch: np.ndarray) -> tuple[Tensor, ...]:
        indices = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.int64))
        if self.part is None:
            return (indices,)
        return indices, self.part.take(batch)


class PoolDataModule(pl.LightningDataModule):
    """Serves L for training, V for validation, the test part, and U for queries.

    In memory, the loader yields indices; gather, augmentation and normalization happen here after
    the transfer, on the batch, on the device, where the images are copied once if they fit. When
    streaming, the loader's workers decode, and the rest is the same: both give the same batches.

    Args:
        batch_size: the global one, over all devices.
        eval_batch_size: for V, U and the test part, on each device.
        mean, std: of each channel, on pixels in 0 to 1; None: taken from the train part.
        workers: loader processes when streaming; None: one for each core, at most 8.
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
        super().__init__()
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, not {batch_size}")
        self.images, self.pools, self.seeds = images, pools, seeds
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        if mean is None or std is None:
            measured = channel_statistics(images.train)
            mean, std = mean or measured[0], std or measured[1]
        self.normalizer, self.augmenter = Normalizer(mean, std), augmenter
        self.workers = min(os.cpu_count() or 1, 8) if workers is None else workers
        self.channels_last = channels_last
        self.cycle = 0
        self._on_device: dict[tuple[str, str], Tensor] = {}
        self._augmentation_seed = (-1, -1, 0)  # cycle, epoch, seed

    def train_dataloader(self) -> DataLoader:
        rank, world_size = self._ranks()
        sampler = TrainBatches(
            self.pools.labeled, self.batch_size, self.seeds, self.cycle, rank, world_size
        )
        return self._loader(self.images.train, sampler)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if not len(self.pools.validation):
            return []
        return self._eval_loader(self.images.train, self.pools.validation)

    def test_dataloader(self) -> DataLoader:
        assert self.images.test is not None
        return self._eval_loader(self.images.test, np.arange(len(self.images.test)))

    def predict_dataloader(self) -> DataLoader:
        return self._eval_loader(self.images.train, self.pools.unlabeled)

    def _eval_loader(self, part: Part, indices: np.ndarray) -> DataLoader:
        return self._loader(part, EvalBatches(indices, self.eval_batch_size, *self._ranks()))

    def _ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def _loader(self, part: Part, sampler: Any) -> DataLoader:
        streamed = part.pixels is None
        workers = self.workers if streamed else 0
        return DataLoader(
            _Positions(part if streamed else None),
            sampler=sampler,
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=streamed and torch.cuda.is_available(),
            # Its own, because a loader draws from the global one, which dropout uses.
            generator=self.seeds.torch("batches", self.cycle),
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """(indices[, pixels]) on the device -> a `Batch`: gather, augment, normalize."""
        trainer = self.trainer
        assert trainer is not None
        part = self.images.test if trainer.testing else self.images.train
        assert part is not None
        indices = batch[0]
        images = batch[1] if len(batch) > 1 else self._gather(part, indices)
        if trainer.training:
            images = self.augmenter(images, indices, self._seed_of_epoch(trainer.current_epoch))
        labels = None if trainer.predicting else self._labels(part, indices)
        images = self.normalizer(images)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, labels, indices)

    def _seed_of_epoch(self, epoch: int) -> int:
        cycle, known, seed = self._augmentation_seed
        if (cycle, known) != (self.cycle, epoch):
            seed = self.seeds.stream("augmentation", self.cycle, epoch)
            self._augmentation_seed = (self.cycle, epoch, seed)
        return seed

    def _gather(self, part: Part, indices: Tensor) -> Tensor:
        assert part.pixels is not None
        pixels = self._resident("pixels", part, part.pixels, indices.device)
        if pixels.device == indices.device:
            return pixels[indices]
        return pixels[indices.cpu()].to(indices.device)  # the images do not fit on the device

    def _labels(self, part: Part, indices: Tensor) -> Tensor:
        assert part.labels is not None
        labels = self._resident("labels", part, torch.from_numpy(part.labels), indices.device)
        return labels[indices]

    def _resident(self, what: str, part: Part, tensor: Tensor, device: torch.device) -> Tensor:
        """`tensor` on `device`, copied there once, or as it is where it would not fit."""
        if device.type == "cpu":
            return tensor
        key = (what, "test" if part is self.images.test else "train")
        if key not in self._on_device:
            fits = tensor.nbytes <= DEVICE_SHARE * _free_memory(device)
            self._on_device[key] = tensor.to(device) if fits else tensor
        return self._on_device[key]


def _free_memory(device: torch.device) -> float:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def channel_statistics(part: Part) -> tuple[list[float], list[float]]:
    """Mean and std of each channel, on pixels in 0 to 1, over evenly spaced images of `part`."""
    positions = np.unique(np.linspace(0, len(part) - 1, STATISTICS_IMAGES).astype(np.int64))
    pixels = part.take(positions).double().div_(255)
    std = pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
    return pixels.mean(dim=(0, 2, 3)).tolist(), std.tolist()
