"""Tables of rows as `active.results.read_runs` gives them, made of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import pandas as pd

from active.columns import ARTIFACTS

BUDGETS = (10, 20, 40)
KINDS = {"dbal": "dropout", "bald": "dropout", "ens_varr": "committee"}


def rows_of(
    curve: Iterable[float],
    arm: str = "random",
    query: str = "random",
    seed: int = 0,
    data: str = "mnist",
    learner: str = "resnet18",
    pretext: str = "",
    artifact: str | None = None,
    budgets: Iterable[int] = BUDGETS,
    **columns: object,
) -> list[dict]:
    """The rows of one run; as many cycles as the curve has."""
    kind = KINDS.get(query, "plain")
    kind = "dropout" if "dropouton" in learner else kind
    kind = "committee" if "members" in learner else kind
    return [
        {
            "data": data, "init": arm + (f"-pretext{pretext}" if pretext else ""), "query": query,
            "learner": learner, "seed": f"seed{seed}", "cycle": cycle, "test/acc": accuracy,
            "pool/labeled": budget, "pool/fraction": budget / 100, "arm": arm, "pretext": pretext,
            "classifier": kind, **dict.fromkeys(ARTIFACTS), "init_artifact": artifact, **columns,
        }
        for cycle, (accuracy, budget) in enumerate(zip(curve, budgets, strict=False))
    ]  # fmt: skip


def study_of(
    curve: Callable[[str, str, int], Iterable[float]],
    arms: Iterable[str],
    queries: Iterable[str],
    seeds: int,
    **same: object,
) -> pd.DataFrame:
    """A full grid; `curve(arm, query, seed)` gives the accuracies of each run."""
    rows: list[dict] = []
    for arm, query, seed in product(arms, queries, range(seeds)):
        rows += rows_of(curve(arm, query, seed), arm, query, seed, **same)  # type: ignore[arg-type]
    return pd.DataFrame(rows)


def noisy(gains: dict[str, float], sd: float = 0.003, base: float = 0.5) -> Callable:
    """Curves that rise by .1 a cycle; each arm has its gain at every cycle, each run its noise."""

    def curve(arm: str, query: str, seed: int) -> np.ndarray:
        name = [*f"{arm}/{query}".encode(), seed]
        noise = np.random.default_rng(name).normal(0, sd, len(BUDGETS))
        shared = np.random.default_rng([seed]).normal(0, 0.02)
        return base + shared + 0.1 * np.arange(len(BUDGETS)) + gains.get(arm, 0) + noise

    return curve
