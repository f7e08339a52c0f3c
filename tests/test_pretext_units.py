"""Parts of pretext models without any training: losses, sizes, masks, whitening."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.pretext_data import ViewBatch
from pretext.deepcluster import DeepCluster
from pretext.inpainting import Inpainting, square_masks
from pretext.rotation import Rotation
from pretext.scan import SelfLabel
from pretext.vae import VAE
from tests.pretext_artifacts import RECIPE


def inputs(channels: int, side: int, **more: Any) -> dict[str, Any]:
    return {
        "shape": [channels, side, side], "mean": [0.4] * channels, "std": [0.3] * channels,
        "num_train": 100, "clusters": 10, "width": 8, "stem": 3, "max_pool": False, **more,
    }  # fmt: skip


def make_vae(channels: int, side: int, latent: int) -> VAE:
    return VAE(
        inputs(channels, side), 0, **RECIPE, latent=latent, kl_weight=None,
        score="reconstruction", val=0.05,
    ).eval()  # fmt: skip


def test_a_collapsed_code_is_told() -> None:
    model = make_vae(1, 8, 4)
    assert model.warning({"kl": np.array([0.0, 30.0])}) == ""
    assert "0.05 nats" in model.warning({"kl": np.array([0.0, 0.1])})


def test_clusters_that_self_labeling_empties_are_told() -> None:
    settings: dict[str, Any] = {"threshold": 0.99, "clusters": 4, "flip": False}
    model = SelfLabel(inputs(1, 8), 0, **RECIPE, **settings)
    even = np.repeat([0, 1, 2, 3], 100)
    few = np.repeat([2, 1, 0, 3], [289, 100, 10, 1])  # a tenth of an equal share is 10
    assert model.warning({"cluster_scan": even, "cluster": even}) == ""
    assert model.warning({"cluster_scan": few, "cluster": even}) == ""
    assert "3 of 4 clusters" in model.warning({"cluster_scan": even, "cluster": few})


def test_rotation_equals_a_loop_over_images_and_turns() -> None:
    torch.manual_seed(0)
    model = Rotation(inputs(3, 12), 0, **RECIPE, crop_scale=None, flip=False).eval()
    model.head.weight.data.mul_(5)
    images = torch.rand(6, 3, 12, 12)
    with torch.no_grad():
        columns = model.columns(images, torch.arange(6), model.embed(images), True)
        slow, told = np.zeros((6, 4)), np.zeros((6, 4))
        for i, turns in itertools.product(range(6), range(4)):
            turned = np.rot90(images[i].numpy(), turns, axes=(1, 2)).copy()
            x = model.standardize(torch.from_numpy(turned)[None])
            log_p = model.head(model.backbone(x)).log_softmax(dim=1)[0]
            slow[i, turns], told[i, turns] = -log_p[turns], log_p.argmax() == turns
        batch = ViewBatch(images, torch.arange(6))
        assert model.loss(batch).item() == pytest.approx(slow.mean(), rel=1e-4)
    np.testing.assert_allclose(columns["score"], slow.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(columns["accuracy"], told.mean(axis=1))
    assert 0 < told.mean() < 1


@pytest.mark.parametrize(
    ("channels", "side", "latent", "expected"), [(1, 32, 128, 1_180_641), (3, 64, 512, 6_297_699)]
)
def test_the_vae_is_as_large_as_the_studys(
    channels: int, side: int, latent: int, expected: int
) -> None:
    """1.18 M parameters for MNIST and 6.3 M for Tiny ImageNet."""
    model = make_vae(channels, side, latent)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_the_vae_draws_from_the_posterior() -> None:
    model = make_vae(1, 8, 4).train()
    images = torch.rand(6, 1, 8, 8)
    torch.manual_seed(1)
    loss = model.loss(ViewBatch(images, torch.arange(6)))
    normalized = (images - 0.4) / 0.3
    torch.manual_seed(1)
    mean, log_variance = model.encode(normalized)
    code = mean + torch.randn_like(mean) * log_variance.exp().sqrt()
    error = (model.decode(code) - normalized).square().mean(dim=(1, 2, 3))
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1)
    torch.testing.assert_close(loss, (error + model.kl_weight * kl).mean(), rtol=1e-4, atol=1e-5)


def test_deepcluster_weighs_its_clusters() -> None:
    model = DeepCluster(
        inputs(1, 8), 0, **RECIPE, clusters=2, components=4, crop_scale=0.2, flip=False
    )
    model.weight = torch.tensor([5.0, 0.2])
    model.assignment = torch.arange(100) % 2
    batch = ViewBatch(torch.rand(6, 1, 8, 8), torch.tensor([0, 2, 4, 6, 1, 3]))
    losses = torch.nn.functional.cross_entropy(
        model.eval().head(model.backbone(model.standardize(batch.images))),
        torch.tensor([0, 0, 0, 0, 1, 1]), reduction="none",
    )  # fmt: skip
    wanted = (5 * losses[:4].sum() + 0.2 * losses[4:].sum()) / 6
    torch.testing.assert_close(model.loss(batch), wanted)


def test_a_rank_with_no_image_left_adds_nothing_to_the_validation_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_vae(1, 8, 4)
    monkeypatch.setattr(VAE, "_datamodule", SimpleNamespace(val_names=["held_out"]))
    sums = []
    for count in (3, 0):
        with torch.no_grad():
            model.validation_step(
                ViewBatch(torch.rand(count, 1, 8, 8), torch.arange(count)), batch_idx=0
            )
        sums.append(model._sums["val"].tolist())
    assert sums[0] == sums[1]
    assert sums[0][1] == 3


@pytest.mark.parametrize("side", [8, 9, 28, 30, 48, 96])
def test_decoders_return_images_of_any_size(side: int) -> None:
    images = torch.rand(2, 3, side, side)
    vae = make_vae(3, side, 5)
    with torch.no_grad():
        mean, log_variance = vae.encode(vae.standardize(images))
        assert mean.shape == log_variance.shape == (2, 5)
        assert vae.decode(mean).shape == images.shape
        inpainting = Inpainting(inputs(3, side), 0, **RECIPE, hole=0.5, masks=3, flip=False)
        assert inpainting.eval().errors(images, torch.arange(2), 0, 3).shape == (3, 2)


def test_square_masks_equal_a_loop() -> None:
    draws = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    masks = square_masks(draws, 6, 6, 0.5)
    corners = set()
    for mask, (down, across) in zip(masks, draws.tolist(), strict=True):
        top, left = int(down * 4), int(across * 4)  # the square of 3 has 4 x 4 places
        slow = torch.zeros(1, 6, 6)
        for y, x in itertools.product(range(top, top + 3), range(left, left + 3)):
            slow[0, y, x] = 1
        assert torch.equal(mask, slow)
        corners.add((top, left))
    assert len(corners) == 16
    assert square_masks(draws[:1], 6, 6, 0.01).sum() == 1, "at least one pixel"


def test_inpainting_does_not_see_what_it_must_guess() -> None:
    torch.manual_seed(0)
    model = Inpainting(inputs(1, 12), 0, **RECIPE, hole=0.5, masks=4, flip=False).eval()
    outputs: list[Tensor] = []
    model.decoder.register_forward_hook(lambda _, __, output: outputs.append(output))
    images, index = torch.rand(1, 1, 12, 12), torch.tensor([7])
    hidden = np.zeros((12, 12), bool)
    with torch.no_grad():
        model.errors(images, index, 3, 1)
        for y, x in itertools.product(range(12), range(12)):
            changed = images.clone()
            changed[0, 0, y, x] += 0.5
            model.errors(changed, index, 3, 1)
            hidden[y, x] = torch.equal(outputs[-1], outputs[0])
    rows, columns = hidden.any(axis=1).nonzero()[0], hidden.any(axis=0).nonzero()[0]
    assert hidden.sum() == 36
    assert np.ptp(rows) == np.ptp(columns) == 5, "a square of half the side"


def test_whitening_is_that_of_the_features() -> None:
    """Before they are scaled to unit length: no correlations, variances of one."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 64)) @ rng.normal(size=(64, 64)) + 3
    model = DeepCluster(
        inputs(1, 8, num_train=500), 0, **RECIPE, clusters=None, components=20, crop_scale=0.2,
        flip=False,
    )  # fmt: skip
    found = model._find(features.astype(np.float32), 0)
    white = (features - found["offset"]) @ found["whitening"]
    np.testing.assert_allclose(np.cov(white.T), np.eye(20), atol=1e-3)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
