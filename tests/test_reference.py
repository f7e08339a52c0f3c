"""Figure 5 in short as it came out once, and a fresh run beside it.

`reference/figure5_short.csv` holds a row for each cycle of the whole runs of `python active/run.py
--experiment figure5_short --query random,least_confidence,coreset`, as `reference_rows` reads
them; `figure5_short_dbal.csv` those of `--query dbal` and of the random pool with dropout, which
were made on another processor, where the pretext models were trained anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from active.results import PARTS, read_runs
from tests.conftest import ROOT, Finished, only_run, rows_of

FILE, DBAL = (ROOT / f"tests/reference/figure5_short{of}.csv" for of in ("", "_dbal"))
COLUMNS = {
    "init": "init", "query": "query", "learner": "learner", "seed": "seed", "cycle": "cycle",
    "pool/labeled": "labeled", "pool/entropy": "pool_entropy", "test/acc": "acc",
    "test/acc_last": "acc_last", "time/train_s": "train_s", "time/query_s": "query_s",
}  # fmt: skip


def reference_rows(runs_dir: Path) -> pd.DataFrame:
    """The table of a folder of runs, whole ones only; times in whole seconds."""
    rows = read_runs(runs_dir, "figure5_short")
    whole = rows.groupby(list(PARTS))["cycle"].transform("max") == rows["cycle"].max()
    rows = rows.loc[whole, list(COLUMNS)].rename(columns=COLUMNS)
    return rows.round({"pool_entropy": 6, "acc": 4, "acc_last": 4, "train_s": 0, "query_s": 0})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(FILE)


def spread(table: pd.DataFrame, cycle: int) -> float:
    """Standard deviation of the accuracy over seeds, pooled over the arms."""
    at = table[table["cycle"] == cycle].groupby(["init", "query", "learner"])["acc"]
    variances, freedom = at.var(), at.count() - 1
    return float(np.sqrt((variances * freedom).sum() / freedom.sum()))


@pytest.mark.parametrize("file", [FILE, DBAL], ids=["first", "dbal"])
def test_runs_are_whole_and_share_what_a_seed_shares(file: Path) -> None:
    table = pd.read_csv(file)
    for _, run in table.groupby(["init", "query", "learner", "seed"]):
        assert run["cycle"].tolist() == [0, 1, 2, 3, 4]
        assert run["labeled"].tolist() == [60, 120, 180, 240, 300]
    # All of the second have dropout, and a seed's runs share cycle 0 by the kind of classifier.
    keys = ["init", "learner", "seed"] if file == FILE else ["init", "seed"]
    first = table[table["cycle"] == 0].groupby(keys)
    assert (first["acc"].nunique() == 1).all(), "cycle 0 is shared by the queries"
    pools = table[table["cycle"] == 0].groupby(["init", "seed"])
    assert (pools["pool_entropy"].nunique() == 1).all()


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(3600)
def test_a_fresh_run_lies_in_the_band(
    table: pd.DataFrame, data_root: str, cli: Callable[..., Finished], tmp_path: Path
) -> None:
    """The same pool, and accuracies within four standard deviations over seeds; by chance, none.

    Another processor rounds otherwise, and what follows is another run of the same arm and seed.
    """
    finished = cli(
        "--data", "mnist", "--query", "least_confidence", "--seed", "0", "--cycles", "1",
        "--trainer.threads", "1", "--logger", "none",
    )  # fmt: skip
    assert finished.status == 0, finished.err
    arm = table[(table["init"] == "random") & (table["query"] == "least_confidence")]
    rows = rows_of(only_run(tmp_path))
    assert len(rows) == 2
    before = arm[(arm["seed"] == "seed0") & (arm["cycle"] < 2)]
    for row, (_, then) in zip(rows, before.iterrows(), strict=True):
        assert row["pool/labeled"] == then["labeled"]
        band = 4 * spread(table, row["cycle"])
        assert abs(row["test/acc"] - then["acc"]) < band
        assert then["acc"] - band > 0.1, "too wide to tell a trained network from chance"
        if row["cycle"] == 0:
            assert row["pool/entropy"] == pytest.approx(then["pool_entropy"], abs=1e-6)
