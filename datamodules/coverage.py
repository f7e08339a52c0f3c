"""Selection by coverage of unit-length features; for initial pools and for queries.

Each selection takes `features` (N, D) float32 on any device with float64, works there, and returns
(budget,) int64 positions, distinct and outside `labeled`, in order of preference. Equal candidates
are taken by lowest position. AssertionError if fewer than `budget` are left. Distances are
exact, see `datamodules.distances`: the same on any device and in any block. With `known` of the
call before, see `datamodules.fronts`, the picks are the same and only what is new is worked out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.cover import Cover, Kernel
from datamodules.distances import exact
from datamodules.fronts import Known, best_candidates, check_budget
from datamodules.kcenter import k_center

SHARE = 0.1  # of what bringing all gains up to date costs, for fronts to cost before


def probcover(
    features: Tensor, budget: int, delta: float, *, labeled: Tensor | None = None,
    known: Known | None = None,
) -> Tensor:  # fmt: skip
    """ProbCover (Yehuda et al. 2022): the sample with most uncovered ones at a distance < delta.

    The paper draws from the five samples with most, at random; here it is always the first. Once
    all are covered, what is left of the budget goes to greedy k-center, which goes on with
    spreading where the official code takes whatever comes first.
    """
    labeled = check_budget(features, budget, labeled)

    def kernel(squared: Tensor) -> Tensor:
        return (squared < delta * delta).double()

    picks = _greedy(features, budget, kernel, labeled, stop=0, known=known)
    if len(picks) == budget:
        return picks
    rest = k_center(features, budget - len(picks), labeled=torch.cat([labeled, picks]))
    return torch.cat([picks, rest])


def max_herding(
    features: Tensor, budget: int, *, sigma: float = 1.0, labeled: Tensor | None = None,
    weights: Tensor | None = None, known: Known | None = None,
) -> Tensor:  # fmt: skip
    """MaxHerding (Bae et al. 2024): greedy maximization of mean_n w_n max_{j chosen} k(x_n, x_j).

    k = exp(-||.||^2 / sigma^2), in multiples of 2^-30, so that without `weights` gains are exact;
    with them, (N,) not negative, as for UHerding, they are exact up to float64 rounding.
    """
    assert weights is None or bool((weights >= 0).all()), "weights must not be negative"
    assert weights is None or known is None, "what is known holds for the same weights only"

    def kernel(squared: Tensor) -> Tensor:
        return squared.mul_(-1 / sigma**2).exp_().mul_(2.0**30).round_().mul_(2.0**-30)

    labeled = check_budget(features, budget, labeled)
    return _greedy(features, budget, kernel, labeled, weights, known=known)


def _greedy(
    features: Tensor, budget: int, kernel: Kernel, labeled: Tensor, weights: Tensor | None = None,
    stop: float = -math.inf, known: Known | None = None,
) -> Tensor:  # fmt: skip
    """The greedy cover of all samples, cut short where no candidate gains more than `stop`.

    Picks come from the front alone while it leads; then comes another front, or, once fronts have
    cost their share of it, all gains are brought up to date.
    """
    known = Known() if known is None else known
    state = Cover.of(exact(features), kernel, labeled, weights, known)
    picks, spent = labeled[:0], 0
    while len(picks) < budget and float(state.bounds.max()) > stop:
        rows = state.risen()
        if spent > SHARE * len(rows) * len(features):
            state.update(rows)
            rows, spent = rows[:0], 0
        front = best_candidates(state.bounds)
        spent += len(rows) * len(front.positions)
        picks = torch.cat([picks, state.pick(front, rows, budget - len(picks), stop)])
    known.chosen, known.columns = len(labeled) + len(picks), state.columns
    return picks


def check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def check_radius(delta: float | None, purity: float) -> None:
    """Of ProbCover's balls; None: found by `purity`."""
    if delta is not None:
        check_positive("delta", delta)
    if not 0 < purity <= 1:
        raise ValueError(f"purity must be above 0 and at most 1, not {purity!r}")
