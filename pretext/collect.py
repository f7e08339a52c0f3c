"""What a pass over the images leaves, from all ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class Collect(pl.Callback):
    """Keeps what `predict_step` returned of every sample, in the order of the indices.

    `columns` and `features` are those of all ranks, each sample once.
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
        order = np.argsort(gathered([row.indices for row in rows]))
        names = list(rows[0].columns)
        self.columns = {n: gathered([row.columns[n] for row in rows])[order] for n in names}
        self.features = gathered([row.features for row in rows])[order]


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
