"""The metric, the margin and the columns that a report is asked for are those it shows."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from active.averages import curve_table, difference_table, learner_table
from active.reporting.blocks import Answers, Chart, Table
from active.reporting.material import Material, read_material
from active.reporting.sections import answer, costs, curves, ranking, verdicts
from active.verdict import compare_pools, compare_queries
from tests.claim_tables import study
from tests.study_folder import write_run

ARMS = {"random": 0.5, "vae": 0.3, "scan": 0.6}  # of test/acc; test/balanced_acc is the reverse
METRIC = "test/balanced_acc"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """The worst pool by accuracy is the best by balanced accuracy; curves of 3, and times."""
    root = tmp_path_factory.mktemp("study")
    for arm, base in ARMS.items():
        for query in ("random", "entropy"):
            for seed in range(4):
                rng = np.random.default_rng([seed, *f"{arm}{query}".encode()])
                curve = base + np.array([0, 0.1, 0.15]) + rng.normal(0, 0.01, 3)
                folder = write_run(root, ("digits", arm, query, "resnet18"), seed, curve)
                file = folder / "cycles.jsonl"
                rows = pd.read_json(file, lines=True)
                rows[METRIC] = np.array([1.1, 1.15, 1.25]) - base + rng.normal(0, 0.01, 3)
                rows["time/train_s"], rows["time/query_s"] = 3.0, 0.25
                file.write_text(rows.to_json(orient="records", lines=True).rstrip() + "\n")
    return read_material(root / "runs", "made", None, METRIC, 0.02, "labeled")


def tables_of(section: Any) -> dict[str, pd.DataFrame]:
    return {b.name: b.frame for b in section.blocks if isinstance(b, Table)}


def test_verdicts_are_those_of_the_metric_and_the_margin(material: Material) -> None:
    runs, found = material.all_runs, tables_of(verdicts.section(material))
    pools, queries = compare_pools(runs, 0.02, METRIC), compare_queries(runs, 0.02, METRIC)
    for endpoint in ("aubc", "final", "start"):
        table = found[f"verdicts_pools_{endpoint}"].set_index(["arm", "query"])
        wanted = pools[pools["endpoint"] == endpoint].set_index(["arm", "query"])
        for column in ("mean", "low", "high", "p_holm", "p_tost", "detectable"):
            pd.testing.assert_series_equal(table[column], wanted[column])
        assert table["verdict"].to_dict() == wanted["verdict"].to_dict()
        assert set(table["mean"].xs("vae") > 0.1) == {True}
    for endpoint in ("aubc", "final"):
        table = found[f"verdicts_queries_{endpoint}"]
        wanted = queries[(queries["endpoint"] == endpoint) & ~queries["confounded"]]
        assert table["mean"].tolist() == wanted["mean"].tolist()
        assert table["verdict"].tolist() == wanted["verdict"].tolist()


def test_the_first_page_says_each_endpoint_by_its_name(material: Material) -> None:
    table = compare_pools(material.all_runs, 0.02, METRIC)
    said = answer.summary(material)
    primary = table[table["endpoint"] == "aubc"]
    moved = primary["verdict"].isin(["better", "worse"]).sum()
    assert said[0].startswith(f"Yes, for {moved} of {len(primary)} comparisons")
    for sentence, endpoint in zip(said[1:4], ("start", "aubc", "final"), strict=True):
        rows = table[table["endpoint"] == endpoint]
        far = rows.loc[rows["mean"].abs().idxmax(), "mean"]
        assert f"of {len(rows)} comparison" in sentence
        assert f"{100 * abs(far):.2f} points" in sentence
        name = {"start": "first model", "aubc": "whole budget", "final": "last budget"}[endpoint]
        assert name in sentence.split(":")[0]
    blocks = answer.section(material).blocks
    assert any(isinstance(block, Answers) for block in blocks)


def test_curves_have_their_limits_the_right_way_round(material: Material) -> None:
    """Of the page: `low` below `y` below `high`, in the mean and in the difference to random."""
    runs, charts = material.all_runs, curves.section(material).blocks
    means, paired = (
        make(runs, METRIC).set_index(["query", "arm", "labeled"])
        for make in (curve_table, difference_table)
    )
    chart = next(b for b in charts if isinstance(b, Chart))
    data = chart.data
    assert [p["name"] for p in data["panels"]] == ["random", "entropy"]
    for panel in data["panels"]:
        for line in panel["lines"]:
            for view, table in (("mean", means), ("diff", paired)):
                if line["name"] == "random" and view == "diff":
                    assert "diff" not in line
                    continue
                rows = table.loc[panel["name"], line["name"]]
                for name, column in (("y", "mean"), ("low", "low"), ("high", "high")):
                    assert line[view][name] == pytest.approx(rows[column].tolist(), abs=1e-5)


def test_ranks_and_efficiency_are_of_the_metric(material: Material) -> None:
    found = tables_of(ranking.section(material))
    table = found["label_efficiency"].set_index(["arm", "query"])
    random = material.all_runs[material.all_runs["arm"] == "random"]
    for query in ("random", "entropy"):
        last = random[(random["query"] == query) & (random["cycle"] == 2)][METRIC].mean()
        assert table.loc[("vae", query), "target"] == pytest.approx(last)
        assert table.loc[("vae", query), "text"] == "<= 20", "it starts above"
        assert table.loc[("scan", query), "text"] == "> 60"
    told = [
        b.alt for b in ranking.section(material).blocks if getattr(b, "name", "") == "penalties_arm"
    ]
    lost = {n: float(v) for n, v in re.findall(r"(\w+) (\d\.\d\d)", told[0].split(":")[1])}
    assert lost["scan"] > lost["random"] > lost["vae"] == 0


def test_costs_are_of_their_own_columns(material: Material) -> None:
    table = tables_of(costs.section(material))["costs"]
    assert set(table["runs"]) == {4}
    assert table["train"].tolist() == pytest.approx([9.0] * 6)
    assert table["ask"].tolist() == pytest.approx([0.75] * 6)
    assert table["all"].tolist() == pytest.approx([39.0] * 6)


def test_the_answer_is_that_of_the_area_where_the_ends_say_another() -> None:
    """A pool that starts below and ends alike moves the area: the primary endpoint."""
    table = compare_pools(study({"vae": (-0.1, 0.0)}, arms=("random", "vae")))
    assert set(table[table["endpoint"] == "final"]["verdict"]) == {"equivalent"}
    made: Any = SimpleNamespace(pool_verdicts=table, margin=0.01, unfinished=[])
    assert answer.summary(made)[0].startswith("Yes, for 2 of 2 comparisons")


def test_settings_are_put_side_by_side_by_validation_accuracy(tmp_path: Path) -> None:
    """What `tune` is for: a table, and no curve of a single point; the test may say otherwise."""
    validation = {"resnet18-lr0.1": 0.4, "resnet18-lr0.005": 0.7, "resnet18": 0.6}
    for learner, accuracy in validation.items():
        for seed in range(3):
            names = ("digits", "random", "random", learner)
            file = write_run(tmp_path, names, seed, np.array([1 - accuracy])) / "cycles.jsonl"
            rows = pd.read_json(file, lines=True).assign(**{"val/acc": accuracy + seed / 100})
            file.write_text(rows.to_json(orient="records", lines=True).rstrip() + "\n")
    material = read_material(tmp_path / "runs", "made", None, "val/acc", 0.01, "labeled")
    section = curves.section(material)
    table = tables_of(section)["learners"]
    assert table["learner"].tolist() == ["resnet18-lr0.005", "resnet18", "resnet18-lr0.1"]
    assert table["mean"].tolist() == pytest.approx([0.71, 0.61, 0.41])
    assert not any(isinstance(block, Chart) for block in section.blocks)


def test_learners_are_compared_at_the_last_budget_that_all_have() -> None:
    short, long = study({}, end=5, learner="linear"), study({}, end=5)
    curve = curve_table(pd.concat([short[short["cycle"] < 2], long]))
    table = learner_table(curve)
    assert set(table["labeled"]) == {short[short["cycle"] == 1]["pool/labeled"].iloc[0]}
    assert table.groupby(["query", "arm"])["learner"].nunique().tolist() == [2] * 10
    best = table.groupby(["query", "arm"])["mean"].transform("max")
    assert (table["mean"] == best)[::2].all()
    assert learner_table(curve_table(long)).empty
