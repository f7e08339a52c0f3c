"""The command line as read: flags, help, wrong words, and what a run is called."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from active.arm import build_arm, build_query, check_reads
from conf.cli import expand, parse
from conf.compose import build, compose_config, composer, groups, groups_of, plain
from conf.help import help_text
from datamodules.errors import UserError
from pretext.request import check_model
from tests.conftest import ROOT


def jobs(*words: str) -> list:
    return expand("active", parse(list(words)))


def test_flags_become_overrides() -> None:
    line = parse(
        ["--init", "random", "--query=entropy", "--data", "mnist", "--trainer.max_epochs", "5",
         "-m", "--logger", "csv,wandb", "--data.root", "/a b/c", "--seed", "3", "--dry-run"]
    )  # fmt: skip
    assert line.overrides == [
        "seed=3", "init=random", "query=entropy", "data=mnist", "trainer.max_epochs=5",
        "logger=[csv,wandb]", "data.root='/a b/c'", "dry_run=true",
    ]  # fmt: skip
    assert line.flags == ["-m"]
    assert parse(line.overrides).overrides == line.overrides


def test_the_card_of_the_issue_composes() -> None:
    (job,) = jobs("--init", "random", "--query", "entropy", "--data", "mnist", "--seed", "3")
    config = job.config
    assert (config.init_budget, config.budget, config.cycles) == (60, 60, 10)
    assert (config.trainer.max_epochs, config.learner.lr, config.learner.optimizer) == (
        100, 0.005, "adam",
    )  # fmt: skip
    assert job.name.path == "single/mnist/random/entropy/resnet18/seed3"


@pytest.mark.parametrize(
    ("data", "budgets", "recipe"),
    [
        ("cifar10", (5000, 5000, 5), (200, 96, "sgd", 0.025, "cosine", 3, True, 128)),
        ("cifar100", (5000, 5000, 5), (200, 96, "sgd", 0.025, "cosine", 3, True, 128)),
        ("cifar10_lt", (1399, 1400, 5), (200, 96, "sgd", 0.025, "cosine", 3, True, 128)),
        ("mnist", (60, 60, 10), (100, 64, "adam", 0.005, "none", 7, True, 128)),
        ("tiny_imagenet", (10_000, 10_000, 5), (100, 200, "adam", 0.001, "none", 3, True, 512)),
    ],
)
def test_table_1_of_the_paper(data: str, budgets: tuple, recipe: tuple) -> None:
    config = jobs("--data", data)[0].config
    learner = config.learner
    assert (config.init_budget, config.budget, config.cycles) == budgets
    assert learner.weight_decay == 3e-4
    assert recipe == (
        config.trainer.max_epochs, learner.batch_size, learner.optimizer, learner.lr,
        learner.schedule, learner.stem, learner.max_pool, learner.projection,
    )  # fmt: skip


def test_a_grid_goes_seed_by_seed() -> None:
    grid = jobs("--query", "entropy,margin", "--seed", "0,1", "-m")
    assert [job.name.path.split("/", 3)[3] for job in grid] == [
        "entropy/resnet18/seed0", "margin/resnet18/seed0",
        "entropy/resnet18/seed1", "margin/resnet18/seed1",
    ]  # fmt: skip


def test_two_lengths_of_one_run_are_no_grid() -> None:
    with pytest.raises(UserError, match=r"asked for twice, with cycles 2 and 3"):
        jobs("--cycles", "2,3", "-m")
    assert len(jobs("--trainer.max_epochs", "30,5", "--learner.width", "16", "-m")) == 2


def test_experiment_grids_can_be_narrowed() -> None:
    assert len(jobs("--experiment", "quick")) == 45
    assert len(jobs("--experiment", "quick", "--seed", "4", "--init", "random")) == 3


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g, options in groups().items() for o in options if g != "experiment"],
)
def test_every_option_composes_and_builds(group: str, option: str, tmp_path: Path) -> None:
    override = f"{group}=[{option}]" if group == "logger" else f"{group}={option}"
    program = "pretext" if group == "model" else "active"
    with composer():
        config = plain(compose_config(program, [override]))
    if group == "query":
        _, model = build_query(config[group])
        if model is not None:
            check_reads("query", "features", model)
    if group == "init":
        options = {"path": str(ROOT / "tests/conftest.py")} if option == "file" else {}
        with contextlib.suppress(UserError) if options else contextlib.nullcontext():
            build_arm(config[group] | options).check()
    if group == "model":
        inputs = {"shape": [1, 8, 8], "mean": [0.3], "std": [0.4], "num_train": 50, "clusters": 10}
        np.save(tmp_path / "rows.npy", np.ones((50, 4)))
        files = {"train": str(tmp_path / "rows.npy")} if option == "features" else {}
        model = config[group] | files
        check_model(model, inputs | {"width": 16, "stem": 3, "max_pool": False})
    if group == "data":
        assert build(config["data"]["source"]).name in (option, "cifar10")
    first = (ROOT / f"conf/{group}/{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# "), "help shows the first line"


@pytest.mark.parametrize("program", ["active", "pretext"])
def test_help_names_every_group_and_option(program: str) -> None:
    text = help_text(program)
    for group, options in groups_of(program).items():
        assert f"--{group}" in text
        assert all(f"\n    {option} " in text for option in options)
    assert max(map(len, text.splitlines())) < 140


def test_help_names_every_setting() -> None:
    text = help_text("active")
    for setting in ("--trainer.max_epochs", "--seeds.split", "--data.root", "--init_budget"):
        assert f"  {setting} " in text
    for told in ("loader processes when streaming", "of the pixels, 0 to 1"):
        assert told in text, "comments of the data set's file, and of the one that it is built on"
    assert "python active/run.py --init random --query entropy --data mnist --seed 3" in text
    assert "  --model.temperature " in help_text("pretext")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--query", "entropi"], "unknown query 'entropi': did you mean 'entropy'?"),
        (["--init", "blanced"], "unknown init 'blanced': did you mean 'balanced'?"),
        (["--data", "cifar"], "unknown data 'cifar': did you mean 'cifar10"),
        (["--logger", "csv,wandbb"], "unknown logger 'wandbb': did you mean 'wandb'?"),
        (["--experiment", "quik"], "unknown experiment 'quik': did you mean 'quick'?"),
        (
            ["--trainer.max_epoch", "3"],
            "unknown setting 'trainer.max_epoch': did you mean 'trainer.",
        ),
        (["--query", "[entropy]"], "unknown query '[entropy]': did you mean 'entropy'?"),
        (["--init", "kmeans", "--init.model", "[vae]"], "unknown init.model '[vae]'"),
        (["--query", "collections.OrderedDict"], "its arguments cannot be read"),
        (["hydra=1"], "unknown setting 'hydra'"),
        (["--budgett", "3"], "unknown setting 'budgett': did you mean 'budget'?"),
        (
            ["--query", "margin", "--query.beta", "3"],
            "--query margin has no settings, so",
        ),
        (["--query", "vaal,margin", "--query.width", "32", "-m"], "--query margin has no settings"),
        (
            ["--query", "vaal", "--query.widht", "32"],
            "unknown setting of --query vaal 'query.widht': did you mean 'query.width'? Allowed: ",
        ),
        (["--seed", "range(0,3)", "-m"], "seed: a grid is a list, as in --seed 0,1,2 -m, not"),
        (["--query", "choice(margin,entropy)", "-m"], "query: a grid is a list, as in"),
        (["--data.size", "64"], "unknown setting 'data.size'"),
        (["--seed", "x"], "seed must be a whole number, not 'x'"),
        (["--trainer.max_epochs", "many"], "trainer.max_epochs must be a whole number, not 'many'"),
        (["--query", "entropy,margin"], "--query entropy,margin is a list; add -m"),
        (["--seed"], "--seed needs a value"),
        (["entropy"], "'entropy' is not a flag"),
        (["--query", "margin,entropi", "-m"], "unknown query 'entropi'"),
        (["--query", "random", "--seed", "0,y", "-m"], "seed must be a whole number, not 'y'"),
        (["--init.model", "vae"], "--init random reads no model, so --init.model vae sets nothing"),
        (["--learner.model", "vae"], "--learner resnet18 reads no model"),
        (["--query", "entropy", "--query.model", "vae"], "--query entropy reads no model"),
        (
            ["--init", "vae", "--init.model", "simclr", "--init.model.parent", "vae"],
            "--init.model simclr has no parent model",
        ),
        (["--cfg", "foo"], "unknown --cfg 'foo'. Allowed: job"),
        (["--cfg"], "--cfg needs a value"),
        (["--package"], "--package needs a value"),
        (["--init.of", "vae"], "--init random follows no other init"),
        (["--init", "vae", "--init.model", "vae,simclr"], "--init.model vae,simclr is a list"),
    ],
)
def test_wrong_words(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        jobs(*words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [["trainer.max_epochs=1", "seed=3"], ["--trainer.max_epochs", "1", "--seed", "3"],
     ["--trainer.max-epochs=1", "--seed=3"]],
)  # fmt: skip
def test_words_are_renamed_however_they_are_written(words: list[str]) -> None:
    line = parse([*words, "--model", "vae"], "pretext")
    assert line.overrides == ["pretext.seed=3", "model.max_epochs=1", "model=vae"]
    assert parse(line.overrides, "pretext").overrides == line.overrides
    assert parse(["experiment=figure5"], "report").overrides == ["name='figure5'"]
    line = parse(["--launcher", "local", "processes=2"])
    assert parse(line.launcher).launcher == line.launcher == ["hydra/launcher=local", "processes=2"]
    (job,) = jobs("init=simclr", "init.model=vae")
    assert job.name.init == "simclr-vae"


@pytest.mark.parametrize(
    "text",
    ["2026_11", "1e3", "true", "inf", "été", "a~b", "~/x", "a[b]", "[a]", "a{b}", "{a:b}", "it's",
     "a\\b c", "a\\", "Smith, John", "a (b)", "50%", "a#b", ""],
)  # fmt: skip
def test_texts_stay_as_they_are(text: str) -> None:
    flags = ("--runs_dir", text, "--init", "file", f"--init.path={text}", "--data.root", text)
    (job,) = jobs(*flags)
    config = job.resolved
    assert (config["runs_dir"], config["init"]["path"], config["data"]["root"]) == (text,) * 3
    line = parse(list(flags))
    assert parse(line.overrides).overrides == line.overrides


def test_texts_may_be_null_lists_and_interpolations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "there")
    (job,) = jobs("--data.root", "null", "--artifacts_dir", "${oc.env:PLACE,x}/y")
    assert (job.config.data.root, job.config.artifacts_dir) == (None, "there/y")
    two = jobs("--data", "folder", "--data.root", "2026_1,2026_2", "-m")
    assert [job.config.data.root for job in two] == ["2026_1", "2026_2"]
    (job,) = jobs("runs_dir=2026_11")
    assert job.config.runs_dir == "2026_11"


def test_lists_may_have_spaces() -> None:
    assert jobs("--data.mean", "[0.5, 0.5]")[0].config.data.mean == [0.5, 0.5]
    assert list(jobs("--logger", "csv, wandb")[0].config.logger) == ["csv", "wandb"]
    spaced = jobs("--query", "entropy, margin", "--seed", " 0 ,1", "-m")
    assert [j.name for j in spaced] == [
        j.name for j in jobs("--query", "entropy,margin", "--seed", "0,1", "-m")
    ]


def test_runs_that_are_the_same_are_one() -> None:
    """`bins: 1` is what the option has anyway."""
    flags = ("--init", "simclr", "--seed", "0", "--query", "random")
    paths = [job.name.path for job in jobs("--experiment", "binning", *flags)]
    assert len(paths) == len(set(paths)) == 4
