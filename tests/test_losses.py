"""Losses and scores against loops written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pretext.losses import (
    bank_score,
    masked_error,
    nt_xent,
    scan_loss,
    self_label_loss,
    vae_loss,
)

TEMPERATURE = 0.2


def units(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)


def normals(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def simclr_loss(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """Algorithm 1 of Chen et al. (2020), with its numbering of views: 2k - 1 and 2k are a pair."""
    z = [row for pair in zip(z0, z1, strict=True) for row in pair]
    total = torch.zeros((), dtype=z0.dtype)
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        others = [torch.exp(z[i] @ z[k] / temperature) for k in range(len(z)) if k != i]
        total = total - torch.log(torch.exp(z[i] @ z[j] / temperature) / torch.stack(others).sum())
    return total / len(z)


def value_and_gradients(
    loss: Callable[[Tensor, Tensor], Tensor], z0: Tensor, z1: Tensor
) -> tuple[Tensor, ...]:
    """Gradients along the sphere: lightly's loss normalizes for itself."""
    a, b = z0.clone().requires_grad_(), z1.clone().requires_grad_()
    value = loss(F.normalize(a, dim=1), F.normalize(b, dim=1))
    return value.detach(), *torch.autograd.grad(value, (a, b))


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_equals_the_paper_and_lightly(count: int, temperature: float) -> None:
    z0, z1 = units(count, 6), units(count, 6, seed=1)
    ours = value_and_gradients(lambda a, b: nt_xent(a, b, temperature), z0, z1)
    paper = value_and_gradients(lambda a, b: simclr_loss(a, b, temperature), z0, z1)
    theirs = value_and_gradients(NTXentLoss(temperature), z0, z1)
    for one, two, three in zip(ours, paper, theirs, strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(one, three)


def test_nt_xent_of_one_image_is_zero() -> None:
    """Its two views have no other to choose: a loss that kept the view itself would be above 0."""
    assert nt_xent(units(1, 4), units(1, 4, seed=1), TEMPERATURE).item() == 0


def test_nt_xent_of_ranks_averages_to_the_whole() -> None:
    """Values, and the gradients that ranks would sum: of all rows, through each rank's loss."""
    z0, z1 = units(8, 6), units(8, 6, seed=1)

    def by_ranks(a: Tensor, b: Tensor) -> Tensor:
        parts = [nt_xent(a[i : i + 4], b[i : i + 4], TEMPERATURE, a, b, first=i) for i in (0, 4)]
        return (parts[0] + parts[1]) / 2

    whole = value_and_gradients(lambda a, b: nt_xent(a, b, TEMPERATURE), z0, z1)
    for one, two in zip(whole, value_and_gradients(by_ranks, z0, z1), strict=True):
        torch.testing.assert_close(one, two)
    alone = (nt_xent(z0[:4], z1[:4], TEMPERATURE) + nt_xent(z0[4:], z1[4:], TEMPERATURE)) / 2
    assert (whole[0] - alone).abs() > 0.1, "other ranks' views are negatives too"


def test_nt_xent_stays_finite_at_small_temperatures() -> None:
    """e^{1 / .001} is beyond float32."""
    z = units(6, 4).float()
    value, *gradients = value_and_gradients(lambda a, b: nt_xent(a, b, 1e-3), z, z.flip(0))
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)


def slow_score(
    z: Tensor, views: Tensor, bank: Tensor, own: list[int], temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    rows = []
    for i in range(len(z)):
        negatives = [
            math.exp(float(z[i] @ bank[j]) / temperature) for j in range(len(bank)) if j != own[i]
        ]
        s = sum(negatives) * len(bank) / len(negatives)
        cosines = [float(z[i] @ views[k, i]) for k in range(len(views))]
        positives = [math.exp(c / temperature) for c in cosines]
        score = sum(-math.log(p / (p + s)) for p in positives) / len(views)
        rows.append((score, sum(1 - c for c in cosines) / len(views), math.log(s)))
    score, alignment, density = torch.tensor(rows, dtype=torch.float64).T
    return score, alignment, density


def bank_case(count: int = 12, size: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of which every second, as far as it goes, is in the bank, in an order of its own."""
    z = units(count, 4)
    members = torch.arange(0, count, 2)[:size].flip(0)
    own = torch.full((count,), -1)
    own[members] = torch.arange(len(members))
    return z, F.normalize(z + 0.7 * units(3, count, 4, seed=1), dim=-1), z[members], own


def test_bank_score_equals_a_loop() -> None:
    z, views, bank, own = bank_case()
    assert {-1, 0, 4} <= set(own.tolist())
    slow = slow_score(z, views, bank, own.tolist(), TEMPERATURE)
    for ours, truth in zip(bank_score(z, views, bank, own, TEMPERATURE), slow, strict=True):
        torch.testing.assert_close(ours, truth)
        assert ours.std() > 0.01, "not constant"


def test_bank_score_depends_on_no_other_image() -> None:
    z, views, bank, own = bank_case()
    whole = bank_score(z, views, bank, own, TEMPERATURE)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
    for rows in order.split([1, 4, 7]):
        part = bank_score(z[rows], views[:, rows], bank, own[rows], TEMPERATURE)
        for ours, truth in zip(part, whole, strict=True):
            torch.testing.assert_close(ours, truth[rows])


def test_bank_score_does_not_depend_on_the_order_of_the_bank() -> None:
    z, views, bank, own = bank_case()
    order = torch.tensor([3, 0, 4, 1, 2])  # new position -> old
    moved = torch.where(own >= 0, order.argsort()[own], -1)
    for one, two in zip(
        bank_score(z, views, bank, own, TEMPERATURE),
        bank_score(z, views, bank[order], moved, TEMPERATURE),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_bank_score_of_one_view_follows_from_its_parts() -> None:
    z, views, bank, own = bank_case()
    score, alignment, density = bank_score(z, views[:1], bank, own, TEMPERATURE)
    torch.testing.assert_close(score, F.softplus(density - (1 - alignment) / TEMPERATURE))


def test_bank_score_is_hard_for_a_moved_view_and_in_a_crowd() -> None:
    z = units(1, 4)
    away = F.normalize(z + 2 * units(1, 4, seed=1), dim=1)
    far, near = -z.expand(5, -1), z.expand(5, -1)
    none = torch.tensor([-1])

    def score(view: Tensor, bank: Tensor) -> float:
        return bank_score(z, view[None], bank, none, TEMPERATURE)[0].item()

    assert score(away, far) > score(z, far)
    assert score(z, near) > score(z, far)


def test_an_image_is_no_negative_of_itself() -> None:
    """Kept in the bank it would look harder, at the image's own place and at no other."""
    z, views, bank, own = bank_case()
    right = bank_score(z, views, bank, own, TEMPERATURE)[0]
    kept = bank_score(z, views, bank, torch.full_like(own, -1), TEMPERATURE)[0]
    assert (kept - right)[own >= 0].min() > 0.1
    assert torch.equal(kept[own < 0], right[own < 0])


def test_leaving_a_member_out_does_not_make_it_look_easier() -> None:
    """All else equal, the factor M / (M - 1) makes members and others comparable."""
    z, view = units(1, 4), units(1, 1, 4, seed=1)
    bank = F.normalize(z + units(1, 4, seed=2), dim=1).expand(7, -1).clone()
    other = bank_score(z, view, bank, torch.tensor([-1]), TEMPERATURE)
    bank[3] = z[0]
    member = bank_score(z, view, bank, torch.tensor([3]), TEMPERATURE)
    for one, two in zip(member, other, strict=True):
        torch.testing.assert_close(one, two)


def test_bank_score_stays_finite_at_small_temperatures() -> None:
    z, views, bank, own = (x.float() if x.is_floating_point() else x for x in bank_case())
    assert all(x.isfinite().all() for x in bank_score(z, views, bank, own, 1e-3))


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
