"""SimCLR's loss, and the score against a bank, beside loops written from the paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor

from pretext.losses import bank_score, nt_xent

TEMPERATURE = 0.2


def units(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)


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
