"""What both DataModules share: loaders of positions, gathering on the device, ranks."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.images import Images, Part
from datamodules.samplers import EvalBatches

DEVICE_SHARE = 0.5  # of the device's free memory that images may take


class _Positions(Dataset):
    """Batches of positions; with `part`, also their pixels, decoded in a loader worker."""

    def __init__(self, part: Part | None):
        self.part = part

    def __getitem__(self, batch: np.ndarray) -> tuple[Tensor, ...]:
        indices = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.int64))
        if self.part is None:
            return (indices,)
        return indices, self.part.take(batch)


class ImageDataModule(pl.LightningDataModule):
    """Serves batches of a data set's images by position.

    In memory, the loader yields indices; gather, augmentation and normalization happen after the
    transfer, on the batch, on the device, where the images are copied once if they fit. When
    streaming, the loader's workers decode, and the rest is the same: both give the same batches.

    Args:
        eval_batch_size: for passes without training, on each device.
        workers: loader processes when streaming; None: one for each core, at most 8.
    """

    def __init__(
        self, images: Images, eval_batch_size: int, workers: int | None, channels_last: bool
    ):
        super().__init__()
        self.images, self.eval_batch_size = images, eval_batch_size
        self.workers = min(_cores(), 8) if workers is None else workers
        self.channels_last = channels_last
        self._on_device: dict[tuple[str, str], Tensor] = {}

    def loader_generator(self) -> torch.Generator:
        """The loader's own; otherwise it draws from the global one, which dropout uses."""
        raise NotImplementedError

    def eval_loader(self, part: Part, indices: np.ndarray) -> DataLoader:
        return self.loader(part, EvalBatches(indices, self.eval_batch_size, *self.ranks()))

    def ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def loader(self, part: Part, sampler: Any) -> DataLoader:
        streamed = part.pixels is None
        workers = self.workers if streamed else 0
        return DataLoader(
            _Positions(part if streamed else None),
            sampler=sampler,
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=streamed and torch.cuda.is_available(),
            generator=self.loader_generator(),
        )

    def raw(self, part: Part, batch: Any) -> tuple[Tensor, Tensor]:
        """(indices[, pixels]) on the device -> uint8 images (N, C, H, W) and indices (N,)."""
        indices = batch[0]
        return (batch[1] if len(batch) > 1 else self._gather(part, indices)), indices

    def lay_out(self, images: Tensor) -> Tensor:
        """Images in the memory layout that the network wants."""
        if self.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _gather(self, part: Part, indices: Tensor) -> Tensor:
        assert part.pixels is not None
        pixels = self._resident("pixels", part, part.pixels, indices.device)
        if pixels.device == indices.device:
            return pixels[indices]
        return pixels[indices.cpu()].to(indices.device)  # the images do not fit on the device

    def labels(self, part: Part, indices: Tensor) -> Tensor:
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


def _cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_memory(device: torch.device) -> float:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
