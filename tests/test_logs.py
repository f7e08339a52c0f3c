"""Weights & Biases read back from its own file, curves.csv, TensorBoard."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules.sources import Digits
from tests.conftest import ROOT, TINY, only_run, rows_of, run_cli, selected_of
from tests.processes import SERVER, finish, kill_after
from tests.wandb_files import read_back

Cli = Callable[..., Any]
WANDB = (*TINY, "--logger", "csv,wandb", "--query", "margin", "--seed", "2")
ON_LABELS = {
    "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc", "test/acc_per_class",
    "pool/fraction", "pool/classes", "pool/entropy", "pool/validation_labels", "time/train_s",
    "time/query_s",
}  # fmt: skip
ON_EPOCHS = {"train/loss", "val/acc"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run kept offline, and what it printed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("wandb"))
        finished = run_cli("active", *WANDB)
        assert finished.status == 0, finished.err
        return only_run(Path.cwd()).resolve(), finished.out


def test_wandb_has_every_name_on_its_axis(logged: tuple[Path, str]) -> None:
    found = read_back(logged[0])
    assert {n: a for n, a in found["axis"].items() if n in ON_LABELS} == dict.fromkeys(
        ON_LABELS, "pool/labeled"
    )
    assert {n: a for n, a in found["axis"].items() if n in ON_EPOCHS} == dict.fromkeys(
        ON_EPOCHS, "epoch"
    )
    cycles = [row for row in found["history"] if "test/acc" in row]
    assert [row["pool/labeled"] for row in cycles] == [20, 40, 60]
    for logged_row, row in zip(cycles, rows_of(logged[0]), strict=True):
        assert logged_row.keys() >= ON_LABELS
        assert logged_row["test/acc"] == row["test/acc"]
        per_class = logged_row["test/acc_per_class"]
        assert [per_class[str(c)] for c in range(10)] == row["test/acc_per_class"]
    curves = [row for row in found["history"] if "train/loss" in row]
    assert [row["epoch"] for row in curves] == list(range(1, 13))
    assert [row["cycle"] for row in curves] == [0] * 4 + [1] * 4 + [2] * 4
    checks = [row for row in found["history"] if "val/acc" in row]
    assert [row["epoch"] for row in checks] == list(range(1, 13))


def test_wandb_has_config_group_and_thumbnails(logged: tuple[Path, str]) -> None:
    run, _ = logged
    found = read_back(run)
    assert found["config"]["seed"] == 2
    assert found["config"]["learner"]["lr"] == 0.025
    assert {r.run_group for r in found["runs"]} == {"single"}
    assert {r.project for r in found["runs"]} == {"initial-pools"}
    tables = [row["chosen"] for row in found["history"] if "chosen" in row]
    assert len(tables) == 3
    assert [table["nrows"] for table in tables] == [20, 20, 20]
    for cycle, manifest in enumerate(found["artifacts"]):
        (table,) = [e for e in manifest if e.path == "chosen.table.json"]
        content = json.loads(Path(table.local_path).read_text())
        assert content["columns"] == ["cycle", "rank", "id", "image", "label", "score"]
        assert [row[0] for row in content["data"]] == [cycle] * 20
        pictures = [e for e in manifest if e.path.endswith(".png")]
        assert len(pictures) == 20
        first = next(e for e in pictures if e.path == content["data"][0][3]["path"])
        index = selected_of(run)[cycle][0]
        shown = np.asarray(Image.open(first.local_path).convert("L"))
        assert np.array_equal(shown, Digits().open().train.decoder(np.array([index]))[0, 0])


def upload_command(out: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.startswith("to upload to W&B: ")]
    return shlex.split(line.removeprefix("to upload to W&B: "))


def test_the_printed_command_uploads_what_is_there(logged: tuple[Path, str]) -> None:
    run, out = logged
    command = upload_command(out)
    assert command[:3] == ["wandb", "sync", "--id"]
    assert [Path(part).name for part in command[4:]] == [
        f.parent.name for f in run.glob("wandb/off*/*.wandb")
    ]


def killed_run(folder: str) -> None:
    """Dies in its fourth epoch of the second cycle."""
    from active.classifier import Classifier

    os.environ.pop("WANDB_SERVICE", None)  # its own service, as every command has
    os.chdir(folder)
    Classifier.training_step = kill_after(Classifier.training_step, 10, True)  # type: ignore[method-assign]
    run_cli("active", *WANDB)


def test_killed_and_resumed_is_one_wandb_run(
    logged: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = SERVER.Process(target=killed_run, args=(str(tmp_path),))
    process.start()
    assert finish(process) == -signal.SIGKILL
    time.sleep(1.1)  # W&B names the parts by the second
    monkeypatch.chdir(tmp_path)
    finished = run_cli("active", *WANDB)
    assert finished.status == 0, finished.err
    found, reference = read_back(only_run(tmp_path)), read_back(logged[0])
    assert {r.run_id for r in found["runs"]} == {r.run_id for r in reference["runs"]}
    assert len({r.run_id for r in found["runs"]}) == 1
    command = upload_command(finished.out)
    assert len(command[4:]) == len(found["files"]) == 2
    assert command[3] == found["runs"][0].run_id
    assert all(Path(part).is_dir() for part in command[4:])
    cycles = {r["pool/labeled"]: r["test/acc"] for r in found["history"] if "test/acc" in r}
    assert cycles == {r["pool/labeled"]: r["test/acc"] for r in rows_of(logged[0])}
    assert rows_of(only_run(tmp_path)) == rows_of(logged[0])
    dry = subprocess.run(
        [str(ROOT / ".venv/bin/wandb"), *command[1:3], command[3], "--dry-run", *command[4:]],
        capture_output=True, text=True,
    ) if (ROOT / ".venv/bin/wandb").exists() else None  # fmt: skip
    if dry is not None:
        assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("server", ["silent", "closed"])
def test_an_unreachable_server_costs_seconds_and_no_row(
    logged: tuple[Path, str], tmp_path: Path, server: str
) -> None:
    """With a key, against a server that takes connections and never answers, or takes none."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    if server == "silent":
        listener.listen(8)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment["WANDB_BASE_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environment["WANDB_API_KEY"] = "a" * 40
    code = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pretext import wandb_log\n"
        "from tests.conftest import run_cli\n"
        "import os; os.environ.pop('WANDB_MODE', None)\n"
        "original = wandb_log.open_wandb\n"
        "def timed(*arguments, **named):\n"
        "    started = time.monotonic()\n"
        "    sink = original(*arguments, **named)\n"
        "    print('opened in', time.monotonic() - started, file=sys.__stdout__)\n"
        "    return sink\n"
        "wandb_log.open_wandb = timed\n"
        f"finished = run_cli('active', *{WANDB!r})\n"
        "print(finished.out, finished.err)\n"
        "sys.exit(finished.status)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    listener.close()
    assert finished.returncode == 0, finished.stderr
    (seconds,) = re.findall(r"opened in ([\d.]+)", finished.stdout)
    assert float(seconds) < 20
    assert "kept offline" in finished.stdout
    assert "wandb sync" in finished.stdout
    assert rows_of(only_run(tmp_path)) == rows_of(logged[0])


def test_disabled_wandb_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    finished = run_cli("active", *TINY, "--logger", "wandb", "--cycles", "0")
    assert finished.status == 0, finished.err
    assert "wandb sync" not in finished.out
    assert not list(tmp_path.glob("runs/**/offline-run-*"))


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    finished = run_cli("active", *TINY, "--logger", "tensorboard", "--cycles", "1")
    assert finished.status == 0, finished.err
    run = only_run(tmp_path)
    with contextlib.redirect_stderr(io.StringIO()):
        events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("test/acc")] == [20, 40]
    assert [e.step for e in events.Scalars("train/loss")] == list(range(1, 9))
    assert events.Tags()["images"] == ["initial_pool", "chosen/cycle_0", "chosen/cycle_1"]
    assert re.match("0.", str(events.Scalars("test/acc")[0].value))
