"""Learners: linear at its optimum, finetune from pretext weights; cycle 0 shared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from active.linear_classifier import GRID, LinearClassifier
from active.logistic import fit_logistic
from tests.conftest import TINY, Finished, only_run, rows_of, selected_of

Cli = Callable[..., Finished]
FEW = ("--learner.model.max_epochs", "1")
LINEAR = ("--logger", "csv", "--cycles", "2", "--learner", "linear", *FEW)


def test_mc_dropout_masks_the_features() -> None:
    classifier = LinearClassifier(4, 9)
    pooled, masks = torch.randn(5, 9), (torch.rand(3, 9) > 0.5).float() * 2
    slow = torch.stack([classifier.head(pooled * mask) for mask in masks])
    assert torch.allclose(classifier.mc_logits(pooled, masks), slow, atol=1e-5)


def test_logits_are_float32_in_any_precision() -> None:
    classifier, pooled = LinearClassifier(4, 9), torch.randn(5, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert classifier(pooled)[1].dtype == torch.float32
        assert classifier.mc_logits(pooled, torch.ones(2, 9)).dtype == torch.float32


def test_labels_of_v_that_a_query_reads_are_counted(
    cli: Cli, tmp_path: Path, artifacts: tuple[str, str]
) -> None:
    model = ("--query.model.max_epochs", "1")
    assert cli(*LINEAR, *artifacts, "--query", "uherding", *model).status == 0
    rows = rows_of(only_run(tmp_path))
    assert [row["pool/validation_labels"] for row in rows] == [0, 143, 143]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return "--artifacts_dir", str(tmp_path_factory.mktemp("artifacts"))


def test_linear_is_sklearn_on_the_artifacts_features(
    cli: Cli, tmp_path: Path, artifacts: tuple[str, str]
) -> None:
    from datamodules.sources import Digits

    finished = cli(*LINEAR, *artifacts, "--query", "margin")
    assert finished.status == 0, finished.err
    run, rows = only_run(tmp_path), rows_of(only_run(tmp_path))
    (folder,) = Path(artifacts[1]).glob("digits/simclr-*")
    train, test = (np.load(folder / f"features{part}.npy") for part in ("", "_test"))
    scale = lambda x: (x - train.mean(0, dtype=float)) / train.std(0, dtype=float)  # noqa: E731
    opened = Digits().open()
    chosen = np.concatenate(selected_of(run))
    inputs = [np.insert(scale(x), train.shape[1], 1, axis=1) for x in (train[chosen], test)]
    theirs = LogisticRegression(C=10, fit_intercept=False, tol=1e-10, max_iter=100_000)
    theirs.fit(inputs[0], opened.train.labels[chosen])
    assert opened.test is not None
    right = theirs.score(inputs[1], opened.test.labels)
    assert rows[-1]["test/acc"] == pytest.approx(right, abs=2.1 / len(opened.test.labels))
    assert rows[-1]["test/acc"] > 0.3
    assert [row["pool/validation_labels"] for row in rows] == [0, 0, 0]
    assert {row["classifier"] for row in rows} == {"plain"}


@pytest.mark.parametrize("query", ["dbal", "coreset", "badge", "batchbald"])
def test_linear_takes_queries(
    cli: Cli, tmp_path: Path, artifacts: tuple[str, str], query: str
) -> None:
    assert cli(*LINEAR, *artifacts, "--query", query).status == 0
    rows = rows_of(only_run(tmp_path))
    assert [row["pool/labeled"] for row in rows] == [20, 40, 60]
    again = cli(*LINEAR, *artifacts, "--query", query, "--runs_dir", "again")
    assert again.status == 0
    assert rows_of(next((tmp_path / "again").glob("**/cycles.jsonl")).parent) == rows


def test_c_by_at_most_five_labels_of_v_for_each_label(
    cli: Cli, tmp_path: Path, artifacts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    choose = LinearClassifier._choose

    def spy(self: LinearClassifier, features: torch.Tensor, labels: torch.Tensor) -> float:
        sample = self.trainer.datamodule.validation_sample(5 * len(labels), self.device)  # type: ignore[attr-defined]
        right = {}
        for c in GRID:
            weights = fit_logistic(features, labels, 10, c)
            logits = sample.images.double() @ weights[:, :-1].T + weights[:, -1]
            right[c] = (logits.argmax(1) == sample.labels).double().mean().item()
        chosen = choose(self, features, labels)
        seen.append((len(sample.labels), right[chosen] == max(right.values())))
        return chosen

    monkeypatch.setattr(LinearClassifier, "_choose", spy)
    assert cli(*LINEAR, *artifacts, "--learner.c", "val").status == 0
    assert [labels for labels, _ in seen] == [100, 143, 143]  # V has 143
    assert all(best for _, best in seen)
    rows = rows_of(only_run(tmp_path))
    assert [row["pool/validation_labels"] for row in rows] == [100, 143, 143]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--learner", "linear", "--query", "ens_me"), "one solution"),
        (("--learner", "linear", "--learner.c", "0"), "from 1e-06 to 10000"),
        (
            ("--learner", "linear", "--learner.c", "val", "--data.val", "0"),
            "needs a validation set",
        ),
        (("--learner", "finetune", "--learner.model", "vae"), "needs weights"),
        (("--learner", "finetune", "--learner.width", "32"), "--data.recipe.width sets both"),
        (("--learner", "linear", "--query", "vaal"), "trains on images"),
        (("--learner", "linear", "--learner.pretext_seed", "x"), "learner.pretext_seed must be"),
    ],
)
def test_what_learners_refuse(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    refused = cli(*arguments)
    assert refused.status == 2
    assert sentence in refused.err


def test_finetune_starts_each_cycle_with_the_pretext_weights(
    cli: Cli, artifacts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from active.classifier import Classifier

    starts = []

    def first(self: Classifier) -> None:
        starts.append({k: v.clone() for k, v in self.backbone.state_dict().items()})

    monkeypatch.setattr(Classifier, "on_train_start", first)
    settings = ("--learner", "finetune", *FEW, *artifacts, "--query", "margin", "--seed", "3")
    assert cli(*TINY, *settings, "--trainer.max_epochs", "2").status == 0
    (folder,) = Path(artifacts[1]).glob("digits/simclr-*")
    state = torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
    assert len(starts) == 3
    for start in starts:
        assert all(torch.equal(v, state[f"backbone.{k}"]) for k, v in start.items())


QUERIES = ("margin", "entropy", "dbal", "ens_me")


def test_cycle_0_is_trained_once_and_changes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four queries: a plain, a dropout and two more members, in place of 1 + 1 + 1 + 3."""
    from active.classifier import Classifier

    fits = []
    monkeypatch.setattr(Classifier, "on_train_start", lambda self: fits.append(0))
    grid = (*TINY, "--query", ",".join(QUERIES), "--cycles", "1", "-m")
    assert cli(*grid, "--runs_dir", "shared").status == 0
    later = 1 + 1 + 1 + 3
    assert len(fits) == (1 + 1 + 2) + later
    fits.clear()
    assert cli(*grid, "--runs_dir", "alone", "--share_cycle_0", "false").status == 0
    assert len(fits) == 2 * later
    for query in QUERIES:
        shared, alone = (
            next((tmp_path / name).glob(f"single/*/*/{query}/*/*/cycles.jsonl")).parent
            for name in ("shared", "alone")
        )
        assert rows_of(shared) == rows_of(alone)
        assert selected_of(shared) == selected_of(alone)
        assert (shared / "curves.csv").read_text() == (alone / "curves.csv").read_text()


def test_what_cycle_0_depends_on_is_in_its_key(cli: Cli, tmp_path: Path) -> None:
    """Each of these trains a classifier of its own; a second query does not."""
    changes = [
        (), ("--query", "margin"), ("--seed", "1"), ("--seeds.weights", "1"),
        ("--init", "balanced"), ("--learner.lr", "0.01"), ("--trainer.max_epochs", "2"),
        ("--data.crop", "1"),
        ("--learner.dropout", "on"), ("--seeds.query", "5"), ("--init_budget", "30"),
    ]  # fmt: skip
    for change in changes:
        assert cli(*TINY, "--cycles", "0", *change).status == 0, change
    assert len(list(tmp_path.glob("artifacts/digits/cycle_0-*"))) == len(changes) - 2


def test_a_damaged_cycle_0_is_trained_again(cli: Cli, tmp_path: Path) -> None:
    once = (*TINY, "--cycles", "0")
    assert cli(*once).status == 0
    (folder,) = tmp_path.glob("artifacts/digits/cycle_0-*")
    before = json.loads((folder / "record.json").read_text())["sha256"]
    (folder / "model.ckpt").write_bytes(b"x")
    assert cli(*once, "--query", "margin", "--runs_dir", "other").status == 0
    assert json.loads((folder / "record.json").read_text())["sha256"] == before
