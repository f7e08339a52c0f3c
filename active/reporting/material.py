"""All that a report is made from, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from active.averages import curve_table, difference_table
from active.columns import METRIC, PARTS
from active.provenance import find_artifacts, read_environments, read_recipes
from active.results import (
    failed_runs,
    read_pools,
    read_runs,
    started_runs,
    unfinished_runs,
)
from active.verdict import MARGIN, compare_pools, compare_queries
from datamodules.errors import UserError, unknown
from pretext.artifacts import Artifact

METRICS = {
    "test/acc": "test accuracy",
    "test/acc_last": "test accuracy of the last epoch",
    "test/balanced_acc": "balanced test accuracy",
    "test/acc_ensemble": "test accuracy of the committee's mean",
    "val/acc": "validation accuracy",
}
READERS = {"init_artifact": "pool", "query_artifact": "query", "learner_artifact": "learner"}
POOL_FILES = 20_000  # so many selections are read at most: about 10 seconds


@dataclass(frozen=True)
class Material:
    """The runs of one experiment, where they lie and how the report is to look at them.

    `runs` are the rows that have the `metric`, of `all_runs`; `margin` is the difference in
    accuracy (0..1) within which nothing matters; `x` the budget that curves are drawn against:
    `labeled`, or `counted` with the validation labels.
    """

    runs_dir: Path
    experiment: str
    artifacts: dict[str, Artifact]
    artifact_folders: list[Path]
    recipes: dict[tuple[str, str], dict[str, Any]]
    all_runs: pd.DataFrame
    metric: str = METRIC
    margin: float = MARGIN
    x: str = "labeled"

    @cached_property
    def runs(self) -> pd.DataFrame:
        return self.all_runs[self.all_runs[self.metric].notna()]

    @property
    def metric_name(self) -> str:
        return METRICS[self.metric]

    @cached_property
    def curves(self) -> pd.DataFrame:
        return curve_table(self.runs, self.metric)

    @cached_property
    def differences(self) -> pd.DataFrame:
        return difference_table(self.runs, self.metric)

    @cached_property
    def pool_verdicts(self) -> pd.DataFrame:
        return compare_pools(self.runs, self.margin, metric=self.metric)

    @cached_property
    def query_verdicts(self) -> pd.DataFrame:
        return compare_queries(self.runs, self.margin, metric=self.metric)

    @cached_property
    def pool_seeds(self) -> int | None:
        """So many seeds of each arm have their selections read; None for all."""
        each = self.runs.groupby(list(PARTS[:-1])).size().sum() / self.runs["seed"].nunique()
        allowed = max(1, int(POOL_FILES / each))
        return None if allowed >= self.runs["seed"].nunique() else allowed

    @cached_property
    def pools(self) -> pd.DataFrame:
        return read_pools(self.runs_dir, self.experiment, seeds=self.pool_seeds)

    @cached_property
    def environments(self) -> pd.DataFrame:
        return read_environments(self.runs_dir, self.experiment)

    @cached_property
    def unfinished(self) -> pd.DataFrame:
        place = self.runs_dir, self.experiment
        asked: dict[str, int] = {}
        for (data, _), recipe in self.recipes.items():
            asked[data] = max(asked.get(data, 0), recipe.get("cycles", 0))
        return unfinished_runs(self.all_runs, failed_runs(*place), started_runs(*place), asked)

    def recipe(self, data: str) -> dict[str, Any]:
        """Of the first learner on this data."""
        return next(recipe for (name, _), recipe in self.recipes.items() if name == data)

    def readers(self) -> dict[str, str]:
        """Of each artifact that runs read: `pool, query, learner`, whichever did."""
        found: dict[str, list[str]] = {}
        for column, reader in READERS.items():
            for name in self.all_runs[column].dropna().unique():
                found.setdefault(str(name), []).append(reader)
        return {name: ", ".join(words) for name, words in found.items()}

    def candidates(self, data: str) -> float:
        """Images that pools of a seed are drawn from: the train part without V."""
        pool = self.pools[(self.pools["data"] == data) & (self.pools["cycle"] == 0)].iloc[0]
        return float(pool["size"] ** 2 / pool["overlap_expected"])

    def images(self, data: str) -> float:
        """Images that pools of different seeds are drawn from, as if there were no V.

        Each seed leaves out a V of its own; where all leave out the same one, or no run has come to
        the end of a cycle, `candidates`.
        """
        runs = self.runs[self.runs["data"] == data]
        if runs["seed"].nunique() <= 1 or self.recipe(data)["seeds"]["split"] is not None:
            return self.candidates(data)
        return float((runs["pool/labeled"] / runs["pool/fraction"]).iloc[0])


def read_material(
    runs_dir: Path, experiment: str, artifacts_dir: Path | None, metric: str, margin: float, x: str
) -> Material:
    """Reads rows, recipes and artifacts; where `artifacts_dir` is None the runs say where."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if not 0 < margin < 0.5:
        raise UserError(
            f"margin must lie between 0 and 0.5, not {margin:g}: 0.01 is one point of accuracy"
        )
    runs = read_runs(runs_dir, experiment)
    known = [m for m in METRICS if m in runs and runs[m].notna().any()]
    if metric not in known:
        raise unknown("metric of these runs", metric, known)
    recipes = read_recipes(runs_dir, experiment)
    named = {Path(recipe.get("artifacts_dir", "artifacts")) for recipe in recipes.values()}
    folders = [artifacts_dir] if artifacts_dir else sorted(named)
    return Material(
        runs_dir, experiment, find_artifacts(folders), folders, recipes, runs, metric, margin, x,
    )  # fmt: skip
