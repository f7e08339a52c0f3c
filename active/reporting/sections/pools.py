"""Initial pools: classes, overlaps, places among all images, and what they look like."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from active import formats
from active.classes import hard_classes, mean_class_counts
from active.columns import CONTROL, PARTS, ordered
from active.embedding import embed_pools
from active.figures.pools import (
    class_histograms,
    embedded_pools,
    overlap_matrix,
    shares_over_cycles,
)
from active.overlap import initial_pools, pair_shares, shares_by_cycle
from active.provenance import class_names
from active.reporting.blocks import Block, Column, Picture, Section, Sheets, Table, file_name
from active.reporting.material import Material
from active.results import run_files
from pretext.artifacts import FEATURES, Artifact

TITLE = "Initial pools"
PREFERRED = ("simclr", "scan", "scan_step", "rotation", "vae")  # whose features to embed in
HARD = (
    Column("arm", "initial pool"), Column("data", "data"), Column("learner", "learner"),
    Column("query", "query"), Column("k", "classes compared", formats.count),
    Column("shared", "in common", formats.count), Column("expected", "by chance", formats.decimal),
    Column("p", "p", formats.p_value),
)  # fmt: skip
ENTROPY = (
    Column("arm", "initial pool"), Column("data", "data"), Column("size", "images", formats.count),
    Column("empty", "empty classes", formats.decimal),
    Column("entropy", "class entropy", formats.decimal),
    Column("even", "if even", formats.decimal),
    Column("shared", "shared with random, %", formats.percent),
    Column("chance", "chance, %", formats.percent), Column("pools", "pools", formats.count),
)  # fmt: skip


def section(material: Material) -> Section:
    """Anatomy of the pools, data set by data set."""
    pools = initial_pools(material.pools)
    if pools.empty:
        return Section(TITLE, ["No selections were found in the run folders."])
    blocks: list[Block] = []
    if material.pool_seeds:
        blocks.append(
            f"Read from the first {formats.plural(material.pool_seeds, 'seed')} of each arm."
        )
    blocks += _summary(pools, material)
    for data, part in pools.groupby("data"):
        blocks += _classes(str(data), part, material)
        blocks += _overlap(str(data), part, material)
        blocks += _embedding(str(data), part, material)
    blocks += _hard(material)
    blocks += _by_cycle(material)
    blocks += _sheets(material)
    return Section(TITLE, blocks)


def _summary(pools: pd.DataFrame, material: Material) -> list[Block]:
    rows = []
    for (data, arm), part in pools.groupby(["data", "arm"]):
        size = float(np.mean([len(indices) for indices in part["indices"]]))
        row = {"data": data, "arm": arm, "size": size, "pools": len(part)}
        row["chance"] = size / material.candidates(str(data))
        counts = [c for c in part.get("class_counts", []) if isinstance(c, list)]
        if counts:
            row["empty"] = float(np.mean([sum(n == 0 for n in c) for c in counts]))
            row["entropy"] = float(part["class_entropy"].mean())
            row["even"] = float(np.log(min(len(counts[0]), size)))
        if arm != CONTROL and "overlap_random" in part:
            row["shared"] = float((part["overlap_random"] / part["size"]).mean())
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=[c.key for c in ENTROPY])
    title = "Pools in numbers"
    note = (
        "Means over pools; entropies in nats. Cluster and balanced pools draw their members by the "
        "random pool's own priorities, so that paired differences are sharper; they share "
        "more than chance with it."
    )
    return [Table("pools", title, table, ENTROPY, note)]


def _classes(data: str, pools: pd.DataFrame, material: Material) -> list[Block]:
    means = {str(arm): mean_class_counts(part) for arm, part in pools.groupby("arm")}
    counts = {arm: mean for arm, mean in means.items() if mean is not None}
    if not counts:
        return []
    images = str(material.recipe(data).get("data_fingerprint", ""))
    names = class_names(material.artifact_folders, images)
    told = formats.listing([f"{arm} {count.max():.3g}" for arm, count in counts.items()])
    alt = f"Images of each class in the initial pools on {data}; the fullest class holds: {told}."
    note = "Mean over pools; the dashed line is an equal share of every class."
    draw = partial(class_histograms, counts, names)
    return [Picture(file_name(f"classes-{data}"), f"{data}: classes in the pools", alt, draw, note)]


def _overlap(data: str, pools: pd.DataFrame, material: Material) -> list[Block]:
    shares = pair_shares(pools)
    size = float(np.mean([len(indices) for indices in pools["indices"]]))
    chance = size / material.images(data)
    if len(shares) < 2:
        return []
    pairs = [
        f"{a} and {b} {100 * shares.loc[a, b]:.0f} %"
        for a, b in combinations(shares.index, 2)
        if formats.known(shares.loc[a, b])
    ]
    alt = f"Images that pools on {data} share: {', '.join(pairs)}; chance {100 * chance:.2g} %."
    note = (
        "Percent of a pool that another holds too. Pools of different seeds are compared (of one "
        "seed where no other was run), because cluster pools draw in the order of their seed's "
        "random pool and share more with it by design: the table above has that."
    )
    title = f"{data}: what pools share"
    draw = partial(overlap_matrix, shares, chance)
    return [Picture(file_name(f"overlap-{data}"), title, alt, draw, note)]


def _embedding(data: str, pools: pd.DataFrame, material: Material) -> list[Block]:
    artifact = _with_features(data, material)
    if artifact is None:
        return [
            f"{data}: no pretext features were found, so that the pools are not shown among all "
            "images (--artifacts_dir names the folder of artifacts)."
        ]
    first = pools.drop_duplicates("arm").set_index("arm")["indices"].to_dict()
    points, members = embed_pools(artifact.features(), first)
    alt = (
        f"Members of the pools {formats.listing(ordered(list(first)))} among a sample of all "
        f"images of {data}, by t-SNE of {artifact.name}'s features."
    )
    note = f"t-SNE of the features of {artifact.name}; the pools of the first seed, in color."
    title = f"{data}: where pools lie"
    draw = partial(embedded_pools, points, members)
    return [Picture(file_name(f"places-{data}"), title, alt, draw, note)]


def _with_features(data: str, material: Material) -> Artifact | None:
    """The artifact to embed in: one that the runs read first, then any of the same images."""
    images, read = material.recipe(data).get("data_fingerprint"), material.readers()
    fitting = [
        a
        for a in material.artifacts.values()
        if a.record["data"] == images and (a.path / FEATURES["train"]).is_file()
    ]
    order = {model: place for place, model in enumerate(PREFERRED)}
    fitting.sort(
        key=lambda a: (order.get(a.record["model"], 9), a.name not in read, a.record["seed"])
    )
    return fitting[0] if fitting else None


def _hard(material: Material) -> list[Block]:
    table = hard_classes(material.runs, material.pools)
    if table.empty:
        return []
    note = (
        "The classes with most images in a pool beside the classes with the lowest accuracy after "
        "the last cycle. By chance k² / C are in common; p is the hypergeometric probability of at "
        "least as many."
    )
    return [Table("hard_classes", "Over-sampled and hardest classes", table, HARD, note)]


def _by_cycle(material: Material) -> list[Block]:
    table = shares_by_cycle(material.pools)
    blocks: list[Block] = []
    for (data, learner), part in table.groupby(["data", "learner"]):
        last = part[part["cycle"] == part["cycle"].max()]
        told = [f"{r.arm} under {r.query} {100 * r.share:.0f} %" for r in last.itertuples()]
        alt = (
            f"Share of the labeled images that the random arm has labeled too, {data}, {learner}; "
            f"at the end {', '.join(told[:8])}."
        )
        draw = partial(shares_over_cycles, part, material.candidates(str(data)))
        title = f"{data}, {learner}: do labeled pools meet?"
        note = "Same query, same seed. Passive arms of a seed draw in one order and share more."
        name = file_name(f"shared-by-cycle-{data}-{learner}")
        blocks.append(Picture(name, title, alt, draw, note))
    return blocks


def _sheets(material: Material) -> list[Block]:
    """The first 64 images of each arm's first pool."""
    sheets: dict[str, bytes] = {}
    name = "cycle_0/contact_sheet.png"
    for file, parts in run_files(material.runs_dir, material.experiment, name, seeds=1):
        caption = f"{parts['init']}, {parts['data']}"
        if caption not in sheets:
            sheets[caption] = file.read_bytes()
    if not sheets:
        return []
    arms = ordered([c.split(",")[0] for c in sheets])
    images = sorted(sheets.items(), key=lambda item: arms.index(item[0].split(",")[0]))
    seed = material.runs[list(PARTS)].iloc[0]["seed"]
    return [Sheets("The first 64 images of each pool", images, f"In order of preference; {seed}.")]
