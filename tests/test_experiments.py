"""Every experiment composes, is what its file says, and one run of each goes through a dry run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from active import prepare as preparing
from active.grid import outline
from active.job import run
from active.plan import Passes, Speed, total
from active.prepare import prepare
from conf.cli import expand, parse
from conf.compose import ROOT, groups
from conf.grid import read_experiment, split
from conf.jobs import Job
from datamodules.errors import UserError
from datamodules.images import Images, Part
from datamodules.sources import long_tail_sizes
from tests.conftest import Finished

# Train and test part, shape and classes of the real data: what counts of passes depend on.
SIZES = {
    "digits": (1433, 364, (1, 8, 8), 10),
    "mnist": (60_000, 10_000, (1, 32, 32), 10),
    "cifar10": (50_000, 10_000, (3, 32, 32), 10),
    "cifar100": (50_000, 10_000, (3, 32, 32), 100),
    "cifar10_lt": (int(long_tail_sizes(np.full(10, 5000), 50).sum()), 10_000, (3, 32, 32), 10),
    "tiny_imagenet": (100_000, 10_000, (3, 64, 64), 200),
}
STATED = re.compile(
    r"# (?P<runs>[\d,]+) runs; image passes: (?P<train>[\d,]+) training, "
    r"(?P<evaluate>[\d,]+) validation and\n# test, (?P<query>[\d,]+) query"
)
EXPERIMENTS = groups()["experiment"]


@cache
def jobs_of(name: str, seed: str = "0") -> list[Job]:
    """The runs of one seed; a grid has as many of each other."""
    return expand("active", parse(["--experiment", name, "--seed", seed]))


def seeds_of(name: str) -> list[str]:
    return split(read_experiment(name).grid["seed"])


@cache
def stand_in(name: str) -> Images:
    """As many images as the real data set has, all of them one gray square."""
    train, test, shape, classes = SIZES[name]

    def part(what: str, count: int) -> Part:
        pixels = torch.full((1, *shape), 127, dtype=torch.uint8).expand(count, *shape)
        ids = [f"{what}/{i:05d}" for i in range(count)]
        return Part(ids, np.arange(count) % classes, shape, pixels, None)

    words = tuple(str(c) for c in range(classes))
    return Images(name, part("train", train), part("test", test), words, name)


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def images_of(data: dict[str, Any], *_: Any) -> Images:
        return stand_in(data["name"])

    monkeypatch.setattr(preparing, "images_of", images_of)


def passes_of(jobs: list[Job]) -> Passes:
    """Those of all runs; runs that differ in seed or in a pool need as many, so one is asked."""
    known: dict[tuple[Any, ...], Passes] = {}
    parts = []
    for job in jobs:
        name = job.name
        key = (name.data, name.query, name.learner, job.config.cycles)
        if key not in known:
            known[key] = total(prepare(job).plans)
        parts.append(known[key])
    return total(parts)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_runs_never_share_a_folder(name: str) -> None:
    paths = {job.name.path for job in jobs_of(name)}
    assert len(paths) == len(jobs_of(name)) > 1
    assert all(path.startswith(f"{name}/") and path.endswith("/seed0") for path in paths)
    runs = read_experiment(name).runs({})
    assert len(runs) == len(paths) * len(seeds_of(name))
    seeds = [run["seed"] for run in runs]
    assert seeds == sorted(seeds, key=seeds_of(name).index), "seed by seed"


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_runs_of_all_seeds_never_share_a_folder(name: str) -> None:
    jobs = expand("active", parse(["--experiment", name]))
    assert len({job.name.path for job in jobs}) == len(jobs)
    assert [job.config.seed for job in jobs] == sorted(job.config.seed for job in jobs)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_files_state_their_runs_and_passes(name: str, no_data: None) -> None:
    text = (ROOT / f"experiment/{name}.yaml").read_text()
    found = STATED.search(text)
    assert found, "the file says how many runs and image passes it is"
    stated = {key: int(value.replace(",", "")) for key, value in found.groupdict().items()}
    seeds, passes = len(seeds_of(name)), passes_of(jobs_of(name))
    computed = {"runs": len(jobs_of(name)), **vars(passes)}
    assert stated == {key: value * seeds for key, value in computed.items()}
    assert f"python active/run.py --experiment {name}" in text
    assert re.search("hour|minutes", text)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_run_of_each_goes_through_a_dry_run(
    name: str,
    no_data: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of all: not the plain arm that nearly all experiments begin with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("active.dry_run.measure", lambda *_: Speed(1e-3, 1e-4))
    monkeypatch.setattr("pretext.announce.expected_seconds", lambda stage: 60.0)
    last = jobs_of(name)[-1]
    job = replace(last, config=replace(last.config, dry_run=True))
    run(job)
    out = capsys.readouterr().out + caplog.text
    assert f"runs/{job.name.path}" in out
    assert f"image passes: {total(prepare(job).plans)}" in out
    assert ("to be trained: artifacts/" in out) == ("model" in job.resolved["init"])
    assert list(tmp_path.iterdir()) == []


def test_the_whole_of_an_experiment_is_outlined(
    no_data: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs, artifacts and passes that are left, for some of them finished."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("active.dry_run.measure", lambda *_: Speed(1e-3, 1e-4))
    monkeypatch.setattr("pretext.announce.expected_seconds", lambda stage: 60.0)
    jobs = jobs_of("quick")
    plans = prepare(jobs[0]).plans
    for job, cycles in zip(jobs, (5, 2), strict=False):
        assert job.folder is not None
        job.folder.mkdir(parents=True)
        (job.folder / "cycles.jsonl").write_text("{}\n" * cycles)
    outline(jobs)
    out = capsys.readouterr().out + caplog.text
    assert "15 runs, 1 of them finished" in out
    trained = re.findall(r"to be .*: artifacts/digits/(\w+)-", caplog.text)
    assert sorted(trained) == ["kmeans", "scan", "scan_step", "simclr", "vae"]
    left = 15 * sum(p.train for p in plans) - sum(p.train for p in [*plans, *plans[:2]])
    assert f"image passes to be done: {left:,} training" in out


def test_solved_learners_are_not_estimated(cli: Callable[..., Finished], tmp_path: Path) -> None:
    asked = cli("--learner", "linear", "--seed", "0,1", "-m", "--dry-run")
    assert "solved directly are not estimated" in asked.out
    assert "one after another" not in asked.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("query", "said"), [("margin", False), ("vaal", True)])
def test_models_that_queries_train_are_said_to_be_left_out(
    query: str, said: bool, cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active.dry_run.measure", lambda *_: Speed(1e-3, 1e-4))
    asked = cli("--query", query, "--seed", "0,1", "-m", "--dry-run")
    assert ("without pretext models and those that queries train" in asked.out) == said


@pytest.mark.parametrize("flags", [["--query", "margin"], ["--init", "scan"]])
def test_flags_leave_out_the_arms_that_they_exclude(flags: list[str]) -> None:
    """The controls are passive and start from the random pool."""
    arms = {
        job.name.learner for job in expand("active", parse(["--experiment", "figure4", *flags]))
    }
    assert arms == {"resnet18"}


def test_flags_replace_the_lists_of_an_experiment() -> None:
    flags = ["--experiment", "figure4", "--seed", "7", "--data", "mnist", "--init", "random"]
    jobs = expand("active", parse(flags))
    assert {job.config.data.name for job in jobs} == {"mnist"}
    assert {job.config.seed for job in jobs} == {7}
    learners = {"resnet18", "resnet18-dropouton", "resnet18-members3"}
    assert {job.name.learner for job in jobs} == learners


@pytest.mark.parametrize("bins", ["5", "3,4"])
def test_flags_replace_lists_that_some_runs_have(bins: str) -> None:
    """The random pool has no bins; the file's own are 1, 2, 5 and 10."""
    jobs = expand("active", parse(["--experiment", "binning", "--seed", "0", "--init.bins", bins]))
    assert {job.name.init for job in jobs} == {
        "random", *(f"{init}-bins{n}" for init in ("simclr", "vae") for n in bins.split(","))
    }  # fmt: skip
    alone = ["--experiment", "binning", "--seed", "0", "--init", "random", "--init.bins", bins]
    with pytest.raises(UserError, match=r"--init random has no settings, so --init\.bins"):
        expand("active", parse(alone))
