"""Committees of classifiers (Beluch et al., CVPR 2018), the study's ENS strategies."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from active import acquisition
from active.committee import mean_log_probs, variation_ratio
from active.predictor import Outputs, Predictor
from active.query import Gathered, Query, Request, Selection, highest


class CommitteeQuery(Query):
    """Ranks by one number of all members' logits: the highest first, ties at random."""

    wants_committee: ClassVar[bool] = True

    def score(self, logits: Tensor) -> Tensor:
        """(members, N, C) -> (N,)."""
        raise NotImplementedError

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        return {"logits": outputs.logits}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        return highest(self.score(gathered.unlabeled["logits"]), gathered.indices, request)


class EnsembleVariationRatio(CommitteeQuery):
    """Queries where most members disagree with the most frequent vote; 1 - votes / members.

    A committee of three knows three values, so most of its ranking is ties, broken at random.
    """

    def score(self, logits: Tensor) -> Tensor:
        return variation_ratio(logits)


class EnsembleLeastConfidence(CommitteeQuery):
    """Least confidence of the mean of the members' probabilities."""

    def score(self, logits: Tensor) -> Tensor:
        return acquisition.least_confidence(mean_log_probs(logits))


class EnsembleEntropy(CommitteeQuery):
    """Entropy, in nats, of the mean of the members' probabilities."""

    def score(self, logits: Tensor) -> Tensor:
        return acquisition.entropy(mean_log_probs(logits))


class EnsembleMargin(CommitteeQuery):
    """Smallest margin of the mean of the members' probabilities."""

    def score(self, logits: Tensor) -> Tensor:
        return acquisition.margin(mean_log_probs(logits))
