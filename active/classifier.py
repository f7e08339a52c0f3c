"""The study's classifier, trained by gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from active.predictor import DROPOUT, Predictor
from datamodules.datamodule import Batch
from pretext.backbone import ResNet18
from pretext.trainable import OPTIMIZERS, check_optimization

NESTEROV: dict[str, Callable[..., torch.optim.Optimizer]] = {
    **OPTIMIZERS,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}


class Classifier(Predictor):
    """ResNet-18, dropout, projector, linear head: the study's classifier.

    Projector and head run in float32, outside autocast: bf16 logits tie and depend on the batch
    size.

    Args:
        projection: width of the projector's output (paper: 128, on Tiny ImageNet 512; its code
            had 128 everywhere). Between it and the head is no nonlinearity.
        dropout: p = 0.5 on the backbone's output; the study has it only for MC-dropout queries.
        schedule: `cosine` to 0 over the epochs, stepped each epoch, or `none`.
        weight_decay: coupled (L2; decoupled with `adamw`), on all parameters.
    """

    makers = NESTEROV

    def __init__(
        self,
        num_classes: int,
        channels: int,
        width: int = 64,
        stem: int = 3,
        max_pool: bool = True,
        projection: int = 128,
        dropout: bool = False,
        optimizer: str = "sgd",
        lr: float = 0.025,
        weight_decay: float = 3e-4,
        schedule: str = "cosine",
    ):
        super().__init__(num_classes)
        self.save_hyperparameters()
        check_optimization(self.hparams)
        self.backbone = ResNet18(channels, width, stem, max_pool)
        features = self.backbone.out_features
        self.dropout = nn.Dropout(DROPOUT) if dropout else nn.Identity()
        self.projector = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, projection)
        )
        self.head = nn.Linear(projection, num_classes)

    @property
    def network(self) -> nn.Module:
        return self.backbone

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, F) of the backbone."""
        return self.backbone(images).float()

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F) of the backbone -> projector's output (N, P) and logits (N, classes), float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            features = self.projector(self.dropout(pooled.float()))
            return features, self.head(features)

    def mc_logits(self, pooled: Tensor, masks: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(self.projector(pooled.float() * masks[:, None]))

    def on_train_start(self) -> None:
        """Every rank has made the same weights; from here each draws dropout of its own."""
        if self.trainer.world_size > 1:
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert batch.labels is not None
        loss = F.cross_entropy(self(batch.images)[1], batch.labels)
        self._add("train", loss.detach() * len(batch.images), len(batch.images))
        return self._evenly(loss, len(batch.images), batch_idx)

    def configure_optimizers(self) -> Any:
        epochs = self.trainer.max_epochs
        assert epochs is not None
        return self.make_optimizer(epochs)
