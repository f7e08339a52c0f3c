"""Tables of the user's own: samples, scores or clusters in .csv, .parquet, .npy and .txt files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from datamodules.errors import UserError

SUFFIXES = (".csv", ".parquet", ".npy", ".txt")
VALUES = ("score", "cluster")
LARGEST = 2**53  # whole number, up to which float64 holds them all


@dataclass(frozen=True)
class Table:
    """What a file says. Without names and indices there is one value for each train sample."""

    kind: str  # list, score or cluster
    values: np.ndarray | None = None  # (R,) float64 scores or int64 clusters
    names: list[str] | None = None  # (R,)
    indices: np.ndarray | None = None  # (R,) int64
    words: bool = False  # `names` may be ids or indices


def read_table(path: Path) -> Table:
    """Reads a file by its suffix; a UserError says what is wrong with it."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise ValueError("it is an archive of several arrays")
            return _from_array(values, path)
        if suffix == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return Table("list", names=[line.strip() for line in lines if line.strip()], words=True)
        if suffix == ".parquet":
            # As columns, whatever pandas noted about an index or a folder's name says.
            return _from_frame(pq.ParquetFile(path).read().to_pandas(ignore_metadata=True), path)
        # As text: an id may be "007" or "NA".
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if not isinstance(frame.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its first line")
        return _from_frame(frame, path)
    except (ValueError, EOFError, OSError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} cannot be read as a {suffix} file: {cause}") from error


def _from_array(values: np.ndarray, path: Path) -> Table:
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise UserError(
            f"{path} must hold one dimension of integers or floats, not {values.dtype} of shape "
            f"{values.shape}"
        )
    if values.dtype.kind == "f":
        return Table("score", values.astype(np.float64))
    if values.max(initial=0) > LARGEST:
        raise UserError(
            f"{path} holds {values.max()}, which is too large for an index or a cluster"
        )
    values = values.astype(np.int64)
    if len(np.unique(values)) < len(values):
        return Table("cluster", values)
    return Table("list", indices=values)


def _from_frame(frame: pd.DataFrame, path: Path) -> Table:
    frame = frame.rename(columns=lambda name: str(name).strip())
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"{path} has two columns {twice}; remove one of them")
    if not {"id", "index"} & set(frame.columns):
        found = ", ".join(frame.columns)
        raise UserError(f"{path} needs a column id or index; its columns are {found}")
    names = [str(name) for name in frame["id"]] if "id" in frame else None
    indices = _numbers(frame, "index", path, whole=True) if "index" in frame else None
    if "rank" in frame:
        best_first = np.argsort(_numbers(frame, "rank", path), kind="stable")
        names = names and [names[row] for row in best_first]
        return Table("list", None, names, None if indices is None else indices[best_first])
    kinds = [kind for kind in VALUES if kind in frame]
    if len(kinds) > 1:
        raise UserError(f"{path} has both a column score and a column cluster; remove one of them")
    if not kinds:
        return Table("list", None, names, indices)
    values = _numbers(frame, kinds[0], path, whole=kinds == ["cluster"])
    return Table(kinds[0], values, names, indices)


def _numbers(frame: pd.DataFrame, column: str, path: Path, whole: bool = False) -> np.ndarray:
    """A column as float64, or int64 where it must be `whole`; the first wrong value is named."""
    numbers = np.array([_number(value) for value in frame[column]], dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if whole:
        wrong |= (np.floor(numbers) != numbers) | (np.abs(numbers) > LARGEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        what = "whole numbers" if whole else "finite numbers"
        raise UserError(
            f"column {column} of {path} must hold {what}; row {row + 1} holds "
            f"{str(frame[column].iloc[row])!r}"
        )
    return numbers.astype(np.int64) if whole else numbers


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan
