"""Acquisition by what Monte-Carlo dropout knows of the weights; higher = queried first.

Legend: S dropout masks (samples of the weights w), N images, C classes, M joint configurations, one
label for each image chosen so far. `logits` are (S, N, C), raw float32 on any device with float64,
in which all is computed; results stay finite at saturation. Information is in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LEAST_GAIN = 1e-9  # nats; what rounding may leave of an exact 0 is below
FRONT = 16  # candidates brought up to date at once
CELLS = 2**21  # float64 numbers of a block of predictive probabilities, 16 MiB


class Joint(NamedTuple):
    """Configurations of the labels of the chosen images, and what each would tell of w."""

    weights: Tensor  # (M,) their probabilities, or 1/M each if they were sampled
    posterior: Tensor  # (M, S) p(mask | configuration)
    sampled: bool = False


def centered(logits: Tensor) -> Tensor:
    """(S, N, C) -> (C, S, N) float64 below the largest logit of each image and mask. Classes first,
    so that CPUs run over long rows: a softmax over ten numbers at a time takes half as long again.
    """
    copy = logits.permute(2, 0, 1).to(
        torch.float64, memory_format=torch.contiguous_format, copy=True
    )
    return copy.sub_(copy.amax(dim=0))


def log_probabilities(logits: Tensor) -> Tensor:
    """(S, N, C) -> (C, S, N) float64."""
    log_probs = centered(logits)
    return log_probs.sub_(log_probs.exp().sum(dim=0).log_())


def mean_entropy(logits: Tensor) -> Tensor:
    """(S, N, C) -> (N,): entropy of the mean over S of p (Gal et al., 2017), in [0, ln C].

    What the study calls DBAL.
    """
    probs = centered(logits).exp_()
    probs /= probs.sum(dim=0)
    return torch.special.entr(probs.mean(dim=1)).sum(dim=0)


def bald(logits: Tensor) -> Tensor:
    """(S, N, C) -> (N,): mutual information of label and w (Houlsby et al., 2011), in [0, ln C].

    As the mean KL divergence of p from its mean over S, H[mean p] - mean H[p] without the
    difference of two large numbers.
    """
    log_probs = log_probabilities(logits)
    log_mean = log_probs.logsumexp(dim=1, keepdim=True) - math.log(len(logits))
    return (log_probs.exp() * (log_probs - log_mean)).sum(dim=0).mean(dim=0).clamp_min(0)


def power(scores: np.ndarray, beta: float, generator: np.random.Generator) -> np.ndarray:
    """(N,) -> (N,) finite keys beta ln(score) + Gumbel(0, 1): PowerBALD (Kirsch et al., 2021).

    The b largest keys are b draws without replacement, proportional to score^beta, in the order
    drawn. Scores of 0 have keys below all others, in random order; beta = 0 is uniform over all
    (0^0 = 1).
    """
    assert beta >= 0, f"beta {beta} is negative"
    assert (scores >= 0).all(), "scores must not be negative"
    noise = generator.gumbel(size=len(scores))
    if beta == 0:
        return noise
    zero = scores == 0
    keys = beta * np.log(np.where(zero, 1, scores).astype(np.float64)) + noise
    if zero.any():
        keys[zero] = noise[zero] - noise[zero].max() - 1 + keys[~zero].min(initial=0)
    return keys


def batch_bald(
    logits: Tensor, budget: int, *, seed: int = 0, max_joint: int = 10_000, num_samples: int = 2_500
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """BatchBALD (Kirsch et al., 2019): greedy on the information of all labels together on w.

    Returns (B,) int64 positions and (B,) float64 gains I(label; w | labels before), B <= budget;
    their running sum, at most ln S but for noise, is the batch's joint information. Masks must be
    the same for all images. Up to `max_joint` configurations are enumerated; then `num_samples`
    (or a few more) are drawn, equally many by each mask, from a CPU generator with this `seed`.

    Stops where no candidate gains more than 1e-9, or, once configurations are drawn, 1/M: that is
    about one of M being undecided between two masks, which M draws cannot tell from nothing.

    Information is submodular: stale gains are upper bounds (of drawn ones: but for their noise),
    so only candidates that lead are brought up to date. Equal candidates: lowest position.
    """
    probs = logits.softmax(dim=2, dtype=torch.float64).transpose(0, 1).contiguous()
    joint = Joint(probs.new_ones(1), probs.new_full((1, len(logits)), 1 / len(logits)))
    gains, entropies = bald(logits), torch.special.entr(probs).sum(dim=2)
    generator = torch.Generator().manual_seed(seed)
    picks: list[int] = []
    won: list[Tensor] = []
    while len(picks) < min(budget, len(probs)):
        best = _leader(gains, probs, entropies, joint) if picks else int(gains.argmax())
        if gains[best] <= (1 / len(joint.weights) if joint.sampled else LEAST_GAIN):
            break
        picks.append(best)
        won.append(gains[best].clone())
        gains[best] = -math.inf
        if not joint.sampled and len(joint.weights) * probs.shape[2] <= max_joint:
            joint = _enumerated(joint, probs[best])
        else:
            new = [best] if joint.sampled else picks
            joint = _drawn(joint, probs[new], num_samples, generator)
    positions = torch.tensor(picks, dtype=torch.int64, device=logits.device)
    return positions, torch.stack(won) if won else gains[:0]


def _leader(gains: Tensor, probs: Tensor, entropies: Tensor, joint: Joint) -> int:
    """The position of largest gain; (N,) `gains` that may be ahead of it are updated in place."""
    stale = gains > -math.inf
    best = int(gains.argmax())
    while stale[best]:
        rows = gains.where(stale, -math.inf).topk(min(FRONT, len(gains))).indices
        rows = rows[stale[rows]]
        gains[rows] = _conditional(probs[rows], entropies[rows], joint)
        stale[rows] = False
        best = int(gains.argmax())
    return best


def _conditional(probs: Tensor, entropies: Tensor, joint: Joint) -> Tensor:
    """(R, S, C) p and (R, S) entropies of candidates -> (R,) I(label; w | labels chosen).

    Per configuration the entropy of the posterior's mean minus the posterior's mean entropy, so
    that the estimate is never negative and 0 where every configuration gives its mask away.
    """
    size = max(1, CELLS // (len(joint.weights) * probs.shape[2]))
    parts = [joint.posterior @ part.transpose(0, 1).flatten(1) for part in probs.split(size)]
    of_mean = torch.cat([joint.weights @ torch.special.entr(part) for part in parts])
    total = of_mean.view(len(probs), -1).sum(dim=1)
    return (total - entropies @ (joint.weights @ joint.posterior)).clamp_min(0)


def _enumerated(joint: Joint, probs: Tensor) -> Joint:
    """All configurations with each label of one more image, (S, C); without the impossible."""
    masses = (joint.weights[:, None] * joint.posterior)[:, None] * probs.T
    masses = masses.flatten(0, 1)
    weights = masses.sum(dim=1)
    possible = weights > torch.finfo(weights.dtype).tiny
    return Joint(weights[possible], masses[possible] / weights[possible, None])


def _drawn(joint: Joint, probs: Tensor, count: int, generator: torch.Generator) -> Joint:
    """Drawn configurations, each with labels drawn by its own mask for more images, (B, S, C).

    If `joint` was enumerated, they start anew, and `probs` are those of all chosen images.
    """
    masks = probs.shape[1]
    each = len(joint.weights) // masks if joint.sampled else math.ceil(count / masks)
    posterior = joint.posterior if joint.sampled else probs.new_ones(masks * each, masks)
    for p in probs:
        ends = p.cumsum(dim=1)
        points = torch.rand(masks, each, generator=generator, dtype=torch.float64).to(p)
        labels = torch.searchsorted(ends, points * ends[:, -1:], right=True)
        posterior = posterior * p.T[labels.clamp_max(p.shape[1] - 1).flatten()]
        posterior /= posterior.sum(dim=1, keepdim=True)
    return Joint(posterior.new_full((len(posterior),), 1 / len(posterior)), posterior, sampled=True)
