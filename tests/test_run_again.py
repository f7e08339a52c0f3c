"""A run asked for again: with other settings, elsewhere, by two at once, or only planned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY, only_run, rows_of

Cli = Callable[..., object]


def test_another_config_is_refused(cli: Cli, tmp_path: Path) -> None:
    command = [*TINY, "--query", "margin"]
    assert cli(*command).status == 0
    run = only_run(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["learner"]["lr"] = 0.5
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = (run / "cycles.jsonl").read_bytes()
    refused = cli(*command)
    assert refused.status == 2
    assert "learner.lr (0.5 there, 0.025 here)" in refused.err
    assert "seed" not in refused.err.split("settings:")[1].split(";")[0]
    assert (run / "cycles.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "init",
    ["--init file --init.path pool.csv", "--init histogram --init.of file --init.of.path pool.csv"],
)
def test_another_pool_in_the_same_file_is_refused(cli: Cli, tmp_path: Path, init: str) -> None:
    pool = tmp_path / "pool.csv"
    command = [*TINY, *init.split(), "--cycles", "0"]
    pool.write_text("\n".join(["index", *map(str, range(20, 60))]) + "\n")
    assert cli(*command).status == 0
    (only_run(tmp_path) / "error.txt").write_text("of an earlier attempt")
    assert "is finished" in cli(*command).out
    assert not (only_run(tmp_path) / "error.txt").exists()
    pool.write_text("\n".join(["index", *map(str, range(100, 140))]) + "\n")
    refused = cli(*command)
    assert refused.status == 2
    assert "init_fingerprint" in refused.err


def test_another_environment_is_refused_while_there_is_work(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY).status == 0
    run = only_run(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["environment"]["precision"] = "bf16-mixed"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "is finished" in cli(*TINY).out
    refused = cli(*TINY, "--cycles", "3")
    assert refused.status == 2
    assert "precision (bf16-mixed there, 32-true here)" in refused.err


def test_settings_that_change_no_result_are_not_compared(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY).status == 0
    other = [
        "--logger",
        "none",
        "--data.in_memory",
        "false",
        "--data.workers",
        "0",
        "--cycles",
        "3",
    ]
    finished = cli(*TINY, *other)
    assert finished.status == 0, finished.err
    assert len(rows_of(only_run(tmp_path))) == 4


def test_two_processes_do_not_share_a_run(cli: Cli, tmp_path: Path) -> None:
    from active.folder import RunFolder

    assert cli(*TINY).status == 0
    holder = RunFolder(only_run(tmp_path))
    holder.lock()
    try:
        refused = cli(*TINY, "--cycles", "3")
    finally:
        holder.unlock()
    assert refused.status == 2
    assert "another process is at work" in refused.err
    assert cli(*TINY, "--cycles", "3").status == 0


def test_dry_run_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    finished = cli(*TINY, "--query", "entropy", "--dry-run")
    assert finished.status == 0, finished.err
    assert list(tmp_path.iterdir()) == []
    # (20 + 40 + 60) x 4 epochs; 3 x (143 x 4 + 2 x 364); 1433 - 143 - 20, and 20 fewer
    assert "480 training, 3,900 validation and test, 2,520 query" in finished.out
    assert "initial pool: 20 samples" in finished.out
