"""Reports of runs that are few, unfinished or unlike each other, and of settings that are wrong."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from active.reporting.sections.costs import cost_table
from tests.conftest import run_cli
from tests.study_folder import write_run, write_study
from tests.study_rows import rows_of
from tests.test_report import report

ODD = 'größe <b>&"$x_1$ 日本'


@pytest.mark.parametrize(
    ("inits", "queries", "seeds", "cycles", "told"),
    [
        ({"vae": 0.5}, ["entropy"], 1, 1, "These runs cannot tell"),
        ({"random": 0.5, "vae": 0.2}, ["random"], 1, 2, "With a single seed nothing"),
        ({"random": 0.5, "vae": 0.2}, ["random"], 4, 1, "Yes, for 1 of 1 comparison"),
    ],
)
def test_any_number_of_runs_will_do(
    tmp_path: Path, inits: dict[str, float], queries: list[str], seeds: int, cycles: int, told: str
) -> None:
    write_study(tmp_path, inits, queries, seeds, cycles=cycles)
    assert told in report(tmp_path).text


def test_metric_margin_and_axis_are_settings(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random"])
    page = report(tmp_path, "--metric", "test/balanced_acc", "--count_validation", "true",
                  "--margin", "0.4")  # fmt: skip
    assert "balanced test accuracy" in page.text
    assert '"x":"counted"' in page.source
    assert "No: in each of 1 comparison" in page.text
    wrong = run_cli("report", "--experiment", "made", "--runs_dir", str(tmp_path / "runs"),
                    "--metric", "test/accuracy")  # fmt: skip
    assert wrong.status == 2
    assert "did you mean 'test/acc" in wrong.err


def test_a_metric_that_some_runs_lack(tmp_path: Path) -> None:
    """Runs without it are neither unfinished nor left out of the claims."""
    write_study(tmp_path, {"random": 0.3, "vae": 0.25}, ["random"])
    for init, seed in product(("random", "vae"), range(3)):
        more = {"classifier": "committee", "test/acc_ensemble": 0.6 + seed / 100}
        write_run(tmp_path, ("digits", init, "ens_varr", "resnet18"), seed, [0.3, 0.4, 0.5], more)
    page = report(tmp_path, "--metric", "test/acc_ensemble")
    assert "missing; they are listed at the end" not in page.text
    assert "Claims are judged by test accuracy" in page.text
    assert "Claims are judged by test accuracy" not in report(tmp_path).text


def test_costs_count_all_that_a_run_read() -> None:
    times = {"time/train_s": 2.0, "time/query_s": 0.5}
    rows = rows_of([0.5, 0.6], "vae", artifact="a", learner_artifact="b", **times)
    rows += rows_of([0.5, 0.6], "vae", seed=1, artifact="a", query_artifact="c", **times)
    (row,) = cost_table(pd.DataFrame(rows)).to_dict("records")
    assert (row["runs"], row["train"], row["ask"], row["all"]) == (2, 4, 1, 10)
    assert row["artifacts"] == {"a", "b", "c"}


def test_a_grid_that_is_still_running_has_a_report(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.3, "vae": 0.25}, ["random"])
    write_study(tmp_path, {"random": 0.3, "vae": 0.25}, ["entropy"], cycles=2)
    assert "6 runs of the grid failed, stopped or are missing" in report(tmp_path).text


@pytest.mark.parametrize("margin", ["1", "0.5", "0", "-1", "nan"])
def test_a_margin_in_points_is_refused(tmp_path: Path, margin: str) -> None:
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random"])
    finished = run_cli("report", "--experiment", "made", "--runs_dir", str(tmp_path / "runs"),
                       "--margin", margin)  # fmt: skip
    assert finished.status == 2
    wanted = "be a finite number" if margin == "nan" else "lie between 0 and 0.5"
    assert f"margin must {wanted}" in finished.err
    assert not (tmp_path / "runs/made/report").exists()


def test_wrong_experiment_and_nothing_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there are no runs" in run_cli("report").err
    write_run(tmp_path, ("digits", "random", "random", "resnet18"), 0, [0.5])
    finished = run_cli("report", "--experiment", "mad")
    assert finished.status == 2
    assert "unknown experiment 'mad': did you mean 'made'?" in finished.err
    assert run_cli("report", "--experimnt", "made").status == 2
    (tmp_path / "runs/single").mkdir()
    assert "no finished cycles" in run_cli("report").err
    assert run_cli("report", "--experiment", "made", "--logger", "wand").status == 2


def test_data_of_which_there_are_pools_alone(tmp_path: Path) -> None:
    """Images without labels, which end with their pool, and runs that are still in cycle 0."""
    write_study(tmp_path, {"random": 0.3, "vae": 0.25}, ["random"])
    pool, kinds = ("flat", "typiclust", "random", "resnet18"), ("class_counts", "class_entropy")
    for seed in range(2):
        folder = write_run(tmp_path, pool, seed, [0.5])
        (folder / "cycles.jsonl").unlink()
        described = json.loads((folder / "cycle_0/pool.json").read_text())
        kept = {name: value for name, value in described.items() if name not in kinds}
        (folder / "cycle_0/pool.json").write_text(json.dumps(kept))
        page = report(tmp_path)
        assert "typiclust" in page.text
