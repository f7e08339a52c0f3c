"""Commands as typed: answers without torch, grids and their failures, what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY, only_run, rows_of, run_cli

Cli = Callable[..., object]


def run_script(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """In a process of its own, which tells whether torch was imported."""
    code = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['run.py', *{list(arguments)!r}]\n"
        f"sys.path.insert(0, {str(ROOT / 'active')!r})\n"
        f"runpy.run_path({str(ROOT / 'active/run.py')!r}, run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--query", "entropi"], 2),
        (["--data", "mnst"], 2),
        (["--trainer.max_epoch", "3"], 2),
        (["--seed", "one"], 2),
        (["--cfg", "job"], 0),
    ],
)
def test_answers_without_torch(arguments: list[str], status: int, tmp_path: Path) -> None:
    finished = run_script(*arguments, cwd=tmp_path)
    assert finished.returncode == status
    assert finished.stderr.splitlines()[-1] == "False"
    assert list(tmp_path.iterdir()) == []


def test_cfg_prints_what_would_run(tmp_path: Path) -> None:
    out = run_script("--data", "mnist", "--cfg", "job", "--seed", "4", cwd=tmp_path).stdout
    config = yaml.safe_load(out)
    assert config["seed"] == 4
    assert config["learner"]["lr"] == 0.005


def test_cfg_prints_the_first_run_of_what_was_asked(cli: Cli, tmp_path: Path) -> None:
    asked = cli("--cfg", "job", "--experiment", "figure5", "--seed", "4,5")
    assert asked.status == 0
    config = yaml.safe_load(asked.out)
    assert (config["data"]["name"], config["seed"], config["budget"]) == ("mnist", 4, 60)
    assert yaml.safe_load(cli("--cfg=job", "--seed", "3,1", "-m").out)["seed"] == 3
    assert list(tmp_path.iterdir()) == []


def test_a_grid_as_typed(cli: Cli, tmp_path: Path) -> None:
    finished = cli(*TINY, "--query", "random,margin", "--seed", "0,1", "--cycles", "1", "-m")
    assert finished.status == 0, finished.err
    runs = sorted(p.parent for p in tmp_path.glob("runs/**/cycles.jsonl"))
    assert len(runs) == 4
    assert all(len(rows_of(run)) == 2 for run in runs)
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "artifacts"}


def test_a_grid_in_folders_with_an_apostrophe(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it's here").mkdir()
    monkeypatch.chdir(tmp_path / "it's here")
    flags = ("--seed", "0,1", "--cycles", "0", "--runs_dir", "it's runs", "-m")
    finished = cli(*TINY, *flags)
    assert finished.status == 0, finished.err
    assert len(list(tmp_path.glob("it's here/it's runs/**/cycles.jsonl"))) == 2


@pytest.mark.parametrize("words", ["--help", "--cfg job"])
def test_a_reader_that_stops_early(words: str) -> None:
    """As in `run.py --help | head -1`, but sure to stop before the first line."""
    command = f"'{sys.executable}' '{ROOT}/active/run.py' {words} | true"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert ended.stderr == ""


def test_one_bad_job_of_three(cli: Cli, tmp_path: Path) -> None:
    """A run that fails is recorded and reported; the other two finish; started again, it heals."""
    command = [*TINY, "--seed", "0,1,2", "--cycles", "0", "-m"]
    bad = tmp_path / "runs/single/digits/random/random/resnet18-max_epochs4-val_checks4/seed1"
    bad.mkdir(parents=True)
    (bad / "cycles.jsonl").write_text("not a row\n")
    finished = cli(*command)
    assert finished.status == 1
    assert "1 of 3 runs failed" in finished.err
    assert "damaged at line 1" in (bad / "error.txt").read_text()
    done = list(tmp_path.glob("runs/**/cycle_0/model.ckpt"))
    assert len(done) == 2
    (bad / "cycles.jsonl").unlink()
    assert cli(*command).status == 0
    assert len(rows_of(bad)) == 1
    assert not (bad / "error.txt").exists()


def test_a_bug_in_one_job_is_recorded_with_its_traceback(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from active.cycle import Run

    go = Run.go

    def broken(self: Run, done: int, cycles: int) -> None:
        if self.ready.seeds.seed == 1:
            raise ZeroDivisionError("a bug")
        go(self, done, cycles)

    monkeypatch.setattr(Run, "go", broken)
    finished = cli(*TINY, "--seed", "0,1,2", "--cycles", "0", "-m")
    assert finished.status == 1
    (file,) = tmp_path.glob("runs/**/error.txt")
    assert "Traceback" in file.read_text()
    assert len(list(tmp_path.glob("runs/**/cycle_0/model.ckpt"))) == 2


def test_grids_cannot_use_ddp(cli: Cli, tmp_path: Path) -> None:
    for how in (["--trainer", "ddp"], ["--trainer.devices", "2"]):
        refused = cli(*how, "--seed", "0,1", "-m")
        assert refused.status == 2
        assert "cannot use --trainer ddp" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_run_has_one_folder(cli: Cli, tmp_path: Path) -> None:
    for flags in itertools.permutations(["--query=margin", "--init=balanced"]):
        assert cli(*TINY, "--cycles", "0", *flags).status == 0
    assert only_run(tmp_path).parent.parent.name == "margin"


def test_a_report_is_no_grid() -> None:
    refused = run_cli("report", "--experiment", "quick", "-m")
    assert refused.status == 2
    assert "one job" in refused.err
