"""Losses and scores of the pretext models, as functions of arrays.

N samples, V views, D features, K clusters, M images in the bank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(
    z0: Tensor, z1: Tensor, temperature: float, all0: Tensor | None = None,
    all1: Tensor | None = None, first: int = 0,
) -> Tensor:  # fmt: skip
    """NT-Xent (Chen et al., 2020, https://arxiv.org/abs/2002.05709), symmetric, a scalar.

    Each of the 2N views must find the other view of its image among all views of the batch but
    itself. The study's code used one direction only.

    Args:
        z0, z1: (N, D) unit-length projections of the two views of N images.
        temperature: typically 0.1 to 0.5.
        all0, all1: those of all ranks, where there are several, N of them from `first` on being
            z0 and z1.
    """
    all0, all1 = (z0, z1) if all0 is None or all1 is None else (all0, all1)
    logits = torch.cat([z0, z1]) @ torch.cat([all0, all1]).T / temperature  # (2N, 2 * all)
    row = torch.arange(len(z0), device=z0.device) + first
    own = torch.cat([row, row + len(all0)])
    positive = torch.cat([row + len(all0), row])
    logits = logits.scatter(1, own[:, None], float("-inf"))  # a boolean mask would sync
    return F.cross_entropy(logits, positive)


def bank_score(
    z: Tensor, views: Tensor, bank: Tensor, own: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """How hard an image is for a contrastive model: NT-Xent against a fixed bank of negatives.

    score_i = mean over views k of -log(e^{s(i,v_ik)/t} / (e^{s(i,v_ik)/t} + S_i)), where s is the
    cosine and S_i the sum of e^{s(i,j)/t} over the bank without image i itself, times
    M / (number summed). The study's code had no negatives, so that its score was 0 but for
    rounding; a bank that keeps image i makes its members look hard.

    Args:
        z: (N, D) unit-length projections of the clean images.
        views: (V, N, D) of their fixed views.
        bank: (M, D) of the bank's clean images.
        own: (N,) position of each image in the bank, -1 where it is not in it.

    Returns:
        score, alignment (mean over views of 1 - cosine) and density (log S_i), each (N,).
    """
    logits = z @ bank.T / temperature  # (N, M)
    inside = own >= 0
    masked = logits.scatter(1, own.clamp_min(0)[:, None], float("-inf"))
    logits = torch.where(inside[:, None], masked, logits)
    size = torch.full_like(z[:, 0], len(bank))
    density = logits.logsumexp(dim=1) + (size / (size - inside.float())).log()
    cosine = (views * z).sum(dim=2)  # (V, N)
    positive = cosine / temperature
    score = (torch.logaddexp(positive, density) - positive).mean(dim=0)
    return score, (1 - cosine).mean(dim=0), density


def vae_loss(
    images: Tensor, output: Tensor, mean: Tensor, log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """The two parts of the VAE's loss (Kingma and Welling, 2014), one number a sample each.

    Args:
        images, output: (N, C, H, W), standardized, and their reconstruction.
        mean, log_variance: (N, D) of the posterior.

    Returns:
        Squared error, mean over pixels, and KL(posterior || N(0, 1)), summed over dimensions:
        the study's reductions, in whose units its KL weight is given.
    """
    error = (images - output).square().flatten(1).mean(dim=1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
    return error, kl


def scan_loss(
    anchors: Tensor, neighbors: Tensor, entropy_weight: float, mean: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """SCAN's loss (Van Gansbeke et al., 2020, https://arxiv.org/abs/2005.12320).

    Consistency -mean log <p(anchor), p(neighbor)> less `entropy_weight` (paper: 5) times the
    entropy (nats) of the mean cluster distribution, which keeps the clusters in use.

    Args:
        anchors, neighbors: (N, K) logits.
        mean: (K,) mean probabilities of the anchors of all ranks; None: of these anchors.

    Returns:
        The loss, the consistency and the entropy.
    """
    p, q = anchors.softmax(dim=1), neighbors.softmax(dim=1)
    consistency = -(p * q).sum(dim=1).clamp_min(1e-8).log().mean()
    average = (p.mean(dim=0) if mean is None else mean).clamp_min(1e-8)
    entropy = -(average * average.log()).sum()
    return consistency - entropy_weight * entropy, consistency, entropy


def self_label_loss(
    clean: Tensor,
    strong: Tensor,
    threshold: float,
    average: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """SCAN's self-labeling: class-balanced cross-entropy of confident samples.

    Targets are the clean image's most probable cluster where its probability exceeds `threshold`
    (paper: .99); the input is the strongly augmented one. Each cluster that occurs among the
    confident weighs the same. 0, with a gradient of 0, where no sample is confident (the study's
    code crashes there).

    Args:
        clean, strong: (N, K) logits.
        average: a tensor's mean over all ranks, which average their gradients: clusters then weigh
            the same over all of them. None: there is one.

    Returns:
        The loss and the share of confident samples.
    """
    confidence, target = clean.detach().softmax(dim=1).max(dim=1)
    confident = (confidence > threshold).float()
    sizes = torch.zeros_like(clean[0]).index_add(0, target, confident)  # (K,)
    if average is not None:
        sizes = average(sizes)
    weight = confident / torch.where(sizes > 0, sizes, 1)[target]
    loss = (weight * F.cross_entropy(strong, target, reduction="none")).sum()
    return loss / (sizes > 0).sum().clamp_min(1), confident.mean()


def masked_error(images: Tensor, output: Tensor, mask: Tensor) -> Tensor:
    """Squared error inside a mask, mean over its pixels and channels: (N,).

    Args:
        images, output: (N, C, H, W).
        mask: (N, 1, H, W), 1 where the image was hidden.
    """
    error = ((images - output).square() * mask).flatten(1).sum(dim=1)
    return error / (mask.flatten(1).sum(dim=1) * images.shape[1]).clamp_min(1)
