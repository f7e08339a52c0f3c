"""The paper's Tables 1 and 2: how classifiers were trained, how good the clusters are."""

from __future__ import annotations

from typing import Any

import pandas as pd

from active import formats
from active.reporting.blocks import Block, Column, Section, Table
from active.reporting.material import Material
from pretext.artifacts import Artifact

SHOWN = (
    "init_budget", "budget", "cycles", "data.val", "data.flip", "data.crop", "data.imbalance",
    "trainer.max_epochs", "trainer.val_checks", "trainer.precision",
)  # fmt: skip
LEFT_OUT = ("_target_",)
MODELS = (
    Column("model", "model"), Column("artifact", "artifact"), Column("data", "data"),
    Column("knn/acc", "k-NN, %", formats.percent), Column("cluster/acc", "ACC", formats.decimal),
    Column("cluster/nmi", "NMI", formats.decimal), Column("cluster/ari", "ARI", formats.decimal),
    Column("cluster/acc_test", "ACC, test", formats.decimal),
    Column("epochs", "epochs", formats.count), Column("seed", "seed", formats.count),
    Column("seconds", "made in", formats.seconds),
    Column("parents", "stands on"), Column("readers", "read by"),
)  # fmt: skip


def section(material: Material) -> Section:
    """Settings of each data set and learner, and the pretext models that were found."""
    blocks: list[Block] = []
    table, columns = recipe_table(material.recipes)
    if not table.empty:
        title = "Table 1: how classifiers were trained"
        blocks.append(Table("recipes", title, table, columns))
    blocks += _models(material)
    return Section("Recipes and pretext models", blocks)


def recipe_table(
    recipes: dict[tuple[str, str], dict[str, Any]],
) -> tuple[pd.DataFrame, tuple[Column, ...]]:
    """A row a setting, a column for each (data, learner)."""
    values = {f"{data}, {learner}": _settings(r) for (data, learner), r in recipes.items()}
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    rows = [
        {"setting": n, **{run: formats.text(v.get(n)) for run, v in values.items()}} for n in names
    ]
    columns = (Column("setting", "setting"), *(Column(run, run) for run in values))
    return pd.DataFrame(rows), columns


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SHOWN:
        group, _, key = name.rpartition(".")
        value = recipe.get(group, {}).get(key) if group else recipe.get(key)
        if value is not None:
            found[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    learner = recipe.get("learner", {}).items()
    return found | {f"learner.{k}": v for k, v in learner if k not in LEFT_OUT and v is not None}


def _models(material: Material) -> list[Block]:
    readers = material.readers()
    images = {recipe.get("data_fingerprint") for recipe in material.recipes.values()}
    fitting = [a for a in material.artifacts.values() if a.record["data"] in images]
    if not fitting:
        return ["No pretext artifacts were found (--artifacts_dir names their folder)."]
    rows = [_row(artifact, readers.get(artifact.name)) for artifact in _used(fitting, readers)]
    table = pd.DataFrame(rows).reindex(columns=[c.key for c in MODELS])
    known = tuple(c for c in MODELS if table[c.key].notna().any())
    title = "Table 2: pretext models and their clusters"
    note = (
        "Labels only measure here, they train and select nothing: k-NN accuracy of the features on "
        "the test part; ACC (best matching of clusters and classes), NMI and ARI on the train part."
    )
    return [Table("pretext_models", title, table, known, note)]


def _used(artifacts: list[Artifact], readers: dict[str, str]) -> list[Artifact]:
    """Those that the runs read, and what these stand on; all where none of those is there."""
    parents = {a.name: set(a.record["parents"]) for a in artifacts}
    names = set(readers) & set(parents)
    while more := {p for name in names for p in parents.get(name, ())} - names:
        names |= more
    return [a for a in artifacts if a.name in names or not names]


def _row(artifact: Artifact, readers: str | None) -> dict[str, Any]:
    record = artifact.record
    return {
        "model": record["model"],
        "artifact": artifact.name,
        "data": artifact.path.parent.name,
        **record.get("metrics", {}),
        "epochs": record.get("config", {}).get("max_epochs"),
        "seed": record.get("seed"),
        "seconds": record["wall_seconds"],
        "parents": ", ".join(record["parents"]) or None,
        "readers": readers,
    }
