"""Grids: unions of products, tasks that die, what is checked before anything starts."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from active.grid import missing
from conf import tasks
from conf.cli import expand, parse
from conf.compose import compose_config, composer, plain
from conf.grid import Experiment, split
from conf.jobs import Job, compose_job
from conf.tasks import Grid
from tests.conftest import TINY, Finished, rows_of

Cli = Any
TWO = Experiment(
    grid={"data": "digits", "init": "random,vae", "query": "random,dbal", "seed": "0,1"},
    also=[
        {"init": "random", "query": "random", "learner.dropout": "on"},
        {"query": "margin,random"},  # margin is new; the passive arms are there already
    ],
)


def words(runs: list[dict[str, str]]) -> list[tuple[str, ...]]:
    keys = ("seed", "init", "query", "learner.dropout")
    return [tuple(run.get(key, "") for key in keys) for run in runs]


def test_a_union_of_grids_has_each_run_once_and_goes_seed_by_seed() -> None:
    runs = words(TWO.runs({}))
    pairs = [*itertools.product(("random", "vae"), ("random", "dbal", "margin"))]
    expected = {(s, i, q, "") for s in "01" for i, q in pairs}
    expected |= {(s, "random", "random", "on") for s in "01"}
    assert set(runs) == expected
    assert len(runs) == len(expected)
    assert [run[0] for run in runs] == ["0"] * 7 + ["1"] * 7


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seed": "5"}, 7),  # a list is replaced
        ({"query": "dbal"}, 2 * 2),  # no control, no margin
        ({"query": "margin"}, 2 * 2),  # once, though two grids now have it
        ({"init": "vae"}, 3 * 2),  # the control is random
        ({"learner.dropout": "auto"}, 6 * 2),
        ({"cycles": "1"}, 7 * 2),  # a new word goes to all
    ],
)
def test_flags_narrow_a_union(given: dict[str, str], expected: int) -> None:
    runs = TWO.runs(given)
    assert len(runs) == expected
    assert all(run[key] in split(value) for run in runs for key, value in given.items())


def test_elements_of_a_list() -> None:
    assert split("0,1") == ["0", "1"]
    assert split("[csv,wandb],none") == ["[csv,wandb]", "none"]
    assert split("'a,b',{c:1,d:2}") == ["'a,b'", "{c:1,d:2}"]
    assert split("") == [""]


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=mnist", "init=scan", "query=coreset", "trainer=ddp", "learner.lr=0.5", "seed=3"],
        ["data=tiny_imagenet", "init=typiclust", "model@init.model=vae", "query=uherding"],
        ["init=histogram", "init@init.of=vae", "query=dbal", "query.samples=3", "data.crop=1"],
        ["logger=[csv]", "query=badge", "data.mean=[0.5]", "budget=${init_budget}"],
    ],
)
def test_options_composed_apart_are_what_hydra_composes(overrides: list[str]) -> None:
    with composer():
        assert compose_job("active", overrides).resolved == plain(
            compose_config("active", overrides)
        )


def never(job: Job) -> None:
    raise AssertionError("a run whose process died too often is not tried again")


def remember(job: Job) -> None:
    with open("order.txt", "a", encoding="utf-8") as file:
        file.write(f"{job.config.seed}\n")


def exits(job: Job) -> None:
    raise SystemExit(3)


def grid_of(folder: Path, handler: str, seeds: int = 3) -> Grid:
    jobs = [[f"seed={seed}"] for seed in range(seeds)]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return Grid("active", f"tests.test_grid:{handler}", folder, notes=False)


def task(number: int, attempts: int = 3, one: bool = True) -> Any:
    return SimpleNamespace(task=number, attempts=attempts, one=one)


def test_tasks_in_any_order_take_the_jobs_in_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path, "remember")
    for number in (2, 0, 1):
        grid(task(number))
    assert Path("order.txt").read_text(encoding="utf-8").split() == ["0", "1", "2"]
    assert [grid.outcome(place) for place in range(3)] == ["", "", ""]


def test_a_task_goes_on_until_no_job_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path, "remember", seeds=5)
    assert next(grid._mine(9, 5)) == 0  # another task, at work
    grid(task(0, one=False))
    grid(task(1, one=False))  # comes too late
    grid(task(9, one=False))  # its process died, and is started again
    assert Path("order.txt").read_text(encoding="utf-8").split() == ["1", "2", "3", "4", "0"]
    assert [grid.outcome(place) for place in range(5)] == [""] * 5


def test_a_task_that_died_takes_its_job_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path, "remember")
    assert [next(grid._mine(number, 3)) for number in (7, 5, 7)] == [0, 1, 0]
    assert "died" in grid.outcome(0)
    grid(task(7))
    assert Path("order.txt").read_text(encoding="utf-8") == "0\n"
    assert grid.outcome(0) == ""
    lost = Grid("active", "tests.test_grid:never", tmp_path, notes=False)
    (tmp_path / "1.began").write_text("7 0\n0 0\n0 0\n")  # two attempts, whose processes died
    lost(task(5, attempts=2))
    assert lost.outcome(1) == "its process died 2 times"


@pytest.mark.parametrize("further", ["run", "model"])
def test_attempts_are_counted_anew_where_a_run_came_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, further: str
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = grid_of(tmp_path, "remember", seeds=1)
    (tmp_path / "0.began").write_text("0 0\n0 0\n")
    (job,) = expand("active", parse(["--seed", "0"]))
    assert job.folder is not None
    model = Path("artifacts/digits/.simclr-0123.partial/last.ckpt")
    file = job.folder / "cycles.jsonl" if further == "run" else model
    file.parent.mkdir(parents=True)
    file.write_text("a row\n")
    grid(task(0, attempts=2))
    assert grid.outcome(0) == ""
    *_, last = (tmp_path / "0.began").read_text().splitlines()
    saved = model.stat().st_mtime_ns if further == "model" else 0
    assert last == f"{6 if further == 'run' else 0} {saved}"


@pytest.mark.parametrize("name", ["submitit.core.job_environment", "ray._private.worker"])
def test_a_task_that_is_told_to_stop_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By a handler of signals of who started it, which then starts it again."""
    module: dict[str, Any] = {"__name__": name}
    exec("import sys\ndef handler():\n    sys.exit(-1)", module)
    monkeypatch.setattr("tests.test_grid.exits", lambda job: module["handler"]())
    grid = grid_of(tmp_path, "exits")
    with pytest.raises(SystemExit):
        grid(task(0))
    assert not (tmp_path / "0.done").exists()


def test_a_task_works_where_its_grid_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of a Ray cluster has the folder and the environment of `ray start`."""
    (tmp_path / "user").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    monkeypatch.setenv("DATA_ROOT", "/data")
    monkeypatch.setenv("WANDB_SERVICE", "the driver's")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    grid = grid_of(tmp_path, "remember")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("DATA_ROOT")
    monkeypatch.delenv("WANDB_SERVICE")
    monkeypatch.delenv("WANDB_API_KEY")
    grid(task(0))
    assert (tmp_path / "user/order.txt").exists()
    assert os.environ.pop("DATA_ROOT") == "/data"
    assert not {"WANDB_SERVICE", "WANDB_API_KEY"} & os.environ.keys()


def test_a_job_that_exits_is_a_failure_and_no_more(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "exits")
    grid(task(0))
    assert grid.outcome(0) == "it ended itself with status 3"


def test_a_launcher_that_stops_leaves_a_list(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's and submitit's do when a process is lost for good."""

    def start(grid: Grid, count: int, words: list[str]) -> None:
        grid(task(0))
        raise RuntimeError("WorkerCrashed")

    monkeypatch.setattr(tasks, "_start", start)
    command = [*TINY, "--seed", "0,1", "--cycles", "0", "-m"]
    finished = cli(*command)
    assert finished.status == 1
    assert "the launcher stopped: RuntimeError: WorkerCrashed" in finished.err
    assert "1 of 2 runs failed:" in finished.err
    (error,) = tmp_path.glob("runs/**/error.txt")
    assert error.parent.name == "seed1"
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"single"}
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli(*command).status == 0
    assert not error.exists()
    assert len(rows_of(error.parent)) == 1


def test_a_launcher_that_cannot_start(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise ConnectionError("no cluster is running")

    monkeypatch.setattr(tasks, "_start", start)
    finished = cli(*TINY, "--seed", "0,1", "-m")
    assert finished.status == 2
    assert "could not be started: ConnectionError: no cluster is running" in finished.err
    assert list((tmp_path / "runs").iterdir()) == []


def test_missing_artifacts_are_named_once_parents_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lists = ["--init", "scan,random,kmeans,vae", "--query", "random,typiclust", "--seed", "0,1"]
    jobs = missing(expand("active", parse([*lists, "-m"])))
    assert [(job.name.init, job.name.query, job.config.seed) for job in jobs] == [
        ("random", "typiclust", 0), ("vae", "random", 0), ("kmeans", "random", 0),
        ("scan", "random", 0),
    ], "simclr, by its first user; then vae, kmeans and scan, whose parent it is"  # fmt: skip
    assert list(tmp_path.rglob("*.ckpt")) == []


def test_a_grid_trains_what_it_shares_once_and_first(cli: Cli, tmp_path: Path) -> None:
    few = ["--init.model.max_epochs", "1", "--init.model.batch_size", "500"]
    command = [*TINY, *few, "--init", "vae", "--seed", "0,1", "--cycles", "0", "-m"]
    refused: Finished = cli(*command, "--pretext.if_missing", "error")
    assert refused.status == 2
    assert "forbids training it" in refused.err
    assert not (tmp_path / "runs").exists()
    finished = cli(*command)
    assert finished.status == 0, finished.err
    out = finished.out
    assert out.count("to be trained") == 1
    assert "first the 1 pretext models that the runs need and miss" in out
    assert out.index("to be trained") < out.index("cycle 0/0")
    again = cli(*command)
    assert "pretext models" not in again.out
    assert "to be trained" not in again.out
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"single"}
