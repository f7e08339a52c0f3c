"""What a committee says: the logits of M members in, their consensus or disagreement out.

Legend: M members, N samples, C classes. Raw logits (M, N, C) in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mean_log_probs(logits: Tensor) -> Tensor:
    """(M, N, C) -> (N, C): the log of the mean of the members' probabilities, in nats.

    In place of logits it gives the acquisition functions of the mean: softmax(log p) = p.
    """
    return torch.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(len(logits))


def variation_ratio(logits: Tensor) -> Tensor:
    """(M, N, C) -> (N,): 1 - (votes for the modal class) / M (Freeman, 1965), in [0, 1 - 1/M].

    The ens-varR of Beluch et al. (CVPR 2018). Counted as the other votes, so that it is 0 exactly.
    """
    votes = torch.nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2]).sum(dim=0)
    return (len(logits) - votes.amax(dim=1)) / len(logits)
