"""Losses of the VAE, SCAN, self-labeling and inpainting against loops from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pretext.losses import masked_error, scan_loss, self_label_loss, vae_loss


def normals(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_vae_loss_equals_distributions_and_a_loop() -> None:
    images, output = normals(5, 2, 3, 4), normals(5, 2, 3, 4, seed=1)
    mean, log_variance = normals(5, 7, seed=2), normals(5, 7, seed=3)
    error, kl = vae_loss(images, output, mean, log_variance)
    posterior = Normal(mean, log_variance.exp().sqrt())
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(kl, kl_divergence(posterior, prior).sum(dim=1))
    for n in range(5):
        pairs = zip(images[n].flatten().tolist(), output[n].flatten().tolist(), strict=True)
        assert error[n].item() == pytest.approx(sum((a - b) ** 2 for a, b in pairs) / 24)
        pairs = zip(mean[n].tolist(), log_variance[n].tolist(), strict=True)
        slow = sum((m * m + math.exp(v) - 1 - v) / 2 for m, v in pairs)
        assert kl[n].item() == pytest.approx(slow)


def test_vae_loss_is_zero_where_nothing_is_to_be_learned() -> None:
    images, nothing = normals(2, 1, 3, 3), torch.zeros(2, 4)
    error, kl = vae_loss(images, images, nothing, nothing)
    assert error.tolist() == kl.tolist() == [0, 0]


def slow_scan(anchors: Tensor, neighbors: Tensor, weight: float) -> tuple[float, float, float]:
    count, clusters = anchors.shape
    p, q = (x.softmax(dim=1).tolist() for x in (anchors, neighbors))
    same = [sum(p[n][k] * q[n][k] for k in range(clusters)) for n in range(count)]
    consistency = -sum(math.log(s) for s in same) / count
    average = [sum(p[n][k] for n in range(count)) / count for k in range(clusters)]
    entropy = -sum(a * math.log(a) for a in average)
    return consistency - weight * entropy, consistency, entropy


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_scan_loss_equals_a_loop(weight: float) -> None:
    anchors, neighbors = 2 * normals(9, 4), 2 * normals(9, 4, seed=1)
    ours = [x.item() for x in scan_loss(anchors, neighbors, weight)]
    assert ours == pytest.approx(slow_scan(anchors, neighbors, weight))


def test_scan_loss_takes_the_mean_of_all_ranks() -> None:
    """Consistency is of this rank's samples, entropy of everyone's."""
    anchors, neighbors = 2 * normals(8, 4), 2 * normals(8, 4, seed=1)
    mean = anchors.softmax(dim=1).mean(dim=0)
    parts = [scan_loss(anchors[i : i + 4], neighbors[i : i + 4], 5.0, mean) for i in (0, 4)]
    whole = slow_scan(anchors, neighbors, 5.0)
    for k in range(3):
        assert (parts[0][k] + parts[1][k]).item() / 2 == pytest.approx(whole[k])
    assert parts[0][2].item() == pytest.approx(whole[2])


def test_scan_loss_is_least_for_agreeing_and_balanced_clusters() -> None:
    agreeing = 20 * torch.eye(4)
    losses = [
        scan_loss(anchors, neighbors, 5.0)[0].item()
        for anchors, neighbors in (
            (agreeing, agreeing),
            (torch.zeros(4, 4), torch.zeros(4, 4)),  # undecided
            (agreeing, agreeing.roll(1, 0)),  # balanced, but no pair agrees
            (agreeing[:1].expand(4, -1), agreeing[:1].expand(4, -1)),  # one cluster for all
        )
    ]
    assert losses[0] == pytest.approx(-5 * math.log(4), abs=1e-4)
    assert min(losses[1:]) > losses[0] + 1


def test_scan_loss_stays_finite_at_extreme_logits() -> None:
    """p is exactly 0 there, and so is <p, q>, whose logarithm is none."""
    anchors = torch.tensor([[1e4, 0.0, -1e4], [1e4, 0.0, 0.0]], requires_grad=True)
    neighbors = torch.tensor([[-1e4, 0.0, 1e4], [1e4, 0.0, 0.0]], requires_grad=True)
    loss = scan_loss(anchors, neighbors, 5.0)[0]
    loss.backward()
    for value in (loss, anchors.grad, neighbors.grad):
        assert value is not None
        assert value.isfinite().all()


def slow_self_label(clean: Tensor, strong: Tensor, threshold: float) -> tuple[float, float]:
    found: dict[int, list[float]] = {}
    for p, log_q in zip(
        clean.softmax(dim=1).tolist(), strong.log_softmax(dim=1).tolist(), strict=True
    ):
        if max(p) > threshold:
            found.setdefault(p.index(max(p)), []).append(-log_q[p.index(max(p))])
    share = sum(map(len, found.values())) / len(clean)
    return sum(sum(x) / len(x) for x in found.values()) / len(found), share


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9])
def test_self_label_loss_equals_a_loop_over_classes(threshold: float) -> None:
    """Clusters of very different sizes weigh the same, and some do not occur."""
    clean, strong = 2 * normals(40, 6).float(), 2 * normals(40, 6, seed=1).float()
    clean[:, 0] += 2
    clean[:, 5] -= 50
    sizes = clean.argmax(dim=1).bincount(minlength=6).tolist()
    assert sizes[0] > 2 * sizes[1] > 0 == sizes[5]
    ours = [x.item() for x in self_label_loss(clean, strong, threshold)]
    assert ours == pytest.approx(slow_self_label(clean, strong, threshold))
    assert threshold == 0 or 0 < ours[1] < 1


def test_self_label_loss_of_no_confident_sample_is_zero() -> None:
    strong = normals(5, 3).requires_grad_()
    loss, share = self_label_loss(torch.zeros(5, 3), strong, 0.99)
    loss.backward()
    assert loss.item() == share.item() == 0
    assert strong.grad is not None
    assert torch.equal(strong.grad, torch.zeros(5, 3, dtype=torch.float64))


def test_self_label_loss_of_all_is_the_mean_of_the_ranks() -> None:
    clean, strong = 2 * normals(40, 6).float(), 2 * normals(40, 6, seed=1).float()
    whole, _ = self_label_loss(clean, strong, 0.6)
    seen: list[torch.Tensor] = []
    ranks = torch.arange(40).split(8)

    def once(average: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        return [self_label_loss(clean[i], strong[i], 0.6, average)[0].item() for i in ranks]

    once(lambda sizes: seen.append(sizes) or sizes)
    assert 0 < float(torch.stack(seen).mean(0).min()) < 1, "a cluster that few ranks have"
    losses = once(lambda sizes: torch.stack(seen).mean(dim=0))
    assert np.mean(losses) == pytest.approx(whole.item())


def test_self_label_loss_moves_confident_samples_only() -> None:
    """The clean images are the teacher: nothing flows back through them."""
    clean = torch.tensor([[9.0, 0.0], [0.1, 0.0], [0.0, 9.0]], requires_grad=True)
    strong = torch.zeros(3, 2, requires_grad=True)
    self_label_loss(clean, strong, 0.9)[0].backward()
    assert clean.grad is None
    assert strong.grad is not None
    assert strong.grad.abs().sum(dim=1).gt(0).tolist() == [True, False, True]


def test_self_label_loss_stays_finite_at_extreme_logits() -> None:
    clean = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    strong = torch.tensor([[-1e4, 1e4], [-1e4, 1e4]], requires_grad=True)
    loss, share = self_label_loss(clean, strong, 0.99)
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert share.item() == 1
    assert strong.grad is not None
    assert strong.grad.isfinite().all()


def test_masked_error_equals_a_loop() -> None:
    images, output = normals(4, 3, 5, 6), normals(4, 3, 5, 6, seed=1)
    mask = (normals(4, 1, 5, 6, seed=2) > 0.4).double()
    ours = masked_error(images, output, mask)
    assert len(set(mask.flatten(1).sum(dim=1).tolist())) > 1, "masks of different sizes"
    for n in range(4):
        inside = [
            (images[n, c, y, x] - output[n, c, y, x]).item() ** 2
            for c in range(3) for y in range(5) for x in range(6) if mask[n, 0, y, x]
        ]  # fmt: skip
        assert ours[n].item() == pytest.approx(sum(inside) / len(inside))


def test_masked_error_ignores_what_was_shown() -> None:
    images, mask = normals(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[0, :, 1:3, 1:3] = 1
    output = torch.where(mask == 1, images, 1e6)
    assert masked_error(images, output, mask).tolist() == [0, 0]
