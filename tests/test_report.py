"""The report: its files, its words, and that any names will do."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from active import formats
from active.figures.ranks import critical_difference
from active.figures.style import render
from active.figures.toy import learn, toy_classes, toy_pools
from active.reporting.blocks import Table
from active.reporting.material import read_material
from active.reporting.sections.answer import _named, summary
from active.reporting.sections.verdicts import section as verdicts
from tests.conftest import run_cli
from tests.study_folder import BUDGET, TRAIN, VALIDATION, write_run, write_study

ODD = 'größe <b>&"$x_1$ 日本'


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, file: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(root: Path, *arguments: str) -> Page:
    finished = run_cli(
        "report", "--experiment", "made", "--runs_dir", str(root / "runs"), *arguments
    )
    assert finished.status == 0, finished.err
    return Page(root / "runs/made/report/report.html")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    """A report of odd names, a failed and an unfinished run."""
    root = tmp_path_factory.mktemp("study")
    inits = {"random": 0.5, ODD: 0.6, "vae": 0.3}
    write_study(root, inits, ["random", "</script>".replace("/", "|")], 2, ["b<i>"])
    write_run(root, ("b<i>", "vae", "random", "resnet18"), 7, [0.3], tail='{"cyc')
    failed = root / "runs/made/b<i>/scan/random/resnet18/seed0"
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("Traceback\nRuntimeError: out of <memory>\n")
    return root, report(root)


def test_page_is_self_contained(study: tuple[Path, Page]) -> None:
    _, page = study
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    assert "@import" not in page.source
    assert not re.search(r"url\((?!#)", page.source)


def test_page_is_accessible(study: tuple[Path, Page]) -> None:
    _, page = study
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    targets = {(a["href"] or "")[1:] for t, a in page.tags if t == "a"}
    assert targets <= set(ids)
    assert ("html", {"lang": "en"}) in page.tags


def test_names_are_text(study: tuple[Path, Page]) -> None:
    _, page = study
    assert ODD in page.text
    assert "out of <memory>" in page.text
    assert ("memory", {}) not in page.tags
    scripts = sum(tag == "script" for tag, _ in page.tags)
    assert scripts == 2 + 1  # of the charts, and the page's own


def test_every_figure_and_table_is_a_file_too(study: tuple[Path, Page]) -> None:
    root, page = study
    out = root / "runs/made/report"
    tables = {f.stem for f in (out / "tables").iterdir()}
    assert {"curves", "verdicts_pools_aubc", "unfinished", "costs", "recipes", "pools"} <= tables
    for name in tables:
        assert all((out / "tables" / f"{name}.{kind}").is_file() for kind in ("csv", "md", "tex"))
    figures = {f.stem for f in (out / "figures").iterdir()}
    assert {"curves-b-i-resnet18", "queries-b-i-resnet18"} <= figures
    assert {"classes-b-i", "overlap-b-i", "penalties_arm"} <= figures
    for name in figures:
        svg = (out / "figures" / f"{name}.svg").read_text()
        assert svg.count("<svg") == 1
        image = Image.open(out / "figures" / f"{name}.png").convert("L")
        assert image.getextrema()[0] < 100 < 250 < image.getextrema()[1]
    shown = [a for t, a in page.tags if t == "svg" and a.get("aria-label")]
    assert len(shown) == len(figures) - 2  # the curves are drawn by the page itself


def test_csv_holds_the_numbers(study: tuple[Path, Page]) -> None:
    root, _ = study
    with open(root / "runs/made/report/tables/curves.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    known = read_material(root / "runs", "made", None, "test/acc", 0.01, "labeled").curves
    assert len(rows) == len(known) == 2 * 3 * 3
    for row, mean in zip(rows, known["mean"], strict=True):
        assert float(row["mean"]) == pytest.approx(mean, rel=1e-5)


def test_kinds_of_classifier_are_compared_apart(tmp_path: Path) -> None:
    """Cycle 0 is compared once a kind, in the report of any grid with dbal or a committee."""
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random", "dbal", "ens_varr"])
    page = report(tmp_path)
    for kind in ("plain", "dropout", "committee"):
        assert f"every {kind} query" in page.source
    table = pd.read_csv(tmp_path / "runs/made/report/tables/verdicts_pools_start.csv")
    assert sorted(table["classifier"]) == ["committee", "dropout", "plain"]


def test_each_table_of_verdicts_has_one_endpoint(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random", "dbal", "ens_varr"])
    material = read_material(tmp_path / "runs", "made", None, "test/acc", 0.01, "labeled")
    tables = {b.name: b for b in verdicts(material).blocks if isinstance(b, Table)}
    for endpoint in ("aubc", "final"):
        papers = tables[f"verdicts_queries_confounded_{endpoint}"].frame
        assert set(papers["endpoint"]) == {endpoint}
        assert len(papers) == 2 * 2  # two queries whose networks are no plain ones, two pools
    ends = tables.pop("endpoints").frame
    assert len(ends) == 2 * 3 * 3  # a row a run: pools, queries, seeds
    for name, table in tables.items():
        keys = [c.key for c in table.columns[: [c.key for c in table.columns].index("verdict")]]
        assert not table.frame.duplicated(keys).any(), name


def test_what_queries_share_stands_beside_chance(study: tuple[Path, Page]) -> None:
    """Only choices from the random pool, each pair of one seed, and initial pools not counted."""
    root, page = study
    with open(
        root / "runs/made/report/tables/shared_choices.csv", encoding="utf-8", newline=""
    ) as stream:
        (row,) = csv.DictReader(stream)
    assert (row["one"], row["data"]) == ("random", "b<i>")
    unlabeled = TRAIN - VALIDATION - BUDGET
    for scope, cycles in {"first": 1, "all": 2}.items():
        shares = []
        for seed in range(2):
            one, other = (
                {i for c in range(1, cycles + 1) for i in _chosen(root, query, seed, c)}
                for query in (row["one"], row["other"])
            )
            shares.append(len(one & other) / (cycles * BUDGET))
        assert float(row[scope]) == pytest.approx(sum(shares) / 2, abs=1e-6)
        chance = float(row[f"{scope}_chance"])
        assert chance == pytest.approx(cycles * BUDGET / unlabeled, rel=1e-4)
    assert "what queries share" in page.text


def _chosen(root: Path, query: str, seed: int, cycle: int) -> list[int]:
    folder = root / "runs/made/b<i>/random" / query / f"resnet18/seed{seed}/cycle_{cycle}"
    return pd.read_parquet(folder / "selected.parquet")["index"].tolist()


def test_failed_and_missing_runs_are_listed(study: tuple[Path, Page]) -> None:
    root, page = study
    table = (root / "runs/made/report/tables/unfinished.md").read_text()
    assert "failed: RuntimeError: out of <memory>" in table
    assert "stopped after cycle 0 of 2" in table
    assert "missing" in page.text


def test_summary_says_what_the_verdicts_say(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.5, "vae": 0.2, "scan": 0.5}, ["random", "entropy"], 5)
    material = read_material(tmp_path / "runs", "made", None, "test/acc", 0.01, "labeled")
    lead, *others = summary(material)
    found = re.fullmatch(
        r"Yes, for 2 of 4 comparisons with the random pool: vae is worse in 2 of 2 "
        r"\(.(\d+\.\d+) points on average over all 2\)\.", lead,
    )  # fmt: skip
    assert found, lead
    assert 28 < float(found[1]) < 32
    assert any(s.startswith("Undecided is not equal: a true difference") for s in others)


def test_averages_are_over_all_comparisons_and_learners_are_named() -> None:
    """Averages of decided differences alone are too large."""
    rows = [("a", "worse", -0.04), ("a", "undecided", -0.01), ("b", "undecided", -0.01)]
    table = pd.DataFrame(rows, columns=["learner", "verdict", "mean"]).assign(arm="vae")
    told = _named(table[table["verdict"] == "worse"], table)
    average = f"{formats.points(-0.02)} points on average over all 3"
    assert told == f"vae is worse in 1 of 3, with a alone ({average})"


def test_a_control_that_is_random_too_is_told_apart(tmp_path: Path) -> None:
    write_study(tmp_path, {"random": 0.5, "shuffled": 0.5}, ["random"], 5)
    material = read_material(tmp_path / "runs", "made", None, "test/acc", 0.2, "labeled")
    (control,) = (s for s in summary(material) if "A/A control" in s)
    assert "2 equivalent of 2 comparisons of areas and ends" in control


@pytest.mark.slow
def test_wandb_run_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_study(tmp_path, {"random": 0.5, "vae": 0.4}, ["random"])
    report(tmp_path, "--logger", "wandb")
    (run,) = (tmp_path / "runs/made/report/wandb").glob("offline-run-*")
    media = {f.parent.name for f in run.glob("files/media/**/*") if f.is_file()}
    assert {"figures", "tables"} <= media | {f.name for f in run.glob("files/media/*/*")}
    assert list(run.glob("files/media/html/report*.html"))


def test_ranks_over_data_sets_are_drawn() -> None:
    ranks = pd.Series({"vae": 3.0, "random": 1.5, "scan": 1.5})
    svg, png = render(critical_difference(ranks, 1.9, [["random", "scan", "vae"]]))
    assert all(f"{name} ({rank:.2f})" in svg for name, rank in ranks.items())
    assert "critical difference 1.90" in svg
    assert png.startswith(b"\x89PNG")


def test_toy_illustration(tmp_path: Path) -> None:
    finished = run_cli("report", "--toy", "--out", str(tmp_path / "toy"))
    assert finished.status == 0, finished.err
    assert {f.name for f in (tmp_path / "toy").iterdir()} == {"toy.png", "toy.svg"}
    points, labels = toy_classes()
    pools = toy_pools(points)
    assert {len(set(pool.tolist())) for pool in pools.values()} == {12}
    _, hardest, shares = (learn(points, labels, pool, points[:1])[1] for pool in pools.values())
    assert hardest < shares - 0.1
