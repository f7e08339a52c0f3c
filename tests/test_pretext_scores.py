"""Pretext models that leave scores: SimCLR's bank, the VAE's held-out images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretext.artifacts import Artifact
from pretext.making import data_of, predict, score_all
from pretext.simclr import SimCLR
from pretext.vae import VAE
from tests.pretext_artifacts import TEST, TRAIN, Train, command, context_of, module_of, numbers

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def banked(train: Train) -> Artifact:
    """SimCLR with a bank of 200 images: some images are in it, most are not."""
    return train("simclr", "first", "--model.bank", "200")


def test_the_bank_holds_clean_images(banked: Artifact) -> None:
    module, images = module_of(banked), context_of(banked).images
    assert isinstance(module, SimCLR)
    members = module.members.numpy()
    assert len(set(members.tolist())) == 200
    assert members.max() > TRAIN - 100, "drawn from all of the train part"
    with torch.no_grad():
        pixels = images.train.take(members).float() / 255
        expected = module.project(module.backbone(module.standardize(pixels)))
    torch.testing.assert_close(module.bank, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", ["1", "50", "1433"])
def test_the_score_depends_on_no_batch(batch_size: str, banked: Artifact) -> None:
    module = module_of(banked)
    rows = np.random.default_rng(0).permutation(TRAIN)[:60]
    images = context_of(banked).images.train.take(rows).float() / 255
    indices = torch.from_numpy(rows)
    for part in torch.arange(60).split(int(batch_size)):
        with torch.no_grad():
            embedding = module.embed(images[part])
            columns = module.columns(images[part], indices[part], embedding, True)
        for name, values in columns.items():
            expected = numbers(banked)[name][rows[part]]
            np.testing.assert_allclose(values, expected, atol=1e-4)


def test_members_of_the_bank_do_not_look_hard(banked: Artifact) -> None:
    """They would if each were among its own negatives: `seen=False` shows what that does."""
    module, score = module_of(banked), numbers(banked)["score"]
    assert isinstance(module, SimCLR)
    assert score.std() > 0.01
    member = np.isin(np.arange(TRAIN), module.members)
    hardest = np.argsort(score)[-TRAIN // 10 :]
    expected = member.mean() * len(hardest)
    assert abs(member[hardest].sum() - expected) < 3 * np.sqrt(expected)

    images = context_of(banked).images.train.take(np.arange(TRAIN)).float() / 255
    indices = torch.arange(TRAIN)
    with torch.no_grad():
        columns = [
            module.columns(images[rows], indices[rows], module.embed(images[rows]), False)
            for rows in indices.split(500)
        ]
    kept = torch.cat([part["score"] for part in columns]).numpy()
    assert (kept - score)[member].min() > 0
    np.testing.assert_allclose(kept[~member], score[~member], atol=1e-4)


def test_a_new_image_is_in_no_bank(banked: Artifact) -> None:
    """Its index is that of a train image, which may be in the bank; here it is one."""
    module, context = module_of(banked), context_of(banked)
    assert isinstance(module, SimCLR)
    table = predict(module, data_of(module, context), context.devices, "new")
    with torch.no_grad():
        pixels = context.images.train.take(np.arange(TRAIN)).float() / 255
        z = module.project(module.backbone(module.standardize(pixels)))
    density = (z @ module.bank.T / module.temperature).logsumexp(dim=1)
    np.testing.assert_allclose(table.columns["density"], density, atol=1e-3)
    assert (table.columns["density"] - numbers(banked)["density"])[module.members].min() > 0


def test_of_the_test_part_only_clusters_are_kept(banked: Artifact) -> None:
    module, context = module_of(banked), context_of(banked)
    tables = score_all(module, data_of(module, context), context.devices)
    assert set(tables["train"].columns) == {"score", "alignment", "density"}
    assert not tables["test"].columns
    assert len(tables["test"].features) == TEST


@pytest.mark.parametrize("bank", ["-5", "0", "1"])
def test_a_bank_needs_two_images(bank: str, tmp_path: Path) -> None:
    finished = command("simclr", tmp_path / "a", "--model.bank", bank, epochs=0)
    assert finished.status == 2
    assert "bank must be at least 2" in finished.err


def test_the_vae_holds_images_out(train: Train) -> None:
    """A share of .05 is never trained on; it is scored, and has a loss of its own."""
    artifact = train("vae", "first", "--model.kl_weight", "null")
    module, context = module_of(artifact), context_of(artifact)
    assert isinstance(module, VAE)
    datamodule = data_of(module, context)
    assert len(datamodule.held_out) == 71
    trained = np.concatenate(list(datamodule.train_dataloader().sampler))  # type: ignore[call-overload]
    assert sorted(trained) == sorted({*range(TRAIN)} - {*datamodule.held_out})
    assert module.kl_weight == pytest.approx(200 / (TRAIN - 71))
    assert all(np.isfinite(row["val/loss"]) for row in artifact.record["history"])
    columns = numbers(artifact)
    assert np.array_equal(columns["score"], columns["error"])
    loss = columns["error"] + module.kl_weight * columns["kl"]
    np.testing.assert_allclose(columns["loss"], loss, rtol=1e-5)


def test_who_trains_a_code_to_collapse_is_told(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train("vae", "collapsed", "--model.kl_weight", "1000", epochs=10)
    assert "the code has collapsed" in caplog.text
