"""VAAL (Sinha et al., ICCV 2019, https://arxiv.org/abs/1904.00370)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch

from active.query import Gathered, Request, ScoreQuery
from active.training import RunningEpoch
from active.vaal import CURVES, REDUCTIONS, VAAL
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from datamodules.pools import Pools
from pretext.collect import Collect

log = logging.getLogger("initial_pools")


class VAALQuery(ScoreQuery):
    """What a discriminator on a VAE's code takes for unlabeled, most certainly first.

    Both are trained anew in each cycle, on L and U, before the choice; the classifier plays no
    part. Images are scored as they are; the study's code scored random crops. Where L is smaller
    than `batch`, a labeled image is several times in a step, augmented alike.

    Args:
        epochs: of (|L| + |U|) // batch steps each (study: 100).
        batch: labeled images of a step, and as many unlabeled ones, over all devices (study: 64).
        width, latent, beta, adversary, reduction, lr: see `active.vaal.VAAL`.
    """

    covers: ClassVar[tuple[str, ...]] = ()
    wants_images: ClassVar[bool] = True
    curves: ClassVar[tuple[str, ...]] = ("vaal/epoch", *(f"vaal/{name}" for name in CURVES))

    def __init__(
        self,
        epochs: int = 100,
        batch: int = 64,
        width: int = 128,
        latent: int = 32,
        beta: float = 1.0,
        adversary: float = 1.0,
        reduction: str = "elbo",
        lr: float = 5e-4,
    ):
        super().__init__()
        at_least = {"epochs": 1, "batch": 2, "latent": 1, "beta": 0, "adversary": 0}
        for name, least in at_least.items():
            if locals()[name] < least:
                raise ValueError(f"{name} must be at least {least}, not {locals()[name]}")
        if width < 16 or width % 16:  # half precision in channels_last needs it
            raise ValueError(f"width must be a multiple of 16, not {width}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
        if not lr > 0:
            raise ValueError(f"lr must be positive, not {lr}")
        self.epochs, self.batch = epochs, batch
        self.settings: dict[str, Any] = {
            "width": width, "latent": latent, "beta": beta, "adversary": adversary,
            "reduction": reduction, "lr": lr,
        }  # fmt: skip
        self._scores = np.zeros(0)

    def prepare(
        self, datamodule: PoolDataModule, trainer: Callable[..., pl.Trainer], request: Request
    ) -> None:
        module = self.train(datamodule, trainer, request)
        datamodule.at(request.cycle)
        self._scores = score(module, datamodule, trainer)

    def train(
        self, datamodule: PoolDataModule, trainer: Callable[..., pl.Trainer], request: Request
    ) -> VAAL:
        """New models, trained on L and U; their curves are logged and summed up in a line."""
        pools, cycle = datamodule.pools, request.cycle
        steps = max((len(pools.labeled) + len(pools.unlabeled)) // self.batch, 1)
        seed = request.seeds.stream("query", cycle, 3)
        torch.manual_seed(seed)
        module = VAAL(
            datamodule.images.train.shape, steps * self.epochs, seed=seed, **self.settings
        )
        if datamodule.channels_last:
            module.to(memory_format=torch.channels_last)
        datamodule.at(cycle, paired=self.batch)
        axes = RunningEpoch(cycle, (cycle - 1) * self.epochs, "vaal/epoch")
        training = trainer(max_epochs=self.epochs, callbacks=[axes], limit_val_batches=0)
        if self.batch < 2 * training.world_size:
            raise UserError(
                f"query.batch must be at least 2 on each of {training.world_size} devices"
            )
        training.fit(module, datamodule=datamodule)
        log.info(
            "VAAL: discriminator right in %.1f %%, KL per dimension %.4f, squared error %.4f",
            100 * module.summary["vaal/discriminator_acc"],
            module.summary["vaal/kl_per_dim"],
            module.summary["vaal/reconstruction"],
        )
        return module

    def gathered(self, pools: Pools, labels: np.ndarray | None) -> Gathered:
        scores = torch.from_numpy(self._scores)
        return Gathered(pools.unlabeled, pools.labeled, {"score": scores})


def score(
    module: VAAL, datamodule: PoolDataModule, trainer: Callable[..., pl.Trainer]
) -> np.ndarray:
    """(|U|,) logits of being unlabeled, in the order of U's indices."""
    collect = Collect()
    trainer(callbacks=[collect]).predict(module, datamodule=datamodule, return_predictions=False)
    return collect.columns["score"]
