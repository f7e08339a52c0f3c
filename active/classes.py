"""Classes of initial pools: how many images of each, and whether pools over-sample hard ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from active.columns import CURVE
from active.overlap import initial_pools

COLUMNS = [*CURVE, "classes", "k", "shared", "expected", "p"]


def mean_class_counts(pools: pd.DataFrame) -> np.ndarray | None:
    """(classes,) images of each class, the mean over these pools; None where no pool knows them.

    Args:
        pools: rows of cycle 0 of `read_pools`, of one data set.
    """
    if "class_counts" not in pools:
        return None
    known = [counts for counts in pools["class_counts"] if isinstance(counts, list)]
    return np.mean(known, axis=0) if known else None


def hard_classes(runs: pd.DataFrame, pools: pd.DataFrame) -> pd.DataFrame:
    """Do pools over-sample the classes that stay hard? The paper's question for CIFAR-100.

    The k classes with most members in an arm's initial pool and the k with the lowest accuracy
    after the last cycle, both averaged over seeds; k = 10, or a third of fewer than 30 classes.

    Returns:
        A row per (data, learner, query, arm): `classes`, `k`, `shared`, `expected` = k^2 / C by
        chance, and `p`, the hypergeometric probability of at least as many.
    """
    if "test/acc_per_class" not in runs:
        return pd.DataFrame(columns=COLUMNS)
    parts = initial_pools(pools).groupby(["data", "arm"])
    counts = {key: mean_class_counts(part) for key, part in parts}
    last = runs[runs["cycle"] == runs.groupby("data")["cycle"].transform("max")]
    rows = []
    for key, part in last.groupby(CURVE):
        data, *_, arm = key
        count = counts.get((data, arm))
        if count is None or count.max() == count.min():
            continue
        classes = len(count)
        k = max(1, min(10, classes // 3))
        accuracies = np.mean(np.array(part["test/acc_per_class"].tolist(), dtype=float), axis=0)
        shared = common_classes(count, accuracies, k)
        rows.append((*key, classes, k, shared, k * k / classes, common_p(shared, classes, k)))
    return pd.DataFrame(rows, columns=COLUMNS)


def common_classes(counts: np.ndarray, accuracies: np.ndarray, k: int) -> int:
    """How many of the k classes with most images are among the k with the lowest accuracy.

    Args:
        counts, accuracies: (classes,) each; of equal ones the first is taken.
    """
    most = np.argsort(-counts, kind="stable")[:k]
    hardest = np.argsort(accuracies, kind="stable")[:k]
    return len(np.intersect1d(most, hardest))


def common_p(common: int, classes: int, k: int) -> float:
    """P(at least `common` by chance) for two sets of k of the classes: hypergeometric."""
    return float(hypergeom.sf(common - 1, classes, k, k))
