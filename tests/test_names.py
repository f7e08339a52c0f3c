"""What a run is called: every setting that makes it differ, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.cli import expand, parse
from conf.compose import composer
from conf.identity import is_volatile
from conf.jobs import compose_job
from datamodules.errors import UserError


def jobs(*words: str) -> list:
    return expand("active", parse(list(words)))


def test_names_carry_what_differs() -> None:
    def path(*words: str) -> str:
        return jobs(*words)[0].name.path.removeprefix("single/")

    assert path("--data", "mnist", "--init_budget", "10", "--budget", "10") == (
        "mnist-10+10/random/random/resnet18/seed0"
    )
    assert path("--trainer.max_epochs", "5", "--seeds.split", "0") == (
        "digits/random/random/resnet18-max_epochs5/seed0-split0"
    )
    assert path("--trainer.max_epochs", "30") == "digits/random/random/resnet18/seed0"
    assert path("--data.val", "0", "--learner.warm_start", "true") == (
        "digits-val0/random/random/resnet18-warm_start/seed0"
    )
    assert path("--data", "cifar10", "--data.flip", "false").startswith("cifar10-no_flip/")
    assert path("--cycles", "9", "--logger", "none", "--data.workers", "3") == path()
    pictures = path("--data", "folder", "--data.root", "/x/my pictures")
    assert pictures.startswith("folder-my_pictures-")
    assert pictures == path("--data", "folder", "--data.root", "/x/my pictures/")
    assert pictures != path("--data", "folder", "--data.root", "/y/my pictures")
    assert path("--trainer", "ddp").endswith("resnet18-devices-1-strategyddp/seed0")
    assert path("--seeds.split", "-1") != path("--seeds.split", "1")


def test_values_that_look_alike_in_a_name_have_names_of_their_own(tmp_path: Path) -> None:
    names = ("a b.csv", "a_b.csv", "größe.csv", "grüße.csv", "n" * 200 + ".csv")
    found = set()
    for file in (tmp_path / name for name in names):
        file.write_text("index\n0\n")
        with composer():
            found.add(compose_job("active", ["init=file", f"init.path='{file}'"]).name.init)
    assert len(found) == len(names)
    assert all(len(name) < 100 for name in found)


def test_the_network_of_pretext_models_is_in_the_name_of_a_learner_without_one() -> None:
    words = ("--learner", "linear", "--init", "simclr", "--data.recipe.width")
    assert len({jobs(*words, width)[0].name.path for width in ("8", "32")}) == 2
    (same,) = jobs("--data.recipe.width", "8")
    assert same.name.path == jobs("--learner.width", "8", "--data.recipe.width", "8")[0].name.path


def test_settings_that_differ_never_share_a_folder() -> None:
    """Every setting that can change a number, changed alone, gives a name of its own."""
    changes = {
        "data.val": "0.2", "data.imbalance": "5", "data.flip": "true", "data.crop": "1",
        "data.mean": "[0.5]", "data.std": "[0.5]", "data.eval_batch_size": "100",
        "init_budget": "30", "budget": "30", "seed": "1", "learner.dropout": "on",
        "learner.warm_start": "true", "learner.batch_size": "8", "learner.optimizer": "adam",
        "learner.lr": "0.1", "learner.weight_decay": "0.0", "learner.schedule": "none",
        "learner.width": "8", "learner.stem": "7", "learner.max_pool": "true",
        "learner.projection": "64", "trainer.max_epochs": "3", "trainer.val_checks": "3",
        "trainer.precision": "bf16-mixed", "data.recipe.fast_precision": "bf16-mixed",
        "trainer.threads": "2", "trainer.compile": "true",
        "trainer.deterministic": "false", "trainer.devices": "2", "trainer.strategy": "fsdp",
        "trainer.accelerator": "cpu", "trainer.sync_batchnorm": "false",
        **{f"seeds.{name}": "7" for name in
           ("split", "init", "weights", "batches", "augmentation", "query")},
    }  # fmt: skip
    names = {jobs(f"--{key}", value)[0].name.path for key, value in changes.items()}
    assert len(names | {jobs()[0].name.path}) == len(changes) + 1


def test_flips_of_pretext_models_are_the_data_sets() -> None:
    """One setting for all models of a data set, in the name of those alone that read one."""

    def flips(*words: str) -> set[bool]:
        models = [jobs("--init", init, *words)[0] for init in ("simclr", "scan", "rotation")]
        nodes = [job.resolved["init"]["model"] for job in models]
        parent = nodes[1]["parent"]
        return {node["flip"] for node in (*nodes, parent, parent["parent"])}

    folder = ("--data", "folder", "--data.root", "x")
    assert flips("--data", "digits") == flips("--data", "mnist") == {False}
    assert flips("--data", "cifar100") == flips(*folder) == {True}
    letters = (*folder, "--data.recipe.pretext_flip", "false")
    assert flips(*letters) == {False}
    (random,) = jobs(*letters)
    assert random.name == jobs(*folder)[0].name
    assert is_volatile("data.recipe.pretext_flip"), "runs from before it was there go on"
    assert jobs("--init", "simclr", *letters)[0].name.init == "simclr-no_model_flip"


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("--init kmeans --init.model deepcluster", "kmeans-deepcluster"),
        ("--init kmeans --init.model.parent deepcluster", "kmeans-parent_deepcluster"),
        ("--init scan --init.model scan_step", "scan-scan_step"),
        ("--init scan --init.model.parent scan_step", "scan"),
        ("--init typiclust --init.model simclr", "typiclust"),
        ("--init kcenter --init.model kmeans --init.model.parent vae", "kcenter-kmeans-parent_vae"),
        ("--init kcenter --init.model.parent vae --init.model kmeans", "kcenter-kmeans-parent_vae"),
        ("--init histogram --init.of typiclust --init.of.model vae", "histogram-typiclust-vae"),
    ],
)  # fmt: skip
def test_options_inside_others_are_named_by_what_they_change(typed: str, option: str) -> None:
    (job,) = expand("active", parse(typed.split()))
    assert job.folder is not None
    assert job.folder.parts[-4] == option


def test_what_a_source_is_told_otherwise_is_named(tmp_path: Path) -> None:
    folder = ("--data", "folder", "--data.root", str(tmp_path))
    (plain,), (other,) = jobs(*folder), jobs(*folder, "--data.source.test_seed", "3")
    assert other.name.data == f"{plain.name.data}-source_test_seed3"
    (passed,) = jobs(*folder, "--data.test_seed", "3")
    assert passed.name.data == f"{plain.name.data}-test_seed3"


def test_a_path_may_have_a_comma() -> None:
    (job,) = jobs("--init", "file", "--init.path", "'a,b.csv'")
    assert job.resolved["init"]["path"] == "a,b.csv"
    with pytest.raises(UserError, match="or quotes inside the shell's"):
        jobs("--init", "file", "--init.path", "a,b.csv")
