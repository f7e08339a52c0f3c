"""Runs on images of one's own, with labels and without, and on the real sets."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import TINY, only_run, rows_of, run, write_images

Cli = Callable[..., object]


def test_a_folder_of_images_runs_to_the_end(cli: Cli, tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        write_images(tmp_path / "pictures/train" / name, 20, seed=i)
        write_images(tmp_path / "pictures/test" / name, 5, seed=10 + i)
    finished = cli(
        *TINY, "--data", "folder", "--data.root", "pictures", "--data.size", "16", "--query",
        "margin", "--init_budget", "6", "--budget", "4", "--learner.width", "4",
    )  # fmt: skip
    assert finished.status == 0, finished.err
    run = only_run(tmp_path)
    assert re.search(r"/folder-pictures-[0-9a-f]{6}-size16-6\+4/", run.as_posix())
    assert [row["pool/labeled"] for row in rows_of(run)] == [6, 10, 14]
    ids = pq.read_table(run / "cycle_1/selected.parquet")["id"].to_pylist()
    assert all((tmp_path / "pictures" / name).exists() for name in ids)


def test_a_folder_without_labels_gets_its_list(cli: Cli, tmp_path: Path) -> None:
    write_images(tmp_path / "pictures", 30)
    for file in list((tmp_path / "pictures").iterdir()):
        file.rename(file.with_name(f'an "ö", {file.name}'))
    command = [
        "--logger",
        "csv",
        "--data",
        "folder",
        "--data.root",
        "pictures",
        "--init_budget",
        "5",
    ]
    finished = cli(*command)
    assert finished.status == 0, finished.err
    lines = (only_run(tmp_path) / "label_first.csv").read_text().splitlines()
    assert lines[0] == "rank,id"
    names = [name for _, name in csv.reader(lines[1:])]
    assert len(set(names)) == 5
    assert all((tmp_path / "pictures" / name).exists() for name in names)
    assert "label_first.csv" in finished.out
    described = json.loads((only_run(tmp_path) / "cycle_0/pool.json").read_text())
    assert (described["size"], described["overlap_expected"]) == (5, pytest.approx(25 / 30))
    assert "class_counts" not in described
    assert (only_run(tmp_path) / "cycle_0/contact_sheet.png").is_file()
    refused = cli(*command, "--init", "balanced")
    assert refused.status == 2
    assert "needs the labels" in refused.err


def test_files_to_label_first_without_labels(tmp_path: Path) -> None:
    """The hardest by the artifact's scores, hardest first."""
    write_images(tmp_path / "pictures", 30)
    finished = run(
        tmp_path, "--data", "folder", "--data.root", "pictures", "--data.size", "16",
        "--data.recipe.width", "8", "--init", "vae", "--init.model.max_epochs", "1",
        "--init_budget", "6", "--logger", "csv",
    )  # fmt: skip
    assert finished.status == 0, finished.err
    (file,) = tmp_path.glob("artifacts/folder/vae-*/samples.parquet")
    table = pq.read_table(file)
    scores = dict(zip(table["id"].to_pylist(), table["score"].to_pylist(), strict=True))
    lines = (only_run(tmp_path) / "label_first.csv").read_text().splitlines()[1:]
    assert [name for _, name in csv.reader(lines)] == sorted(
        scores, key=lambda name: -scores[name]
    )[:6]


@pytest.mark.real_data
def test_real_images_run(data_root: str, cli: Cli, tmp_path: Path) -> None:
    """MNIST and long-tail CIFAR-10 through the whole loop, as small as they can be made."""
    short = ["--logger", "csv", "--cycles", "1", "--trainer.max_epochs", "1", "--query", "entropy",
             "--learner.width", "8", "--data.root", data_root]  # fmt: skip
    assert cli(*short, "--data", "mnist").status == 0
    run = only_run(tmp_path)
    assert [row["pool/labeled"] for row in rows_of(run)] == [60, 120]
    assert rows_of(run)[0]["pool/validation_labels"] == 6000
    tail = cli(*short, "--data", "cifar10_lt", "--runs_dir", "tail/runs", "--budget", "100")
    assert tail.status == 0, tail.err
    assert [row["pool/labeled"] for row in rows_of(only_run(tmp_path / "tail"))] == [1399, 1499]
    assert rows_of(only_run(tmp_path / "tail"))[0]["pool/validation_labels"] == 1400
