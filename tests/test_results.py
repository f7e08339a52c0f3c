"""Run folders -> tables: whole rows only, what was added, what failed or is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from active.provenance import class_names, find_artifacts, lineage, read_environments, read_recipes
from active.reporting.material import read_material
from active.results import failed_runs, read_pools, read_runs, started_runs, unfinished_runs
from datamodules.errors import UserError
from tests.study_folder import BUDGET, CONFIG, write_run, write_study

ARM = ("digits", "vae-bins5-pretext1", "entropy", "resnet18")


def test_a_row_for_each_whole_line(tmp_path: Path) -> None:
    write_run(tmp_path, ARM, 0, [0.3, 0.4], tail='{"cycle": 2, "tes')
    write_run(tmp_path, ("digits", "random", "entropy", "resnet18"), 0, [0.5, 0.6])
    runs = read_runs(tmp_path / "runs", "made")
    assert runs["test/acc"].tolist() == [0.5, 0.6, 0.3, 0.4]
    assert runs["arm"].tolist() == ["random"] * 2 + ["vae-bins5"] * 2
    assert runs["pretext"].tolist() == ["", "", "1", "1"]
    assert runs["classifier"].tolist() == ["plain"] * 4
    assert runs["init_artifact"].isna().all()
    assert runs.loc[2, ["data", "init", "query", "learner", "seed"]].tolist() == [*ARM, "seed0"]


def test_what_rows_say_is_kept(tmp_path: Path) -> None:
    write_run(tmp_path, ARM, 0, [0.3], {"classifier": "dropout", "init_artifact": "vae-1"})
    row = read_runs(tmp_path / "runs", "made").iloc[0]
    assert (row["classifier"], row["init_artifact"]) == ("dropout", "vae-1")


def test_damage_names_the_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path, ARM, 0, [0.3])
    (folder / "cycles.jsonl").write_text("no json\n")
    with pytest.raises(UserError, match=r"cycles\.jsonl is damaged"):
        read_runs(tmp_path / "runs", "made")
    for row in ("{}", "null", "[1]"):
        (folder / "cycles.jsonl").write_text(f"{row}\n")
        with pytest.raises(UserError, match=r"cycles\.jsonl is damaged"):
            read_runs(tmp_path / "runs", "made")
    for content in (b"\xff\xfe\x00", b"- a\n", b"made: [\n"):
        (folder / "config.yaml").write_bytes(content)
        for read in (read_recipes, read_environments):
            if content == b"- a\n" and read is read_environments:
                continue  # it parses the end alone
            with pytest.raises(UserError, match=r"config\.yaml is damaged"):
                read(tmp_path / "runs", "made")
    (folder / "cycle_0/pool.json").write_text("[]")
    with pytest.raises(UserError, match=r"pool\.json is damaged"):
        read_pools(tmp_path / "runs", "made")
    (folder / "cycle_0/pool.json").write_text("{}")
    (folder / "cycle_0/selected.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"selected\.parquet is damaged"):
        read_pools(tmp_path / "runs", "made")


def test_pools_hold_what_was_added(tmp_path: Path) -> None:
    write_run(tmp_path, ARM, 0, [0.3, 0.4, 0.5])
    pools = read_pools(tmp_path / "runs", "made")
    assert pools["cycle"].tolist() == [0, 1, 2]
    assert [len(i) for i in pools["indices"]] == [BUDGET] * 3
    assert len(np.unique(np.concatenate(pools["indices"].tolist()))) == 3 * BUDGET
    assert pools["arm"].tolist() == ["vae-bins5"] * 3
    counts = np.bincount(pools.loc[0, "indices"] % 10, minlength=10)
    assert pools.loc[0, "class_counts"] == counts.tolist()
    assert pools.loc[1:, "class_counts"].isna().all()


def test_pools_of_few_seeds(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random"], seeds=11)
    pools = read_pools(tmp_path / "runs", "made", seeds=10)
    assert len(pools) == 2 * 10 * 3
    assert "seed10" not in set(pools["seed"])  # not seed9: numbers, not letters, are in order
    with pytest.raises(UserError, match="unknown experiment 'mad'"):
        read_pools(tmp_path / "runs", "mad")


def test_failed_and_missing_runs(tmp_path: Path) -> None:
    runs_dir = write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random"], seeds=2)
    write_run(tmp_path, ("digits", "scan", "random", "resnet18"), 0, [0.1, 0.2])
    write_run(tmp_path, ("mnist", "random", "random", "resnet18"), 0, [0.1])
    empty = runs_dir / "made/digits/scan/random/resnet18/seed1"
    empty.mkdir(parents=True)
    (empty / "config.yaml").write_text("a: 1\n")
    failed = runs_dir / "made/digits/simclr/random/resnet18/seed0"
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("Traceback\nRuntimeError: out of memory\n")
    table = unfinished_runs(
        read_runs(runs_dir, "made"), failed_runs(runs_dir, "made"), started_runs(runs_dir, "made")
    )
    found = {(r.data, r.init, r.seed): (r.cycles, r.state) for r in table.itertuples()}
    assert found == {
        ("digits", "scan", "seed0"): (2, "stopped after cycle 1 of 2"),
        ("digits", "scan", "seed1"): (0, "no cycle finished"),
        ("digits", "simclr", "seed0"): (0, "failed: RuntimeError: out of memory"),
        ("digits", "simclr", "seed1"): (0, "not started"),
    }


def test_a_complete_run_wins_over_an_old_error(tmp_path: Path) -> None:
    runs_dir = write_study(tmp_path, {"random": 0.5}, ["random"], seeds=2)
    error = runs_dir / "made/digits/random/random/resnet18/seed0/error.txt"
    error.write_text("Traceback\nRuntimeError: out of memory\n")
    found = (
        read_runs(runs_dir, "made"), failed_runs(runs_dir, "made"), started_runs(runs_dir, "made")
    )  # fmt: skip
    assert unfinished_runs(*found).empty
    assert unfinished_runs(*found, {"digits": 2}).empty


def test_an_error_counts_where_every_run_ended_early(tmp_path: Path) -> None:
    runs_dir = write_study(tmp_path, {"random": 0.5}, ["random"], seeds=2, cycles=2)
    error = runs_dir / "made/digits/random/random/resnet18/seed0/error.txt"
    error.write_text("Traceback\nRuntimeError: out of memory\n")
    material = read_material(runs_dir, "made", None, "test/acc", 0.01, "labeled")
    (failed,) = material.unfinished.itertuples()  # configs ask for cycles 0 to 2
    assert (failed.cycles, failed.state) == (2, "failed: RuntimeError: out of memory")


def test_recipes_and_what_runs_were_made_with(tmp_path: Path) -> None:
    runs_dir = write_study(tmp_path, {"random": 0.5}, ["random"], seeds=2)
    (recipe,) = read_recipes(runs_dir, "made").values()
    assert recipe == CONFIG
    file = runs_dir / "made/digits/random/random/resnet18/seed1/config.yaml"
    file.write_text(file.read_text() + "made:\n  commit: abc123\n  hardware: a CPU\n")
    made = read_environments(runs_dir, "made")
    assert made["torch"].tolist() == ["2.14.1"] * 2
    assert made["commit"].tolist()[1] == "abc123"
    assert made["commit"].isna().tolist() == [True, False]


def test_artifacts_and_what_they_stand_on(tmp_path: Path) -> None:
    for name, parents in (("scan-c", ["step-b"]), ("step-b", ["simclr-a"]), ("simclr-a", [])):
        folder = tmp_path / "digits" / name
        folder.mkdir(parents=True)
        files = dict.fromkeys(("model.ckpt", "samples.parquet", "features.npy"), "0")
        record = {"model": name.split("-")[0], "parents": parents, "sha256": files}
        (folder / "record.json").write_text(json.dumps(record))
    images = tmp_path / "digits/images-1"  # decoded images are no pretext artifact
    images.mkdir()
    (images / "record.json").write_text("{}")
    torn = tmp_path / "digits/vae-d"
    torn.mkdir()
    (torn / "record.json").write_text('{"model": "va')
    known = find_artifacts([tmp_path])
    assert set(known) == {"scan-c", "step-b", "simclr-a"}
    assert {a.name for a in lineage("scan-c", known)} == set(known)
    assert [a.name for a in lineage("simclr-a", known)] == ["simclr-a"]
    assert lineage("gone", known) == []


def test_names_of_classes_are_those_of_the_same_images(tmp_path: Path) -> None:
    """A damaged record is passed over."""
    for name, text in (
        ("images-0", '{"finger'),
        ("images-1", json.dumps({"fingerprint": "other", "classes": ["no"]})),
        ("images-2", json.dumps({"fingerprint": "own", "classes": ["cat", "dog"]})),
    ):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)
    assert class_names([tmp_path], "own") == ["cat", "dog"]
    assert class_names([tmp_path], "none") is None
