"""Grids on real launchers: Ray on this machine, and a Slurm of one node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, rows_of, selected_of
from tests.slurm_node import missing_programs, slurm_node

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TWELVE = [*TINY, "--init", "random,balanced", "--query", "random,margin", "--seed", "0,1,2"]


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "active/run.py"), *words]


def finished(words: Sequence[str], folder: Path, env: dict[str, str] | None = None) -> str:
    """What a command that ends well prints, and that it leaves nothing but runs and artifacts."""
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        command(*words), cwd=folder, env=env, capture_output=True, text=True, timeout=800
    )
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in folder.iterdir()} == {"runs", "artifacts"}
    assert {path.name for path in (folder / "runs").iterdir()} == {"single"}
    return ended.stdout


def assert_same_runs(one: Path, other: Path, count: int) -> None:
    runs = sorted(path.parent.relative_to(one) for path in one.glob("runs/**/cycles.jsonl"))
    assert len(runs) == count
    for run in runs:
        assert rows_of(one / run) == rows_of(other / run)
        assert selected_of(one / run) == selected_of(other / run)


@pytest.fixture
def ray() -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="Ray: the extra `cluster`")


def test_ray_gives_the_rows_of_runs_one_after_another(ray: None, tmp_path: Path) -> None:
    finished([*TWELVE, "-m"], tmp_path / "one")
    out = finished([*TWELVE, "--launcher", "local", "--processes", "2"], tmp_path / "ray")
    assert_same_runs(tmp_path / "one", tmp_path / "ray", count=12)
    processes = {line.split("pid=")[1].split(")")[0] for line in out.splitlines() if "pid=" in line}
    assert len(processes) == 2, "a process does many runs"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_costs_its_current_cycle(
    ray: None, tmp_path: Path, stop: signal.Signals
) -> None:
    """Ray gives its run to another process; the command ends well, with undisturbed rows."""
    words = [*TWELVE, "--launcher", "local", "--processes", "2"]
    with open(tmp_path / "out.txt", "w", encoding="utf-8") as out:
        grid = subprocess.Popen(command(*words), cwd=tmp_path, stdout=out, stderr=out)
    killed = _kill_a_worker(grid, tmp_path, stop)
    assert grid.wait(timeout=600) == 0
    assert killed
    text = (tmp_path / "out.txt").read_text()
    assert "runs failed" not in text
    (tmp_path / "out.txt").unlink()
    other = tmp_path.with_name(tmp_path.name + "-undisturbed")
    finished([*TWELVE, "-m"], other)
    assert_same_runs(other, tmp_path, count=12)


def test_a_run_that_kills_its_processes_stops_no_other(ray: None, tmp_path: Path) -> None:
    """It is given up after some attempts, reported, and run when the command is started again."""
    (tmp_path / "deadly.py").write_text(
        "import os, pathlib, signal\n"
        "from active.queries.margin import Margin\n"
        "class Deadly(Margin):\n"
        "    def select(self, *arguments, **named):\n"
        "        if pathlib.Path('trap').exists():\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().select(*arguments, **named)\n"
    )
    (tmp_path / "trap").touch()
    words = [*TINY, "--query", "deadly.Deadly,random", "--seed", "0,1"]
    words += ["--launcher", "local", "--processes", "2", "--attempts", "2"]
    first = subprocess.run(command(*words), cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 1, first.stderr
    assert "2 of 4 runs failed:" in first.stderr
    assert "its process died 2 times" in first.stderr
    assert len(list(tmp_path.glob("runs/**/cycle_2/model.ckpt"))) == 2
    assert len(list(tmp_path.glob("runs/**/error.txt"))) == 2
    (tmp_path / "trap").unlink()
    again = subprocess.run(command(*words), cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.glob("runs/**/cycle_2/model.ckpt"))) == 4
    assert not list(tmp_path.glob("runs/**/error.txt"))


def _kill_a_worker(grid: subprocess.Popen, folder: Path, stop: signal.Signals) -> bool:
    """A signal for one process of this grid alone, once some run has a row."""
    while grid.poll() is None:
        if _has_rows(folder):
            for worker in _descendants(grid.pid):
                title = Path(f"/proc/{worker}/cmdline").read_bytes()
                if title.startswith(b"ray::_run_job"):
                    os.kill(worker, stop)
                    return True
        time.sleep(0.1)
    return False


def _has_rows(folder: Path) -> bool:
    return any(file.stat().st_size for file in folder.glob("runs/**/cycles.jsonl"))


def _descendants(process: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if parent == process:
            child = int(file.parent.name)
            found += [child, *_descendants(child)]
    return found


def test_slurm_runs_a_grid_of_two(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `cluster`")
    if absent := missing_programs():
        pytest.skip(f"Slurm is not installed (Debian: slurm-wlm): no {', '.join(absent)}")
    words = [*TINY, "--seed", "0,1"]
    with slurm_node(tmp_path / "node") as environment:
        slurm = [*words, "--launcher", "slurm", "--gpus", "0"]
        finished(slurm, tmp_path / "slurm", environment)
    finished([*words, "-m"], tmp_path / "one")
    assert_same_runs(tmp_path / "one", tmp_path / "slurm", count=2)


def test_a_run_that_meets_its_time_limit_goes_on(tmp_path: Path) -> None:
    """Told so by the signal that submitit has Slurm send then; queued again two minutes later."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `cluster`")
    if absent := missing_programs():
        pytest.skip(f"Slurm is not installed (Debian: slurm-wlm): no {', '.join(absent)}")
    words = [*TINY, "--seed", "0", "--trainer.max_epochs", "60"]
    (tmp_path / "slurm").mkdir()
    with slurm_node(tmp_path / "node") as environment:
        with open(tmp_path / "out.txt", "w", encoding="utf-8") as out:
            grid = subprocess.Popen(
                command(*words, "--launcher", "slurm", "--gpus", "0"),
                cwd=tmp_path / "slurm", env=environment, stdout=out, stderr=out,
            )  # fmt: skip
        while grid.poll() is None and not _has_rows(tmp_path / "slurm"):
            time.sleep(0.2)
        asked = ["squeue", "-h", "-r", "-o", "%i"]
        job = subprocess.check_output(asked, env=environment, text=True).strip()
        subprocess.run(["scancel", "--signal=USR2", job], env=environment, check=True)
        assert grid.wait(timeout=600) == 0, (tmp_path / "out.txt").read_text()
    finished([*words, "-m"], tmp_path / "one")
    assert_same_runs(tmp_path / "one", tmp_path / "slurm", count=1)
