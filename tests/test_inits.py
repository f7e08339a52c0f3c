"""The contract of every init. A new init adds one row to `INITS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from datamodules.errors import UserError
from datamodules.initial import BalancedInit, Candidates, RandomInit
from datamodules.inits import coverage
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.controls import HistogramInit, PixelFloor, ShuffledScores
from datamodules.inits.scores import ScoreInit
from datamodules.inits.table import TableInit
from tests.init_candidates import IDS, INDICES, KINDS, NUM, make


def table(name: str, folder: Path, candidates: Candidates, **columns: np.ndarray) -> str:
    """A .csv of all candidates, in an order that is not theirs."""
    rows = np.random.default_rng(1).permutation(candidates.indices)
    frame = {"id": [IDS[i] for i in rows], **{k: v[rows] for k, v in columns.items()}}
    pd.DataFrame(frame).to_csv(folder / f"{name}.csv", index=False)
    return str(folder / f"{name}.csv")


INITS: dict[str, Callable[[Path, Candidates], Any]] = {
    "random": lambda _, c: RandomInit(),
    "balanced": lambda _, c: BalancedInit(),
    "hardest": lambda _, c: ScoreInit(),
    "easiest": lambda _, c: ScoreInit("easiest"),
    "bins 2": lambda _, c: ScoreInit(bins=2),
    "bins 10": lambda _, c: ScoreInit(bins=10),
    "bins 100": lambda _, c: ScoreInit(bins=100),
    "equal": lambda _, c: ClusterInit(),
    "proportional": lambda _, c: ClusterInit("proportional"),
    "equal nearest": lambda _, c: ClusterInit("equal", "nearest"),
    "proportional nearest": lambda _, c: ClusterInit("proportional", "nearest"),
    "kcenter": lambda _, c: coverage.KCenter(),
    "typiclust": lambda _, c: coverage.TypiClust(),
    "probcover": lambda _, c: coverage.ProbCover(),
    "probcover delta": lambda _, c: coverage.ProbCover(delta=0.7),
    "maxherding": lambda _, c: coverage.MaxHerding(),
    "list": lambda f, c: TableInit(table("list", f, c)),
    "table of scores": lambda f, c: TableInit(table("scores", f, c, score=c.scores)),
    "table of clusters": lambda f, c: TableInit(table("clusters", f, c, cluster=c.clusters)),
    "shuffled": lambda _, c: ShuffledScores(),
    "histogram": lambda _, c: HistogramInit(ScoreInit()),
    "histogram of balanced": lambda _, c: HistogramInit(BalancedInit()),
    "pixel floor": lambda _, c: PixelFloor(),
}


def allowed(init: Any, candidates: Candidates) -> Candidates:
    """What the init declares that it needs; features may come with any artifact."""
    keep = {"labels": init.needs_labels, "scores": init.reads == "scores"}
    keep |= {
        "clusters": init.reads == "clusters",
        "features": init.reads in ("features", "clusters"),
    }
    return replace(candidates, **{name: None for name, kept in keep.items() if not kept})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INITS)
def test_every_init_gives_exactly_its_budget(name: str, kind: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make(kind))
    for budget in (1, 2, 7, 28, 57):
        candidates = allowed(init, make(kind))
        pool = init(candidates, budget, seed=5)
        assert len(pool) == budget == len(set(pool.tolist()))
        assert np.isin(pool, INDICES).all()
        again = INITS[name](tmp_path, make(kind))
        assert np.array_equal(pool, again(allowed(again, make(kind)), budget, seed=5))
        for part in ("indices", "labels", "scores", "clusters", "features"):
            after, before = getattr(candidates, part), getattr(allowed(init, make(kind)), part)
            assert (after is before is None) or np.array_equal(after, before, equal_nan=True)


SEEDED = {"random", "balanced", "equal", "proportional", "equal nearest", "kcenter", "typiclust",
          "probcover", "probcover delta", "maxherding",  # where two gains are equal
          "table of clusters", "shuffled", "histogram", "histogram of balanced"}  # fmt: skip


@pytest.mark.parametrize("name", INITS)
def test_the_seed_decides_no_more_than_ties_where_nothing_is_drawn(
    name: str, tmp_path: Path
) -> None:
    init = INITS[name](tmp_path, make())
    candidates = allowed(init, make())
    pools = {frozenset(init(candidates, 21, seed).tolist()) for seed in range(4)}
    assert (len(pools) > 1) == (name in SEEDED)


def test_a_files_content_is_told_through_the_init_that_follows_it(tmp_path: Path) -> None:
    list_of = INITS["list"](tmp_path, make())
    assert HistogramInit(list_of).fingerprint == list_of.fingerprint != ""
    assert ScoreInit().fingerprint == HistogramInit(ScoreInit()).fingerprint == ""
    before = list_of.fingerprint
    list_of.path.write_text("index\n5\n")
    assert HistogramInit(list_of).fingerprint != before


@pytest.mark.parametrize(
    "name",
    ["hardest", "easiest", "bins 2", "bins 10", "table of scores", "shuffled", "pixel floor"],
)
def test_ties_are_broken_by_the_seed(name: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make("constant scores"))
    candidates = allowed(init, make("constant scores"))
    pools = {frozenset(init(candidates, 21, seed).tolist()) for seed in range(8)}
    assert len(pools) == 8


@pytest.mark.parametrize("name", ["kcenter", "probcover delta", "maxherding"])
def test_files_in_the_order_of_their_classes_are_not_preferred(name: str, tmp_path: Path) -> None:
    """Where features are equal, the first of them is no more likely than the last."""
    init = INITS[name](tmp_path, make("one image"))
    candidates = allowed(init, make("one image"))
    chosen = np.concatenate([init(candidates, 20, seed) for seed in range(60)])
    counts = np.bincount(chosen, minlength=NUM)[INDICES]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert counts[:20].sum() < 0.45 * counts.sum()


READERS = {
    "scores": ["hardest", "bins 2", "shuffled", "histogram"],
    "clusters": ["equal", "proportional nearest"],
    "features": ["kcenter", "typiclust", "probcover", "maxherding"],
    "pixels": ["pixel floor"],
    "": ["random", "list", "table of scores", "table of clusters", "histogram of balanced"],
}


@pytest.mark.parametrize(("reads", "name"), [(r, n) for r, names in READERS.items() for n in names])
def test_what_an_init_reads_it_cannot_do_without(reads: str, name: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make())
    assert init.reads == reads
    if reads in ("scores", "clusters", "features"):
        with pytest.raises(UserError, match=f"needs {reads}"):
            init(replace(make(), **{reads: None}), 5, seed=0)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: ScoreInit("hard"), "hardest, easiest, not 'hard'"),
        (lambda: ScoreInit(bins=0), "bins"),
        (lambda: ScoreInit(bins=2.5), "bins"),  # type: ignore[arg-type]
        (lambda: ScoreInit("easiest", 2), "order=hardest"),
        (lambda: ClusterInit("same"), "equal, proportional"),
        (lambda: ClusterInit("equal", "center"), "random, nearest"),
        (lambda: HistogramInit("vae"), "another init"),
        (lambda: coverage.TypiClust(max_clusters=0), "max_clusters"),
        (lambda: coverage.TypiClust(neighbors=1.5), "neighbors"),
        (lambda: coverage.ProbCover(delta=0), "delta"),
        (lambda: coverage.ProbCover(purity=1.2), "purity"),
        (lambda: coverage.MaxHerding(sigma=-1), "sigma"),
        (lambda: TableInit(), r"needs --init\.path"),
        (lambda: TableInit("pool.xlsx"), r"\.csv, \.parquet, \.npy or \.txt, not .\.xlsx"),
        (lambda: TableInit("no/such/pool.csv"), "there is no file 'no/such/pool.csv'"),
    ],
)
def test_wrong_settings_are_refused_at_once(build: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


def test_the_cases_of_the_contract_are_what_their_names_say() -> None:
    def distinct(kind: str, part: str) -> int:
        return len(np.unique(getattr(make(kind), part)[INDICES], axis=0))

    assert distinct("constant scores", "scores") == 1
    assert distinct("heavy ties", "scores") == 3
    assert distinct("one giant cluster", "clusters") == 1
    assert distinct("more clusters than samples", "clusters") == 57
    assert distinct("duplicate features", "features") == 3
    assert distinct("one image", "features") == 1
    sizes = np.unique(make("singletons").clusters[INDICES], return_counts=True)[1]  # type: ignore
    assert sorted(sizes.tolist()) == [1] * 19 + [38]
