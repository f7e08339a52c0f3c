"""Acquisition functions: arrays in, one number a sample out; higher = queried first.

Legend: N samples, C classes, M members of a committee. All take raw logits in float32 and stay
finite at saturation; NaN in gives NaN out.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def least_confidence(logits: Tensor) -> Tensor:
    """(N, C) -> (N,): 1 - max_c p_c (Lewis and Gale, 1994), in [0, 1 - 1/C].

    Summed over the other classes, so that it keeps its digits where p is close to 1; as 1 - max p,
    float32 rounds to 0 from a logit gap of about 17, and a confident pool becomes one big tie.
    """
    log_probs = torch.log_softmax(logits, dim=1)
    others = log_probs.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    return others.exp().sum(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """(N, C) -> (N,): -sum_c p_c ln p_c (Shannon, 1948), in nats, in [0, ln C].

    From the log-softmax, with p ln p = 0 at p = 0. The study's code took log2 of the softmax, gave
    NaN where that underflows, and so ranked the most confident images first.
    """
    log_probs = torch.log_softmax(logits, dim=1)
    probs = log_probs.exp()
    return -(probs * log_probs.masked_fill(probs == 0, 0)).sum(dim=1)


def margin(logits: Tensor) -> Tensor:
    """(N, C) -> (N,): 1 - (p_first - p_second) (Scheffer et al., 2001), in [0, 1].

    Summed as (1 - p_first) + p_second, for the reason given at `least_confidence`.
    """
    second = torch.softmax(logits, dim=1).topk(2, dim=1).values[:, 1]
    return least_confidence(logits) + second


def mean_log_probs(logits: Tensor) -> Tensor:
    """(M, N, C) -> (N, C): the log of the mean of the members' probabilities, in nats.

    In place of logits it gives the acquisition functions of the mean: softmax(log p) = p.
    """
    return torch.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(len(logits))


def variation_ratio(logits: Tensor) -> Tensor:
    """(M, N, C) -> (N,): 1 - (votes for the modal class) / M (Freeman, 1965), in [0, 1 - 1/M].

    The ens-varR of Beluch et al. (CVPR 2018). Counted as the other votes, so that it is 0 exactly.
    """
    highest, votes = logits.max(dim=2)
    modal = (votes[:, None] == votes).sum(dim=1).amax(dim=0)
    ratio = (len(logits) - modal) / len(logits)
    return ratio.masked_fill(highest.isnan().any(dim=0), torch.nan)


def top(values: np.ndarray, budget: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of the `budget` largest values, largest first; ties in random order.

    >>> top(np.array([0.1, 0.7, 0.3]), 2, np.random.default_rng(0)).tolist()
    [1, 2]
    """
    shuffled = generator.permutation(len(values))
    return shuffled[np.argsort(-values[shuffled], kind="stable")[:budget]]
