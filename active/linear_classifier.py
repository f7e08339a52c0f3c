"""A linear classifier of frozen features, solved and not stepped."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from active.logistic import fit_logistic
from active.predictor import Predictor
from datamodules.datamodule import Batch, PoolDataModule
from pretext.collect import gather_rows

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of `c`, where V chooses it
LABELS_OF_V = 5  # for each labeled sample, at most (Lueth et al., NeurIPS 2023)


class LinearClassifier(Predictor):
    """Logistic regression on standardized features: the linear layer of a frozen network.

    MC dropout masks its input. It is trained without masks: on standardized features dropout is to
    first order the L2 penalty that it has (Wager et al., NeurIPS 2013).

    Args:
        features: D, of the features.
        c: weight of the sum of cross-entropies against half the squared norm of the weights; `val`
            takes the one of `GRID` that classifies at most 5 |L| labels of V best, the smallest of
            equally good ones.
    """

    fixed_features: ClassVar[bool] = True

    def __init__(self, num_classes: int, features: int, c: float | str = 10.0):
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.c = c
        self.head = nn.Linear(features, num_classes)

    @property
    def network(self) -> nn.Module:
        return self.head

    def embed(self, images: Tensor) -> Tensor:
        return images.float()

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(pooled.device.type, enabled=False):
            return pooled, self.head(pooled)

    def mc_logits(self, pooled: Tensor, masks: Tensor) -> Tensor:
        weights = self.head.weight * masks[:, None]  # (S, C, D): cheaper than to mask N samples
        bias = self.head.bias.repeat(len(masks))[:, None]
        # Images last in memory: `active.bayesian` runs over them.
        with torch.autocast(pooled.device.type, enabled=False):
            logits = torch.addmm(bias, weights.flatten(0, 1), pooled.T)
        return logits.view(len(masks), self.num_classes, -1).transpose(1, 2)

    def training_step(self, batch: Batch) -> None:
        """All of L is one batch; every rank solves for the whole of it."""
        assert batch.labels is not None
        features, labels = gather_rows(self, batch.images), gather_rows(self, batch.labels)
        c = self._choose(features, labels) if isinstance(self.c, str) else self.c
        self._set(fit_logistic(features, labels, self.num_classes, c))
        loss = F.cross_entropy(self(features)[1], labels)
        self._add("train", loss * len(labels), len(labels))

    def _set(self, weights: Tensor) -> None:
        with torch.no_grad():
            self.head.weight.copy_(weights[:, :-1])
            self.head.bias.copy_(weights[:, -1])

    def _choose(self, features: Tensor, labels: Tensor) -> float:
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, PoolDataModule)
        held_out = datamodule.validation_sample(LABELS_OF_V * len(labels), self.device)
        right = []
        for c in GRID:
            self._set(fit_logistic(features, labels, self.num_classes, c))
            predicted = self(held_out.images)[1].argmax(dim=1)
            right.append(int((predicted == held_out.labels).sum()))
        return GRID[right.index(max(right))]

    def configure_optimizers(self) -> Any:
        return None
