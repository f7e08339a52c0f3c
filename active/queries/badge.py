"""BADGE (Ash et al., ICLR 2020, https://arxiv.org/abs/1906.03671)."""

from __future__ import annotations

from torch import Tensor

from active.badge import badge
from active.predictor import Outputs, Predictor
from active.query import Gathered, Query, Request, Selection, unscored
from datamodules.distances import where_exact


class BADGE(Query):
    """k-means++ seeding on the gradients of the last layer, for the predicted labels."""

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        return {"logits": outputs.logits, "features": outputs.features}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        kept = {k: where_exact(v) for k, v in gathered.unlabeled.items()}
        chosen = badge(kept["logits"], kept["features"], request.budget, request.generator)
        return unscored(gathered.indices, chosen)
