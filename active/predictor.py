"""What the classifiers of all learners share: how they are validated, tested and asked."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassCalibrationError

from datamodules.datamodule import Batch
from pretext.trainable import Trainable

DROPOUT = 0.5
CALIBRATION_BINS = 15


class Outputs(NamedTuple):
    """What `predict_step` gives a query, in float32, in the order of the batch's indices.

    Of a committee all but the indices are (members, N, ...).
    """

    indices: Tensor  # (N,) int64 sample indices
    logits: Tensor  # (N, C)
    features: Tensor  # (N, P), the input of the last linear layer
    pooled: Tensor  # (N, F), what dropout acts on


class Predictor(Trainable):
    """A classifier; a subclass defines its `embed`, `classify`, `mc_logits` and training.

    Its constructor calls `save_hyperparameters()`: classifiers are loaded from their checkpoints.

    Each epoch logs `train/loss`, each check of V `val/acc`; `test` gives `test_metrics`.
    """

    fixed_features: ClassVar[bool] = (
        False  # whether training leaves an image's features as they are
    )

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.calibration = MulticlassCalibrationError(
            num_classes, n_bins=CALIBRATION_BINS, validate_args=False
        )
        self.test_metrics: dict[str, Any] = {}

    @property
    def network(self) -> nn.Module:
        """What torch.compile is for."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """A batch as the learner sees it -> (N, F) float32, before all dropout."""
        raise NotImplementedError

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F) -> the last layer's input (N, P) and logits (N, classes), both float32."""
        raise NotImplementedError

    def mc_logits(self, pooled: Tensor, masks: Tensor) -> Tensor:
        """MC dropout after one pass of `embed`, which lies before all dropout.

        Args:
            pooled: (N, F).
            masks: (S, F), 0 or 1 / (1 - p); the same S masks for every image, so that the samples
                are functions and joint entropies over images have a meaning.

        Returns:
            (S, N, classes) logits, float32.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What `classify` gives of a batch."""
        return self.classify(self.embed(images))

    def on_train_epoch_end(self) -> None:
        self.log("train/loss", self._mean("train"), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        assert batch.labels is not None
        correct = self(batch.images)[1].argmax(dim=1) == batch.labels
        self._add("val", correct.sum().float(), len(batch.images))

    def on_validation_epoch_end(self) -> None:
        self.log("val/acc", self._mean("val"), rank_zero_only=True)

    def on_test_epoch_start(self) -> None:
        # Integers, so that no order of counting matters.
        self._counts = torch.zeros(2, self.num_classes, dtype=torch.int32, device=self.device)
        self.calibration.reset()

    def test_step(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        logits = self(batch.images)[1]
        nll = F.cross_entropy(logits, batch.labels, reduction="sum")
        self._add("test", nll, len(batch.images))
        right = (logits.argmax(dim=1) == batch.labels).int()
        self._counts.index_add_(1, batch.labels, torch.stack([right, torch.ones_like(right)]))
        self.calibration.update(logits.softmax(dim=1), batch.labels)
        return logits

    def on_test_epoch_end(self) -> None:
        """Fills `test_metrics`: acc, nll (nats), ece (15 bins), balanced_acc, acc_per_class."""
        counts = self.all_gather(self._counts)
        assert isinstance(counts, Tensor)
        right, support = counts.view(-1, *self._counts.shape).sum(dim=0).cpu().double()
        recall = right / support.clamp_min(1)
        self.test_metrics = {
            "test/acc": (right.sum() / support.sum()).item(),
            "test/nll": self._mean("test").item(),
            "test/ece": self.calibration.compute().item(),
            "test/balanced_acc": recall[support > 0].mean().item(),
            "test/acc_per_class": recall.tolist(),
        }

    def predict_step(self, batch: Batch) -> Outputs:
        pooled = self.embed(batch.images)
        features, logits = self.classify(pooled)
        return Outputs(batch.indices, logits, features, pooled)
