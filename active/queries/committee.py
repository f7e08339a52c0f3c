"""Committees of classifiers (Beluch et al., CVPR 2018), the study's ENS strategies."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from active.acquisition import entropy, least_confidence, margin, mean_log_probs, variation_ratio
from active.predictor import Outputs
from active.query import ScoreQuery


class CommitteeQuery(ScoreQuery):
    """Ranks by one number of all members' logits."""

    wants_committee: ClassVar[bool] = True


class EnsembleVariationRatio(CommitteeQuery):
    """Queries where most members disagree with the most frequent vote; 1 - votes / members.

    A committee of three knows three values, so most of its ranking is ties, broken at random.
    """

    def score(self, outputs: Outputs) -> Tensor:
        return variation_ratio(outputs.logits)


class EnsembleLeastConfidence(CommitteeQuery):
    """Least confidence of the mean of the members' probabilities."""

    def score(self, outputs: Outputs) -> Tensor:
        return least_confidence(mean_log_probs(outputs.logits))


class EnsembleEntropy(CommitteeQuery):
    """Entropy, in nats, of the mean of the members' probabilities."""

    def score(self, outputs: Outputs) -> Tensor:
        return entropy(mean_log_probs(outputs.logits))


class EnsembleMargin(CommitteeQuery):
    """Smallest margin of the mean of the members' probabilities."""

    def score(self, outputs: Outputs) -> Tensor:
        return margin(mean_log_probs(outputs.logits))
