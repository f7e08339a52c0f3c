"""Shared fixtures: the command line in this process, small data, small pretext models."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Helpers whose assertions tell values too when they fail.
pytest.register_assert_rewrite(
    "tests.artifact_folder", "tests.claim_tables", "tests.feature_sets", "tests.processes"
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # tests also run before `pip install -e .`
os.environ.setdefault("WANDB_MODE", "offline")

# A run of a second: three cycles on the digits, with a best epoch that is not always the last.
TINY = (
    "--logger",
    "csv",
    "--cycles",
    "2",
    "--trainer.max_epochs",
    "4",
    "--trainer.val_checks",
    "4",
)


@dataclass
class Finished:
    status: int
    out: str
    err: str


def run_cli(program: str, *arguments: str) -> Finished:
    """A command as typed, in this process and the current folder."""
    from conf.launch import launch
    from pretext import setup

    setup._images.cache_clear()
    out, err, status = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = [f"{program}.py", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            launch(program)
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        sys.argv = before
    return Finished(status, out.getvalue(), err.getvalue())


def run(folder: Path, *arguments: str) -> Finished:
    """active/run.py in a folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        return run_cli("active", *arguments)


def run_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Path:
    """A run in a folder of its own."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    finished = run_cli("active", *TINY, *arguments)
    assert finished.status == 0, finished.err
    return only_run(folder)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """`cli("--query", "margin")` runs active/run.py in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli("active", *arguments)


@pytest.fixture
def data_root() -> str:
    """The folder with the real images; tests that need it are skipped without."""
    root = os.environ.get("DATA_ROOT")
    if not root:
        pytest.skip("DATA_ROOT is not set: it names the folder with the real images")
    return root


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is an empty one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`train("vae", "again", "--seed", "1")`: an artifact in the folder `again`, made once."""
    from pretext.artifacts import Artifact
    from tests.pretext_artifacts import EPOCHS, command

    root = tmp_path_factory.mktemp("pretext")

    def make(model: str, folder: str = "first", *more: str, epochs: int = EPOCHS) -> Artifact:
        finished = command(model, root / folder, *more, epochs=epochs)
        assert finished.status == 0, finished.err
        return Artifact(Path(finished.out.splitlines()[-1]))

    return make


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 images without labels."""
    folder = tmp_path_factory.mktemp("loose")
    write_images(folder, 60)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of a run without the times, which no two runs share."""
    lines = (folder / "cycles.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def selected_of(folder: Path) -> list[list[int]]:
    """Indices added for each cycle of a run, in order."""
    import pyarrow.parquet as pq

    files = sorted(folder.glob("cycle_*/selected.parquet"), key=lambda f: int(f.parent.name[6:]))
    return [pq.read_table(file)["index"].to_pylist() for file in files]


def only_run(root: Path) -> Path:
    """The folder of the one run below `root`."""
    (file,) = root.glob("runs/**/config.yaml")
    return file.parent


def write_images(
    folder: Path, count: int, seed: int = 0, color: bool = True, size: tuple[int, int] = (20, 16)
) -> None:
    """`count` random PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    width, height = size
    for i in range(count):
        shape = (height, width, 3) if color else (height, width)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i:03d}.png")
