"""The classifier that is trained anew in each cycle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from datamodules.datamodule import Batch
from pretext.backbone import ResNet18
from pretext.trainable import OPTIMIZERS, Trainable, check_optimization

NESTEROV: dict[str, Callable[..., torch.optim.Optimizer]] = {
    **OPTIMIZERS,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}
DROPOUT = 0.5
CALIBRATION_BINS = 15


class Outputs(NamedTuple):
    """What `predict_step` gives a query, in float32, in the order of the batch's indices."""

    indices: Tensor  # (N,) int64 sample indices
    logits: Tensor  # (N, C)
    features: Tensor  # (N, P), the projector's output
    pooled: Tensor  # (N, F), the backbone's output, before dropout


class Classifier(Trainable):
    """ResNet-18, dropout, projector, linear head: the study's classifier.

    Projector and head run in float32, outside autocast: bf16 logits tie and depend on the batch
    size. Each epoch logs `train/loss`; each check of V logs `val/acc`; `test` gives `test_metrics`.

    Args:
        projection: width of the projector's output (paper: 128, on Tiny ImageNet 512; its code
            had 128 everywhere). Between it and the head is no nonlinearity.
        dropout: p = 0.5 on the backbone's output; the study has it only for MC-dropout queries.
        schedule: `cosine` to 0 over the epochs, stepped each epoch, or `none`.
        weight_decay: coupled (L2), on all parameters.
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
        super().__init__()
        self.save_hyperparameters()
        check_optimization(self.hparams)
        self.backbone = ResNet18(channels, width, stem, max_pool)
        features = self.backbone.out_features
        self.dropout = nn.Dropout(DROPOUT) if dropout else nn.Identity()
        self.projector = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, projection)
        )
        self.head = nn.Linear(projection, num_classes)
        self.confusion = MulticlassConfusionMatrix(num_classes)
        self.calibration = MulticlassCalibrationError(num_classes, n_bins=CALIBRATION_BINS)
        self.test_metrics: dict[str, Any] = {}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> projector's output (N, P) and logits (N, classes), both float32."""
        return self.classify(self.backbone(images))

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F) of the backbone -> what `forward` gives."""
        with torch.autocast(pooled.device.type, enabled=False):
            features = self.projector(self.dropout(pooled.float()))
            return features, self.head(features)

    def mc_logits(self, pooled: Tensor, masks: Tensor) -> Tensor:
        """MC dropout after one pass of the backbone, which lies before all dropout.

        Args:
            pooled: (N, F) outputs of the backbone.
            masks: (S, F), 0 or 1 / (1 - p); the same S masks for every image, so that the samples
                are functions and joint entropies over images have a meaning.

        Returns:
            (S, N, classes) logits, float32.
        """
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(self.projector(pooled.float() * masks[:, None]))

    def training_step(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        loss = F.cross_entropy(self(batch.images)[1], batch.labels)
        self._add("train", loss.detach() * len(batch.images), len(batch.images))
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/loss", self._mean("train"), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        assert batch.labels is not None
        correct = self(batch.images)[1].argmax(dim=1) == batch.labels
        self._add("val", correct.sum().float(), len(batch.images))

    def on_validation_epoch_end(self) -> None:
        self.log("val/acc", self._mean("val"), rank_zero_only=True)

    def on_test_epoch_start(self) -> None:
        self.confusion.reset()
        self.calibration.reset()

    def test_step(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        logits = self(batch.images)[1]
        nll = F.cross_entropy(logits, batch.labels, reduction="sum")
        self._add("test", nll, len(batch.images))
        self.confusion.update(logits, batch.labels)
        self.calibration.update(logits, batch.labels)
        return logits

    def on_test_epoch_end(self) -> None:
        """Fills `test_metrics`: acc, nll (nats), ece (15 bins), balanced_acc, acc_per_class."""
        matrix = self.confusion.compute().cpu().double()
        support = matrix.sum(dim=1)
        recall = matrix.diagonal() / support.clamp_min(1)
        self.test_metrics = {
            "test/acc": (matrix.trace() / support.sum()).item(),
            "test/nll": self._mean("test").item(),
            "test/ece": self.calibration.compute().item(),
            "test/balanced_acc": recall[support > 0].mean().item(),
            "test/acc_per_class": recall.tolist(),
        }

    def predict_step(self, batch: Batch) -> Outputs:
        pooled = self.backbone(batch.images).float()
        features, logits = self.classify(pooled)
        return Outputs(batch.indices, logits, features, pooled)

    def configure_optimizers(self) -> Any:
        epochs = self.trainer.max_epochs
        assert epochs is not None
        return self.make_optimizer(epochs)
