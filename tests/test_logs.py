"""Weights & Biases read back from its own file, curves.csv, TensorBoard."""

from __future__ import annotations

import contextlib
import io
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
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from active.columns import ARTIFACTS
from datamodules.sources import Digits
from pretext import wandb_log, wandb_server
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
    config = found["config"]
    assert config["seed"] == 2
    assert [config[n] for n in ("data", "init", "query", "learner")] == [
        "digits", "random", "margin", "resnet18",
    ]  # fmt: skip
    assert config["arm"] == "/".join(run.parts[-5:-1])
    assert config["settings"]["learner"]["lr"] == 0.025
    assert config["settings"]["environment"]["precision"] == "32-true"
    assert set(config) == {
        "data", "init", "query", "learner", "seed", "arm", *ARTIFACTS, "settings", "_wandb",
    }  # fmt: skip
    assert {r.run_group for r in found["runs"]} == {"single"}
    assert {r.project for r in found["runs"]} == {"initial-pools"}
    assert not found["artifacts"], "W&B would ask its server for each"
    assert found["axis"]["chosen"] == "cycle"
    shown = [row for row in found["history"] if "chosen" in row]
    assert [row["cycle"] for row in shown] == [0, 1, 2]
    digits, files = Digits().open().train, found["files"][0].parent / "files"
    for row, selected in zip(shown, selected_of(run), strict=True):
        assert row["chosen"]["count"] == len(row["chosen"]["captions"]) == 20
        index, caption = selected[0], row["chosen"]["captions"][0]
        assert caption.startswith(f"0: {digits.ids[index]}, {digits.labels[index]}, ")
        first = np.asarray(Image.open(files / row["chosen"]["filenames"][0]).convert("L"))
        assert np.array_equal(first, digits.decoder(np.array([index]))[0, 0])


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
    found, other = read_back(only_run(tmp_path)), read_back(logged[0])
    (ours,), (theirs,) = ({r.run_id for r in one["runs"]} for one in (found, other))
    assert ours != theirs, "the same run in another folder is another one"
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
    assert float(seconds) < 40  # 15, and imports on a busy machine
    assert "kept offline" in finished.stdout
    assert "wandb sync" in finished.stdout
    assert rows_of(only_run(tmp_path)) == rows_of(logged[0])


def test_a_finished_run_is_told_later(
    logged: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One made without W&B once; one that a sweep asks for again, to that agent's run."""
    monkeypatch.chdir(tmp_path)
    for logger in ("none", "wandb", "wandb"):
        arguments = [a.replace("csv,wandb", logger) for a in WANDB]
        finished = run_cli("active", *arguments)
        assert finished.status == 0, finished.err
    run = only_run(tmp_path)
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
    rows = {r["pool/labeled"]: r["test/acc"] for r in rows_of(run)}
    found = read_back(run)
    assert {r["pool/labeled"]: r["test/acc"] for r in found["history"]} == rows
    assert found["config"]["query"] == "margin"
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    monkeypatch.setenv("WANDB_RUN_ID", "agentrun")
    finished = run_cli("active", *WANDB)
    assert finished.status == 0, finished.err
    (part,) = run.glob("wandb/offline-run-*-agentrun")
    assert len([r for r in read_back(run)["history"] if "test/acc" in r]) == 6
    assert upload_command(finished.out)[3:] == ["agentrun", str(part)]


def test_an_upload_is_asked_of_what_is_not_uploaded(tmp_path: Path) -> None:
    """In the order that the parts were made; an online part only where it was cut off."""
    first, last = "run-20261128_100000-one", "offline-run-20261128_110000-one"
    sent, synced = "run-20261128_090000-one", "offline-run-20261128_080000-one"
    for name in (first, last, sent, synced, "offline-run-20261128_100000-two"):
        (tmp_path / name).mkdir()
    (tmp_path / first / "unsent").touch()
    (tmp_path / synced / "run-one.wandb.synced").touch()
    assert [part.name for part in wandb_log.unsent(tmp_path, "one")] == [first, last]


def test_a_key_for_a_server_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `wandb login --host http://lab:8911` leaves it: a name with its port."""
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    address = {"now": "http://lab:8911"}
    monkeypatch.setattr(wandb_server, "server", lambda: urlparse(address["now"]))
    (tmp_path / "netrc").write_text("machine lab:8911\n  login user\n  password key\n")
    assert wandb_server.logged_in()
    address["now"] = "https://api.wandb.ai"
    assert not wandb_server.logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password key\n")
    assert wandb_server.logged_in()


def test_disabled_wandb_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    finished = run_cli("active", *TINY, "--logger", "wandb", "--cycles", "0")
    assert finished.status == 0, finished.err
    assert "wandb sync" not in finished.out
    assert not list(tmp_path.glob("runs/**/offline-run-*"))
    assert not wandb_log.knows(only_run(tmp_path), 1), "it is told later"


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
