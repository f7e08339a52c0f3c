"""An initial pool from a file of the user's own: a list of samples, scores or clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.errors import UserError
from datamodules.files import sha256
from datamodules.initial import Candidates, Init
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.scores import ScoreInit
from datamodules.tables import SUFFIXES, Table, read_table

DIGITS = 18  # of int64


class TableInit(Init):
    """The pool that a file lists, or that its scores or clusters decide.

    A .csv or .parquet table names samples in a column `id` or `index` (or both). With a column
    `score` the hardest (or easiest, by `order`) are taken, with `cluster` shares of all clusters by
    `shares` (see ClusterInit), members at random; else, or with a column `rank`, it is a list, best
    first: such are label_first.csv and the selected.parquet of a run. A .txt file has one id or
    index a line; a .npy file indices, or one float (score) or repeated integer (cluster) for each
    train sample. Members of the validation set V are skipped.
    """

    def __init__(
        self,
        path: str | None = None,
        shares: str = "equal",
        order: str = "hardest",
    ):
        if path is None:
            raise ValueError("needs --init.path, a .csv, .parquet, .npy or .txt file")
        self.path = _expanded(path)
        if self.path.suffix.lower() not in SUFFIXES:
            suffix = self.path.suffix
            raise ValueError(f"path must end in .csv, .parquet, .npy or .txt, not {suffix!r}")
        if not self.path.is_file():
            raise ValueError(f"there is no file {path!r}")
        self.by_score, self.by_cluster = ScoreInit(order), ClusterInit(shares)

    @cached_property
    def table(self) -> Table:
        """The file, read once; UserError where it cannot be understood."""
        return read_table(self.path)

    @property
    def fingerprint(self) -> str:
        """Of the file's content: another is another pool."""
        return sha256(self.path)

    def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        """Exactly `budget` candidates; UserError for samples that are unknown, twice or missing."""
        assert len(candidates.ids), "a table's samples are known by their names"
        samples = resolve(self.table, candidates.ids, self.path)
        if self.table.kind == "list":
            return self._listed(samples, candidates, budget)
        values = np.asarray(self.table.values)
        full = np.zeros(len(candidates.ids), values.dtype)
        full[samples] = values
        missing = np.setdiff1d(candidates.indices, samples)
        if len(missing):
            raise UserError(
                f"{self.path} has no {self.table.kind} for {len(missing)} of the "
                f"{len(candidates.indices)} samples to choose from; the first is "
                f"{candidates.ids[missing[0]]}"
            )
        if self.table.kind == "score":
            return self.by_score(replace(candidates, scores=full), budget, seed)
        return self.by_cluster(replace(candidates, clusters=full), budget, seed)

    def _listed(self, samples: np.ndarray, candidates: Candidates, budget: int) -> np.ndarray:
        kept = samples[np.isin(samples, candidates.indices)]
        if len(kept) >= budget:
            return kept[:budget]
        skipped = len(samples) - len(kept)
        if not skipped:
            raise UserError(f"{self.path} lists {len(kept)} samples, and the budget is {budget}")
        raise UserError(
            f"{self.path} lists {len(samples)} samples, of which {skipped} are in the validation "
            f"set V, so {len(kept)} remain for a budget of {budget}; --data.val or another "
            "--seeds.split changes V"
        )


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home folder for {path!r}") from error


def resolve(table: Table, ids: Sequence[str], path: Path) -> np.ndarray:
    """(R,) int64 indices of the train samples that the rows of a table are about.

    Raises UserError at the first id or index that is unknown or occurs twice, where id and index
    contradict each other, and where a word could be either.
    """
    if table.names is None and table.indices is None:
        return _one_for_each(table, len(ids), path)
    samples = table.indices
    if table.names is not None:
        samples = _find(table.names, ids, path, table.words)
        if table.indices is not None and (apart := samples != table.indices).any():
            row = int(np.argmax(apart))
            raise UserError(
                f"row {row + 1} of {path} has index {table.indices[row]} beside the id "
                f"{table.names[row]}, which is sample {samples[row]} of this data set"
            )
    assert samples is not None
    return _check(samples, ids, path)


def _one_for_each(table: Table, count: int, path: Path) -> np.ndarray:
    assert table.values is not None
    if len(table.values) != count:
        hint = ", and as a list of indices it repeats some" if table.kind == "cluster" else ""
        raise UserError(
            f"{path} must hold one {table.kind} for each of the {count} train samples, but it "
            f"holds {len(table.values)}{hint}"
        )
    return np.arange(count)


def _find(names: list[str], ids: Sequence[str], path: Path, words: bool) -> np.ndarray:
    """(R,) positions of `names` in `ids`; of words that are all integers, the integers."""
    position = {name: index for index, name in enumerate(ids)}
    unknown = next((name for name in names if name not in position), None)
    if words and names and all(name.isascii() and name.isdigit() for name in names):
        # A number of more digits is of no sample either.
        if any(name in position for name in names):
            raise UserError(
                f"{path} holds numbers that could be ids or indices; give a .csv file with a "
                "column id or index"
            )
        return np.array([int(name.lstrip("0")[:DIGITS] or 0) for name in names])
    if unknown is not None:
        raise UserError(
            f"{path} names {unknown!r}, which is not a train sample; ids are such as {ids[0]!r}"
        )
    return np.array([position[name] for name in names], dtype=np.int64)


def _check(samples: np.ndarray, ids: Sequence[str], path: Path) -> np.ndarray:
    outside = samples[(samples < 0) | (samples >= len(ids))]
    if len(outside):
        raise UserError(
            f"{path} names index {outside[0]}, but train samples have indices 0 to {len(ids) - 1}"
        )
    first = np.unique(samples, return_index=True)[1]
    if len(first) < len(samples):
        again = np.setdiff1d(np.arange(len(samples)), first)[0]
        raise UserError(f"{path} names {ids[samples[again]]} more than once")
    return samples
