"""What the paper says of the pools themselves: R-7 to R-9."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import optimize, stats

from active.claims.judge import (
    CONFIRMED,
    CONTRADICTED,
    UNDECIDED,
    Claim,
    conclude,
    judged_by,
    loses,
)
from active.claims.study import POOLS, Answer, Study
from active.classes import common_classes, common_p, mean_class_counts
from active.columns import CONTROL
from active.estimate import ALPHA, holm
from active.overlap import initial_pools
from active.verdict import compare_with_each

NATS = 0.05  # entropies of class histograms closer than this look alike
TOP = 10  # classes: the paper's ten most sampled and ten hardest
PUBLISHED = 4  # of them in common
SHARE = 0.02  # overlaps closer to chance than two points of the pool are chance


def r7(study: Study) -> Answer:
    """CIFAR-100: entropy of the class histogram of the VAE pool, minus each other pool's."""
    claim = Claim(
        "R-7",
        "The VAE pool is imbalanced on CIFAR-100",
        "On CIFAR-100 the classes of the VAE pool are visibly less balanced than those of the "
        "SCAN, SimCLR and k-means pools.",
        control="another pool",
        scale=1,
        unit="nats of class entropy",
    )
    others = ("scan", "simclr", "kmeans")
    lacking = study.lacks("cifar100", ("vae", *others))
    rows = study.rows("cifar100", POOLS)
    if lacking or "pool/entropy" not in rows:
        return conclude(claim, [], lacking or ["classes of the pools"])
    first = rows[(rows["cycle"] == 0) & (rows["arm"] != CONTROL)]
    table = compare_with_each(first, "vae", NATS, metric="pool/entropy")
    return conclude(claim, [judged_by(loses, table[table["endpoint"] == "start"])], [])


def r8(study: Study) -> Answer:
    """CIFAR-100: classes most frequent in the VAE pool that are among the hardest at the end.

    Confirmed if so many are improbable by chance (hypergeometric), contradicted if so few are
    improbable where four are expected (Fisher's noncentral hypergeometric).
    """
    claim = Claim(
        "R-8",
        "The VAE pool over-samples hard classes",
        f"On CIFAR-100 {PUBLISHED} of the {TOP} classes that the VAE pool holds most of are among "
        f"the {TOP} classes with the lowest accuracy at the end.",
    )
    lacking = study.lacks("cifar100", ["vae"])
    if not (lacking or study.whole("cifar100")):
        lacking = study.departs("cifar100", (), ["vae"])
    counts, accuracies = _class_counts(study), _class_accuracies(study)
    if lacking or counts is None or accuracies is None:
        return conclude(claim, [], lacking or ["classes of the VAE pool and their accuracies"])
    common = common_classes(counts, accuracies, TOP)
    chance, fewer = common_p(common, len(counts), TOP), fewer_p(common, len(counts))
    answer = UNDECIDED
    if chance < ALPHA:
        answer = CONFIRMED
    elif fewer < ALPHA:
        answer = CONTRADICTED
    return claim.answer(
        answer,
        f"{common} of {TOP} classes are in common, where chance gives {TOP**2 / len(counts):.1f} "
        f"(as many by chance: p = {chance:.2g}; as few if {PUBLISHED} were true: p = {fewer:.2g}).",
    )


def fewer_p(common: int, classes: int) -> float:
    """P(at most `common`) if the published number were true: Fisher's noncentral hypergeometric."""

    def expected(log_odds: float) -> float:
        mean = stats.nchypergeom_fisher.mean(classes, TOP, TOP, np.exp(log_odds))
        return float(mean) - PUBLISHED

    odds = np.exp(optimize.brentq(expected, -5, 10))
    return float(stats.nchypergeom_fisher.cdf(common, classes, TOP, TOP, odds))


def _class_counts(study: Study) -> np.ndarray | None:
    """(classes,) images of each class in a VAE pool, mean over seeds; None where unknown."""
    if study.pools is None:
        return None
    first = _pools_of(study, "cifar100")
    return mean_class_counts(first[first["arm"] == "vae"])


def _class_accuracies(study: Study) -> np.ndarray | None:
    """(classes,) accuracy of the last models from the VAE pool, the mean of all of its runs."""
    rows = study.rows("cifar100", ["vae"])
    if "test/acc_per_class" not in rows:
        return None
    last = rows[(rows["arm"] == "vae") & (rows["cycle"] == rows["cycle"].max())]
    known = last["test/acc_per_class"].dropna()
    return np.mean(known.tolist(), axis=0) if len(known) else None


def _pools_of(study: Study, data: str) -> pd.DataFrame:
    """One initial pool of each (arm, seed), of the first pretext model."""
    assert study.pools is not None
    pools = initial_pools(study.pools[study.pools["data"].isin(study.names(data))])
    keys = ["data", "arm", "seed"]
    return pools.sort_values([*keys, "pretext"]).drop_duplicates(keys)


def r9(study: Study) -> Answer:
    """CIFAR-10: what each two of the five pools share, beside independent pools of that size.

    Pools of one seed are no independent draws: the random order of a seed decides between the
    members of a cluster and makes the random pool, so that arms are paired. Each pool is therefore
    held to the other arm's of the next seed. That one was drawn without another validation set, so
    that chance is that of draws from all images. The spread is that of one pair of pools: those of
    several seeds come from the same model.
    """
    claim = Claim(
        "R-9",
        "Pools overlap as by chance",
        "On CIFAR-10 each two of the five initial pools share about a tenth of their images, which "
        "is what independent pools of that size share.",
    )
    lacking = study.lacks("cifar10", POOLS)
    if lacking or study.pools is None:
        return conclude(claim, [], lacking or ["the indices of the pools"])
    table = overlaps(study)
    if len(table) < len(list(combinations(range(len(POOLS) + 1), 2))):
        return conclude(claim, [], ["the indices of some pools on CIFAR-10, with two seeds"])
    half = stats.norm.ppf(1 - ALPHA) * table["sd"]
    alike = (table["excess"].abs() + half) < SHARE
    apart = (holm(table["p"].to_numpy()) < ALPHA) & ~alike
    answer = CONTRADICTED if apart.any() else CONFIRMED if alike.all() else UNDECIDED
    far = table.loc[table["excess"].abs().idxmax()]
    return claim.answer(
        answer,
        f"{alike.sum()} of {len(table)} pairs of pools share what chance gives, within "
        f"{100 * SHARE:.0f} points, and {apart.sum()} do not; the farthest, {far['pair']}, share "
        f"{far['share']:.1%} where chance gives {far['chance']:.1%} (n = {far['seeds']} seeds).",
    )


def overlaps(study: Study) -> pd.DataFrame:
    """A row for each two pools: share in common, its chance level, sd and p (two-sided)."""
    first = _pools_of(study, "cifar10").set_index(["arm", "seed"])["indices"]
    images = _images(study)
    rows = []
    for one, other in combinations((CONTROL, *POOLS), 2):
        if one not in first or other not in first:
            continue
        seeds = first[one].index.intersection(first[other].index)
        if len(seeds) < 2:
            continue
        pairs = zip(first[one][seeds], np.roll(first[other][seeds], 1), strict=True)
        shared = [len(np.intersect1d(*pair)) for pair in pairs]
        size = len(first[one].iloc[0])
        law = stats.hypergeom(images, size, size)
        excess = np.mean(shared) - law.mean()
        rows.append(
            {
                "pair": f"{one} and {other}",
                "seeds": len(seeds),
                "share": np.mean(shared) / size,
                "chance": law.mean() / size,
                "excess": excess / size,
                "sd": law.std() / size,
                "p": 2 * stats.norm.sf(abs(excess) / law.std()),
            }
        )
    return pd.DataFrame(rows)


def _images(study: Study) -> int:
    """Train images of CIFAR-10, without the validation set where all seeds have the same one."""
    row = study.rows("cifar10", POOLS).iloc[0]
    held = row.get("pool/validation_labels", 0) if "-split" in row["seed"] else 0
    return round(row["pool/labeled"] / row["pool/fraction"]) - int(held)
