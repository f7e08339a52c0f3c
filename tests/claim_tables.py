"""Tables of runs whose pools gain what a test asks for, and what a claim says of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from active.claims import CLAIMS, Study
from tests.study_rows import rows_of

ALL = ("random", "simclr", "vae", "scan", "kmeans")
QUERIES = ("entropy", "dbal")
SIZES = {"mnist": 60_000, "tiny_imagenet": 100_000, "cifar10_lt": 14_000}
STARTS = {"mnist": 0.001}
SURE, UNSURE = 0.001, 0.05  # sd of a run: next to none, and too large for six seeds


def study(
    gains: dict[str, tuple[float, float]],
    data: str = "mnist",
    sd: float = SURE,
    arms: Iterable[str] = ALL,
    queries: Iterable[str] = QUERIES,
    start: float | None = None,
    end: int = 11,
    seeds: int = 6,
    learner: str = "resnet18",
    total: int = 0,
    **columns: object,
) -> pd.DataFrame:
    """Curves of three cycles; a pool gains so much at its start, rising or falling to its end."""
    total = total or SIZES.get(data.split("-")[0], 50_000)
    first = int((start or STARTS.get(data.split("-")[0], 0.1)) * total)
    budgets = np.array([1, end / 2, end]) * first
    rows: list[dict] = []
    for arm in arms:
        for query in queries:
            for seed in range(seeds):
                noise = np.random.default_rng([*f"{data}{arm}{query}".encode(), seed])
                curve = 0.5 + np.linspace(*gains.get(arm, (0, 0)), 3) + noise.normal(0, sd, 3)
                rows += rows_of(
                    curve, arm, query, seed, data, learner, budgets=budgets.tolist(), **columns
                )
    table = pd.DataFrame(rows)
    table["pool/fraction"] = table["pool/labeled"] / total
    return table


def answer(claim: str, *tables: pd.DataFrame, pools: pd.DataFrame | None = None) -> str:
    function = {c.__name__: c for c in CLAIMS}[claim]
    made = function(Study(pd.concat(tables), pools))
    assert made.claim == f"R-{claim[1:]}"
    assert made.title
    assert made.statement.endswith(".")
    assert made.why.endswith(".")
    assert "nan" not in made.why
    assert "\n" not in made.why
    return made.answer
