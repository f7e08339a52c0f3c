"""With what runs were made: recipes, commits, hardware, and the pretext artifacts behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from active.columns import PARTS
from active.folder import CONFIG, damaged
from active.results import run_files
from pretext.artifacts import RECORD, Artifact, DamagedArtifact

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster
TAIL = re.compile(r"^(environment|made|data_fingerprint):", re.MULTILINE)  # last in the file


def read_recipes(runs_dir: Path, experiment: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The resolved config of the first run of each (data, learner)."""
    recipes: dict[tuple[str, str], dict[str, Any]] = {}
    for file, parts in run_files(runs_dir, experiment, CONFIG):
        key = parts["data"], parts["learner"]
        if key not in recipes:
            recipes[key] = _load(file, _read(file))
    return recipes


def read_environments(runs_dir: Path, experiment: str) -> pd.DataFrame:
    """A row for each run: its parts and, where known, with what it was made.

    That is `commit`, `hardware`, `started`, `device`, `precision`, `threads`, `torch`. Only the end
    of each config is parsed: there are thousands.
    """
    rows = []
    for file, parts in run_files(runs_dir, experiment, CONFIG):
        text = _read(file)
        found = TAIL.search(text)
        tail = _load(file, text[found.start() :]) if found else {}
        rows.append({**parts, **(tail.get("environment") or {}), **(tail.get("made") or {})})
    return pd.DataFrame(rows, columns=None if rows else list(PARTS))


def find_artifacts(folders: Iterable[Path]) -> dict[str, Artifact]:
    """Finished pretext artifacts below these folders of artifacts, by name; damaged ones not."""
    known = {}
    for folder in folders:
        for file in sorted(folder.glob(f"*/*/{RECORD}")):
            artifact = Artifact(file.parent)
            with suppress(DamagedArtifact):  # other records, such as those of images, are none
                if not artifact.name.startswith(".") and "model" in artifact.record:
                    known[artifact.name] = artifact
    return known


def class_names(folders: Iterable[Path], fingerprint: str) -> list[str] | None:
    """Names of the classes of the data with this fingerprint, where its images are cached."""
    for folder in folders:
        for file in folder.glob(f"*/images-*/{RECORD}"):
            with suppress(ValueError):  # a damaged record names nothing
                record = json.loads(file.read_text(encoding="utf-8"))
                if record.get("fingerprint") == fingerprint:
                    return record.get("classes")
    return None


def lineage(name: str, known: dict[str, Artifact]) -> list[Artifact]:
    """An artifact and all that it stands on, each once; what was not found is left out."""
    found: dict[str, Artifact] = {}
    waiting = [name]
    while waiting:
        artifact = known.get(waiting.pop())
        if artifact and artifact.name not in found:
            found[artifact.name] = artifact
            waiting += artifact.record["parents"]
    return list(found.values())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(file) from error


def _load(file: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader) or {}
    except yaml.YAMLError as error:
        raise damaged(file) from error
    if not isinstance(content, dict):
        raise damaged(file)
    return content
