"""What a pass over the images leaves, from all ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class Collect(pl.Callback):
    """Keeps what `predict_step` returned of every sample, in the order of the indices.

    `columns` are those of all ranks, each sample once; so are `features`, on rank zero alone.
    """

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self.columns: dict[str, np.ndarray] = {}
        self.features = np.zeros((0, 0), np.float32)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._rows.append(outputs)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def gathered(parts: list[Tensor]) -> np.ndarray:
            return gather_rows(pl_module, torch.cat(parts)).cpu().numpy()

        rows, self._rows = self._rows, []
        indices = gathered([row.indices for row in rows])
        order = np.argsort(indices)
        names = list(rows[0].columns)
        self.columns = {n: gathered([row.columns[n] for row in rows])[order] for n in names}
        batches = [(row.indices, row.features) for row in rows]
        self.features = features_on_zero(pl_module, batches, indices[order])


def features_on_zero(
    module: pl.LightningModule, batches: list[tuple[Tensor, Tensor]], samples: np.ndarray
) -> np.ndarray:
    """(N, D) float32 features of the sorted `samples`, on rank zero's host; (0, D) on others.

    Gathered batch by batch, so that no device holds more than its own share and one batch of each.

    Args:
        batches: indices and features of this rank's samples; all ranks have equally many batches.
    """
    zero = module.global_rank == 0
    kept = np.empty((len(samples) if zero else 0, batches[0][1].shape[1]), np.float32)
    for batch in batches:
        indices, features = (gather_rows(module, rows) for rows in batch)
        if zero:
            kept[np.searchsorted(samples, indices.cpu().numpy())] = features.cpu().numpy()
    return kept


def gather_rows(module: pl.LightningModule, rows: Tensor) -> Tensor:
    """Rows of all ranks, one after another; ranks may hold different numbers of them."""
    if module._trainer is None or module.trainer.world_size == 1:
        return rows
    sizes = module.all_gather(torch.tensor(len(rows), device=rows.device))
    assert isinstance(sizes, Tensor)
    padded = rows.new_zeros((int(sizes.max()), *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = module.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes.tolist(), strict=True)])
