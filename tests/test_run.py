"""Whole runs on the digits: what is left, the same numbers each time, on two processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import ROOT, TINY, only_run, rows_of, run_in, selected_of

Cli = Callable[..., object]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run: entropy, seed 3, three cycles."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("reference") / "x"
        return run_in(folder, monkeypatch, "--query", "entropy", "--seed", "3")


def test_run_folder_holds_what_it_should(reference: Path) -> None:
    assert reference.as_posix().endswith(
        "runs/single/digits/random/entropy/resnet18-max_epochs4-val_checks4/seed3"
    )
    rows = [json.loads(line) for line in (reference / "cycles.jsonl").read_text().splitlines()]
    assert [row["cycle"] for row in rows] == [0, 1, 2]
    assert [row["pool/labeled"] for row in rows] == [20, 40, 60]
    names = {
        "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc",
        "test/acc_per_class", "pool/labeled", "pool/fraction", "pool/classes", "pool/entropy",
        "pool/validation_labels", "time/train_s", "time/query_s", "val/acc", "train/loss",
    }  # fmt: skip
    assert all(names <= row.keys() for row in rows)
    validation = pq.read_table(reference / "validation.parquet")
    assert len(validation) == 143
    chosen = selected_of(reference)
    assert [len(c) for c in chosen] == [20, 20, 20]
    everything = [i for c in chosen for i in c]
    assert len(set(everything)) == 60
    assert not set(everything) & set(validation["index"].to_pylist())
    table = pq.read_table(reference / "cycle_1/selected.parquet")
    assert table.column_names == ["id", "index", "rank", "score"]
    assert table["id"][0].as_py() == f"train/{table['index'][0].as_py():05d}"
    assert table["rank"].to_pylist() == list(range(20))
    scores = table["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    config = yaml.safe_load((reference / "config.yaml").read_text())
    assert config["seed"] == 3
    assert config["environment"]["threads"] == 1
    assert (reference / "cycle_2/model.ckpt").exists()
    assert not (reference / "cycle_1/model.ckpt").exists()
    curves = (reference / "curves.csv").read_text().splitlines()
    assert curves[0] == "cycle,epoch,train/loss,val/acc"
    assert [line.split(",")[1] for line in curves[1:]] == [str(e) for e in range(1, 13)]
    assert "cycle 2/2" in (reference / "log.txt").read_text()


def test_reported_pool_is_the_labeled_one(reference: Path) -> None:
    from scipy import stats

    from datamodules.sources import Digits

    labels = Digits().open().train.labels
    counts = np.bincount(labels[selected_of(reference)[0]])
    row = rows_of(reference)[0]
    assert row["pool/classes"] == (counts > 0).sum()
    assert row["pool/entropy"] == pytest.approx(stats.entropy(counts))
    assert row["pool/fraction"] == pytest.approx(20 / 1433)


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--data.in_memory", "false", "--data.workers", "0"],
        ["--data.in_memory", "false", "--data.workers", "2"],
    ],
    ids=["again", "streaming", "streaming, 2 workers"],
)
def test_same_seed_same_numbers(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: list[str]
) -> None:
    other = run_in(tmp_path / "x", monkeypatch, "--query", "entropy", "--seed", "3", *how)
    assert rows_of(other) == rows_of(reference)
    assert selected_of(other) == selected_of(reference)


def test_same_numbers_in_another_process(reference: Path, tmp_path: Path) -> None:
    """As typed, from another folder, without the package on the path."""
    command = [
        sys.executable,
        "-I",
        str(ROOT / "active/run.py"),
        *TINY,
        "--query=entropy",
        "--seed=3",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert rows_of(only_run(tmp_path)) == rows_of(reference)
    assert selected_of(only_run(tmp_path)) == selected_of(reference)
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "artifacts"}


def test_arms_of_a_seed_are_paired(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    margin = run_in(tmp_path / "m", monkeypatch, "--query", "margin", "--seed", "3")
    balanced = run_in(
        tmp_path / "b", monkeypatch, "--init", "balanced", "--query", "entropy", "--seed", "3"
    )
    other = run_in(tmp_path / "o", monkeypatch, "--query", "entropy", "--seed", "4")

    def validation(run: Path) -> list[int]:
        return pq.read_table(run / "validation.parquet")["index"].to_pylist()

    assert rows_of(margin)[0] == rows_of(reference)[0], "cycle 0 does not depend on the query"
    assert selected_of(margin)[0] == selected_of(reference)[0]
    assert selected_of(margin)[1] != selected_of(reference)[1]
    assert validation(margin) == validation(balanced) == validation(reference)
    assert validation(other) != validation(reference)
    assert selected_of(balanced)[0] != selected_of(reference)[0]
    labels = pq.read_table(balanced / "cycle_0/selected.parquet")["index"].to_numpy()
    from datamodules.sources import Digits

    assert np.bincount(Digits().open().train.labels[labels]).tolist() == [2] * 10


def test_one_stream_can_be_given_its_own_seed(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed = run_in(
        tmp_path / "x", monkeypatch, "--query", "entropy", "--seed", "3", "--seeds.weights", "8"
    )
    assert crossed.name == "seed3-weights8"
    assert selected_of(crossed)[0] == selected_of(reference)[0]
    assert rows_of(crossed)[0] != rows_of(reference)[0]


def test_a_finished_run_is_skipped_and_can_be_extended(
    reference: Path, cli: Cli, tmp_path: Path
) -> None:
    short = [*TINY[:2], "--cycles", "1", *TINY[4:], "--query", "entropy", "--seed", "3"]
    assert cli(*short).status == 0
    run = only_run(tmp_path)
    before = (run / "cycles.jsonl").read_bytes()
    finished = cli(*short)
    assert "is finished" in finished.out
    assert (run / "cycles.jsonl").read_bytes() == before
    assert cli(*TINY, "--query", "entropy", "--seed", "3").status == 0
    assert rows_of(run) == rows_of(reference)
    assert selected_of(run) == selected_of(reference)
    # Fewer cycles than are there are finished too, also with other threads: nothing is computed.
    assert cli(*short).status == 0


DDP = (
    sys.executable, str(ROOT / "active/run.py"), *TINY, "--query=entropy", "--seed=3",
    "--trainer=ddp", "--trainer.devices=2", "--trainer.accelerator=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run on two CPU processes (gloo)."""
    folder = tmp_path_factory.mktemp("pair")
    subprocess.run(DDP, cwd=folder, check=True, capture_output=True, timeout=300)
    return only_run(folder)


def test_two_processes_make_one_run(reference: Path, pair: Path) -> None:
    """One folder, the same V and initial pool, three cycles."""
    assert [row["pool/labeled"] for row in rows_of(pair)] == [20, 40, 60]
    assert selected_of(pair)[0] == selected_of(reference)[0]
    assert len({i for chosen in selected_of(pair) for i in chosen}) == 60
    hits = np.array([row["test/acc"] for row in rows_of(pair)]) * 364
    assert np.allclose(hits, hits.round()), "a test sample was not counted once"


def alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(there: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_rank_zero_killed_and_started_again(
    how: signal.Signals, pair: Path, tmp_path: Path
) -> None:
    """The other rank ends with it; gloo notices by itself, see `tests/test_ranks.py` for others."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        process = subprocess.Popen(
            DDP, cwd=tmp_path, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    try:
        for _ in range(1200):
            rows = list(tmp_path.glob("runs/**/cycles.jsonl"))
            if rows and rows[0].read_bytes().count(b"\n"):
                break
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.1)
        process.send_signal(how)
        process.wait(30)
        wait_until(lambda: not alive(process.pid), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert len(rows_of(only_run(tmp_path))) < 3
    subprocess.run(DDP, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert rows_of(only_run(tmp_path)) == rows_of(pair)
    assert selected_of(only_run(tmp_path)) == selected_of(pair)
