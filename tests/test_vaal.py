"""VAAL: its losses and steps against plain loops, its batches, and whether it finds what is new."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from active.queries.vaal import VAALQuery
from active.query import Request
from active.vaal import DECAY, VAAL, bce, vae_objective
from active.vaal_networks import Autoencoder
from datamodules.augment import Augmenter, Normalizer
from datamodules.datamodule import Batch, PoolDataModule
from datamodules.images import Images, Part
from datamodules.pools import Pools
from datamodules.samplers import PairBatches
from datamodules.seeds import Seeds
from pretext.devices import Devices
from tests.conftest import TINY, Finished, only_run, rows_of, selected_of

Cli = Callable[..., Finished]
SHAPE = (1, 8, 8)
TINY_VAAL = (*TINY, "--query", "vaal", "--query.width", "16", "--query.epochs", "2")


@pytest.mark.parametrize("reduction", ["elbo", "code"])
def test_objective_equals_a_double_loop(reduction: str) -> None:
    rng = np.random.default_rng(0)
    images, output = rng.normal(size=(2, 5, 3, 4, 4))
    mean, log_variance = rng.normal(size=(2, 5, 6))
    error, kl = [], []
    for i in range(5):
        error.append(
            np.mean([(a - b) ** 2 for a, b in zip(images[i].flat, output[i].flat, strict=True)])
        )
        terms = zip(mean[i], log_variance[i], strict=True)
        kl.append(sum(-0.5 * (1 + v - m * m - np.exp(v)) for m, v in terms))
    slow = np.mean(error) + (0.7 * sum(kl) if reduction == "code" else 0.7 * np.mean(kl) / 48)
    ours = vae_objective(torch.tensor(error), torch.tensor(kl), 48, 0.7, reduction)
    assert ours.item() == pytest.approx(slow)


def test_bce_is_that_of_the_studys_sigmoid() -> None:
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64)
    for target in (0.0, 1.0):
        theirs = F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, target))
        assert bce(logits, target).item() == pytest.approx(theirs.item())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 5, 20)])
def test_images_of_any_size_come_back_in_theirs(shape: tuple[int, int, int]) -> None:
    mean, log_variance, output = Autoencoder(shape, 16, 7)(torch.randn(2, *shape))
    assert mean.shape == log_variance.shape == (2, 7)
    assert output.shape == (2, *shape)


def test_the_studys_size() -> None:
    """22.8 million parameters of the VAE on 32x32 color images, 0.81 of the discriminator."""
    module = VAAL((3, 32, 32), steps=1)
    count = [sum(p.numel() for p in part.parameters()) for part in module.children()]
    assert [round(n / 1e6, 1) for n in count] == [22.8, 0.8]


def make_datamodule(pixels: torch.Tensor, labeled: int, batch: int) -> PoolDataModule:
    size = len(pixels)
    part = Part([str(i) for i in range(size)], None, tuple(pixels.shape[1:]), pixels, None)
    pools = Pools(size, np.arange(0), [np.arange(labeled)])
    return PoolDataModule(
        Images("fake", part, None, ("a", "b"), "fake"), pools, Seeds(0),
        augmenter=Augmenter(0, False), normalizer=Normalizer([0.5], [0.3]), batch_size=batch,
        eval_batch_size=50,
    )  # fmt: skip


def test_training_equals_a_bare_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both optimizers, in order, with the decays, on the same batches and the same noise.

    In float64: a rounding error of float32 sometimes crosses a kink of a ReLU, and Adam makes whole
    steps of it where the gradient is zero.
    """
    pixels = torch.randint(0, 256, (40, *SHAPE), dtype=torch.uint8)
    datamodule = make_datamodule(pixels, 10, 4)
    monkeypatch.setattr(datamodule, "lay_out", torch.Tensor.double)
    trainer = functools.partial(Devices(accelerator="cpu", threads=1).trainer, precision="64-true")
    query = VAALQuery(epochs=3, batch=4, width=16, latent=3, beta=0.5, adversary=2.0, lr=1e-3)
    request = Request(5, 1, Seeds(0))
    ours = query.train(datamodule, trainer, request)

    seed = request.seeds.stream("query", 1, 3)
    torch.manual_seed(seed)
    bare = VAAL(SHAPE, 30, latent=3, width=16).double().train()
    vae, judge = bare.vae, bare.discriminator
    optimizers = [torch.optim.Adam(p.parameters(), 1e-3) for p in (vae, judge)]
    torch.manual_seed(seed)
    batches = PairBatches(np.arange(10), np.arange(10, 40), 4, Seeds(0), 1)
    for epoch in range(3):
        batches.set_epoch(epoch)
        for step, batch in enumerate(batches):
            images = datamodule.normalizer(pixels[batch]).double()
            loss = 0.0
            for x in (images[:4], images[4:]):
                mean, log_variance, output = vae(x)
                kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / 4
                hidden = -torch.log(torch.sigmoid(judge(mean))).mean()
                loss += ((output - x) ** 2).mean() + 0.5 * kl / 64 + 2.0 * hidden
            optimizers[0].zero_grad()
            loss.backward()
            optimizers[0].step()
            with torch.no_grad():
                codes = [vae.eval().encode(x)[0] for x in (images[:4], images[4:])]
            vae.train()
            right = [torch.sigmoid(judge(code)) for code in codes]
            loss = -torch.log(right[0]).mean() - torch.log(1 - right[1]).mean()
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
            for group in (g for o in optimizers for g in o.param_groups):
                group["lr"] = 1e-3 * DECAY ** int((epoch * 10 + step + 1) * 25 / 30)  # 25 of 30
    for name, theirs in bare.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], theirs, rtol=0, atol=1e-9, msg=name)


def test_batches_hold_as_many_of_either_pool() -> None:
    labeled, unlabeled = np.arange(5), np.arange(5, 40)
    batches = PairBatches(labeled, unlabeled, 6, Seeds(1), 2)
    whole = list(batches)
    assert len(whole) == len(batches) == 40 // 6
    assert all(set(b[:6]) <= set(labeled) and set(b[6:]) <= set(unlabeled) for b in whole)
    counts = np.bincount(np.concatenate(whole), minlength=40)
    assert np.ptp(counts[:5]) <= 1, "a small pool comes round evenly"
    assert np.ptp(counts[5:]) <= 1
    shares = [list(PairBatches(labeled, unlabeled, 6, Seeds(1), 2, rank, 2)) for rank in (0, 1)]
    for global_batch, one, two in zip(whole, *shares, strict=True):
        assert sorted(global_batch) == sorted([*one, *two])
        assert set(one[:3]) <= set(labeled)
        assert set(one[3:]) <= set(unlabeled)
    batches.set_epoch(1)
    assert not np.array_equal(whole[0], next(iter(batches)))
    assert not np.array_equal(whole[0], next(iter(PairBatches(labeled, unlabeled, 6, Seeds(2), 2))))


def test_each_step_has_its_own_augmentation_and_no_label() -> None:
    pixels = torch.arange(8 * 64, dtype=torch.uint8).view(8, *SHAPE)
    datamodule = make_datamodule(pixels, 4, 2)
    datamodule.augmenter = Augmenter(4, False)
    seen: list[Batch] = []

    class Look(VAAL):
        def training_step(self, batch: Batch) -> None:
            seen.append(batch)
            super().training_step(batch)

        def on_train_epoch_end(self) -> None:
            self._sums.clear()

    datamodule.at(1, paired=2)
    trainer = Devices(accelerator="cpu", threads=1).trainer(max_epochs=3)
    trainer.fit(Look(SHAPE, 12, width=16), datamodule=datamodule)
    assert all(batch.labels is None for batch in seen)
    first = [b.images[b.indices == 0] for b in seen if (b.indices == 0).any()]
    assert len(first) > 3
    assert len({image.numpy().tobytes() for image in first}) == len(first)


def test_it_prefers_what_the_labeled_pool_does_not_show() -> None:
    """Half of U looks like L, half is the negative image, which a VAE that hides nothing shows."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 100, (200, *SHAPE), dtype=torch.uint8)
    pixels[110:] = 255 - pixels[110:]
    datamodule = make_datamodule(pixels, 20, 16)
    query = VAALQuery(epochs=15, batch=16, width=16, latent=4, adversary=0.0)
    request = Request(60, 1, Seeds(0))
    query.prepare(datamodule, Devices(accelerator="cpu", threads=1).trainer, request)
    chosen = query.select(query.gathered(datamodule.pools, None), request)
    assert (chosen.indices >= 110).mean() > 0.9  # chance: .5
    assert (np.diff(chosen.scores) <= 0).all()


def test_curves_are_logged_and_a_killed_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY_VAAL).status == 0
    run = only_run(tmp_path)
    curves = pd.read_csv(run / "curves.csv")
    for name in ("discriminator_acc", "kl_per_dim", "reconstruction"):
        values = curves.dropna(subset=[f"vaal/{name}"])
        assert values["vaal/epoch"].tolist() == [1, 2, 3, 4], name
        assert values["cycle"].tolist() == [1, 1, 2, 2]
        assert (values[f"vaal/{name}"] >= 0).all()
    assert "discriminator right in" in (run / "log.txt").read_text()
    for cycles in ("1", "2"):
        assert cli(*TINY_VAAL, "--cycles", cycles, "--runs_dir", "again").status == 0
    again = next((tmp_path / "again").glob("**/config.yaml")).parent
    assert rows_of(again) == rows_of(run)
    assert selected_of(again) == selected_of(run)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (("width", "24"), "multiple of 16"),
        (("epochs", "0"), "at least 1"),
        (("reduction", "sum"), "elbo, code"),
        (("lr", "0.0"), "positive"),
    ],
)
def test_bad_settings(cli: Cli, setting: tuple[str, str], sentence: str) -> None:
    refused = cli("--query", "vaal", f"--query.{setting[0]}", setting[1])
    assert refused.status == 2
    assert sentence in refused.err
