"""Initial pools from a pretext model's scores, one float a sample, higher = harder."""

from __future__ import annotations

import numpy as np

from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.initial import Candidates, Init, equal_shares, round_robin

ORDERS = ("hardest", "easiest")


class ScoreInit(Init):
    """The samples with the highest (or lowest) scores, or a mixture of bins of difficulty.

    With `bins` = n > 1 the candidates, hardest first, are cut into n bins as equal as possible;
    B / n samples are taken from the top of each of the n - 1 hardest bins and the B / n lowest of
    the last. A remainder goes to the hardest bins. From "On Initial Pools for Deep Active Learning"
    (Chandra et al., 2021, https://proceedings.mlr.press/v148/chandra21a.html), section 4.1, where
    the bins (n = 2, 5, 10) were announced and never run.
    """

    reads = "scores"

    def __init__(self, order: str = "hardest", bins: int = 1):
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
        if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
            raise ValueError(f"bins must be a whole number of at least 1, not {bins!r}")
        if order == "easiest" and bins > 1:
            raise ValueError(f"bins={bins} needs order=hardest: bins mix hard and easy")
        self.order, self.bins = order, bins

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates; of equal scores, a random one of `seed` comes first.

        Raises UserError where the artifact has no scores, or a candidate's is not finite.
        """
        scores = finite_scores(candidates)
        if self.order == "easiest":
            scores = -scores
        ordered = highest_first(scores, candidates.indices, seed)
        return ordered[:budget] if self.bins == 1 else mix_bins(ordered, self.bins, budget)


def finite_scores(candidates: Candidates) -> np.ndarray:
    """(N,) float64 scores; a candidate's score that is not finite is a UserError naming it."""
    if candidates.scores is None:
        raise UserError("this init needs scores, and the pretext artifact has none")
    scores = np.asarray(candidates.scores, dtype=np.float64)
    wrong = candidates.indices[~np.isfinite(scores[candidates.indices])]
    if len(wrong):
        name = candidates.ids[wrong[0]] if len(candidates.ids) else f"sample {wrong[0]}"
        raise UserError(
            f"the score of {name} is {scores[wrong[0]]}, and scores must be finite numbers "
            f"({len(wrong)} are not)"
        )
    return scores


def highest_first(scores: np.ndarray, indices: np.ndarray, seed: int) -> np.ndarray:
    """`indices` by descending score (N,); ties by one random priority for each (seed, sample)."""
    order = random_order(seed, indices)
    return order[np.argsort(-scores[order], kind="stable")]


def mix_bins(ordered: np.ndarray, bins: int, budget: int) -> np.ndarray:
    """`budget` of the (M,) samples `ordered` hardest first: top of each bin, lowest of the last.

    >>> mix_bins(np.arange(10), 3, 4).tolist()
    [0, 4, 9, 1]
    """
    groups = np.repeat(np.arange(bins), [len(part) for part in np.array_split(ordered, bins)])
    shares = equal_shares(np.bincount(groups, minlength=bins), budget)
    last = groups == bins - 1
    preferred = np.concatenate([ordered[~last], ordered[last][::-1]])
    return round_robin(preferred, groups, shares)
