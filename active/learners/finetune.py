"""ResNet-18 from a pretext model's weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from active.classifier import Classifier
from active.learner import Seen
from active.learners.resnet18 import ResNet18Learner
from datamodules.errors import UserError
from pretext.artifacts import CHECKPOINT, Artifact


class FinetuneLearner(ResNet18Learner):
    """The study's classifier whose backbone starts each cycle with a pretext model's weights."""

    reads: ClassVar[str] = "weights"

    def check_base(self, inputs: dict[str, Any]) -> None:
        for name in ("width", "stem", "max_pool"):
            if self.network[name] != inputs[name]:
                raise UserError(
                    f"learner.{name} is {self.network[name]}, and the pretext model's network has "
                    f"{inputs[name]}; --data.recipe.{name} sets both"
                )

    def make(self, seen: Seen, dropout: bool, artifact: Artifact | None) -> Classifier:
        assert artifact is not None
        classifier = self.blank(seen.images, dropout)
        try:
            classifier.backbone.load_state_dict(_backbone(artifact.path))
        except RuntimeError as error:
            raise UserError(f"the backbone of {artifact.name} is not the one ResNet-18") from error
        return classifier


@lru_cache(maxsize=2)
def _backbone(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished model's backbone, read once in a process."""
    state = torch.load(folder / CHECKPOINT, map_location="cpu", mmap=True, weights_only=True)
    prefix = "backbone."
    tensors = state["state_dict"].items()
    return {k.removeprefix(prefix): v for k, v in tensors if k.startswith(prefix)}
