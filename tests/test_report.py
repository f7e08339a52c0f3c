"""The report against sums by hand, and the files it leaves."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from PIL import Image

from active.results import curve_table, read_runs
from tests.conftest import run_cli

BUDGETS = (10, 20, 30)


def write_run(root: Path, arm: str, seed: int, accuracies: list[float], tail: str = "") -> None:
    folder = root / "runs/made" / arm / f"seed{seed}"
    folder.mkdir(parents=True)
    rows = [
        {"cycle": c, "pool/labeled": BUDGETS[c], "test/acc": a} for c, a in enumerate(accuracies)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "cycles.jsonl").write_text(text + tail)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for query in ("entropy", "random"):
        for init, base in (("random", 0.5), ("balanced", 0.6), ("simclr-bins5", 0.4)):
            for seed in range(3):
                curve = [base + 0.1 * c + 0.01 * seed * (c + 1) for c in range(3)]
                write_run(tmp_path, f"digits/{init}/{query}/resnet18", seed, curve)
    return tmp_path


def test_table_equals_sums_by_hand(made: Path) -> None:
    table = curve_table(read_runs(made / "runs", "made"))
    assert len(table) == 2 * 3 * 3
    row = table[(table["init"] == "balanced") & (table["query"] == "random")].iloc[2]
    values = [0.8, 0.83, 0.86]
    assert row["labeled"] == 30
    assert row["mean"] == pytest.approx(statistics.mean(values))
    assert row["sd"] == pytest.approx(statistics.stdev(values))
    assert row["seeds"] == 3


def test_report_writes_what_it_says(made: Path) -> None:
    finished = run_cli("report", "--experiment", "made")
    assert finished.status == 0, finished.err
    out = made / "runs/made/report"
    assert {f.name for f in out.iterdir()} == {
        "curves.csv", "curves.md", "curves_digits_resnet18.png", "curves_digits_resnet18.svg",
    }  # fmt: skip
    assert "| random | balanced | 3 | 61.00 ± 1.00 | 72.00 ± 2.00 | 83.00 ± 3.00 |" in finished.out
    assert "| query | init | seeds | 10 | 20 | 30 |" in finished.out
    image = Image.open(out / "curves_digits_resnet18.png").convert("L")
    assert image.width > 900
    assert image.getextrema() == (0, 255)
    svg = (out / "curves_digits_resnet18.svg").read_text()
    assert svg.count("<!-- query: entropy -->") == svg.count("<!-- query: random -->") == 1
    assert all(svg.count(f"<!-- {init} -->") == 1 for init in ("random", "balanced"))
    assert "mean ± 1 sd over 3 seeds" in svg


def test_unfinished_failed_and_single_runs(made: Path) -> None:
    write_run(made, "digits/vae/entropy/resnet18", 0, [0.3, 0.4], tail='{"cycle": 2, "tes')
    failed = made / "runs/made/digits/scan/entropy/resnet18/seed0"
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("Traceback\nRuntimeError: out of memory\n")
    finished = run_cli("report", "--experiment", "made")
    assert finished.status == 0, finished.err
    assert "| entropy | vae | 1 | 30.00 | 40.00 | - |" in finished.out
    assert "digits/scan/entropy/resnet18/seed0: RuntimeError: out of memory" in finished.out


def test_wrong_experiment(made: Path) -> None:
    finished = run_cli("report", "--experiment", "mad")
    assert finished.status == 2
    assert "unknown experiment 'mad': did you mean 'made'?" in finished.err
    assert run_cli("report", "--experimnt", "made").status == 2


def test_nothing_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished = run_cli("report")
    assert finished.status == 2
    assert "there are no runs" in finished.err
    (tmp_path / "runs/single").mkdir(parents=True)
    assert "no finished cycles" in run_cli("report").err
