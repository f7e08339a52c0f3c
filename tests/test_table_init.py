"""Pools from the user's own files: lists, scores and clusters, and what is wrong with them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import UserError
from datamodules.initial import Candidates
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.scores import ScoreInit
from datamodules.inits.table import TableInit
from tests.init_candidates import IDS, NUM, make


def write(file: Path, frame: dict[str, Any]) -> TableInit:
    """The columns as a .csv or .parquet, a lone one also as .txt or .npy."""
    if file.suffix == ".csv":
        pd.DataFrame(frame).to_csv(file, index=False)
    elif file.suffix == ".parquet":
        pd.DataFrame(frame).to_parquet(file, index=False)
    elif file.suffix == ".txt":
        file.write_text(
            "".join(f"{value}\n" for value in next(iter(frame.values()))), encoding="utf-8"
        )
    else:
        np.save(file, next(iter(frame.values())))
    return TableInit(str(file))


LISTED = [41, 3, 7, 55, 0, 9, 12]  # 3 and 9 are in V


@pytest.mark.parametrize(
    ("suffix", "column"),
    [(".npy", "index"), *itertools.product([".csv", ".parquet", ".txt"], ["id", "index"])],
)
def test_a_list_is_taken_in_its_order(tmp_path: Path, suffix: str, column: str) -> None:
    values = [IDS[i] for i in LISTED] if column == "id" else LISTED
    init = write(tmp_path / f"pool{suffix}", {column: values})
    assert init(make(), 4, seed=0).tolist() == [41, 7, 55, 0]
    with pytest.raises(
        UserError, match=r"lists 7 .* 2 are in .* V, so 5 remain .* of 6; --data\.val"
    ):
        init(make(), 6, seed=0)
    (tmp_path / f"pool{suffix}").unlink()
    assert init(make(), 5, seed=0).tolist() == [41, 7, 55, 0, 12]  # read once


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_runs_own_lists_are_lists(tmp_path: Path, suffix: str) -> None:
    """selected.parquet has ranks beside scores that a random pool does not have."""
    rows = [(2, 7), (0, 55), (1, 41)]
    frame = {
        "id": [IDS[i] for _, i in rows],
        "index": [i for _, i in rows],
        "rank": [rank for rank, _ in rows],
        "score": [np.nan] * 3,
    }
    init = write(tmp_path / f"selected{suffix}", frame)
    assert init(make(), 3, seed=0).tolist() == [55, 41, 7]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_a_table_of_scores_is_that_artifact(tmp_path: Path, suffix: str) -> None:
    candidates = make()
    scores = np.nan_to_num(candidates.scores)  # type: ignore[call-overload]
    rows = np.arange(NUM) if suffix == ".npy" else np.random.default_rng(2).permutation(NUM)
    columns = {"score": scores[rows]} if suffix == ".npy" else {"id": [IDS[i] for i in rows]}
    init = write(tmp_path / f"scores{suffix}", columns | {"score": scores[rows]})
    bare = replace(candidates, scores=None)
    assert np.array_equal(init(bare, 20, 4), ScoreInit()(candidates, 20, 4))
    easiest = TableInit(str(init.path), order="easiest")
    assert np.array_equal(easiest(bare, 20, 4), ScoreInit("easiest")(candidates, 20, 4))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("shares", ["equal", "proportional"])
def test_a_table_of_clusters_is_that_artifact(tmp_path: Path, suffix: str, shares: str) -> None:
    candidates = make()
    clusters = np.asarray(candidates.clusters)
    rows = np.arange(NUM) if suffix == ".npy" else np.random.default_rng(2).permutation(NUM)
    columns = {} if suffix == ".npy" else {"index": rows}
    file = write(tmp_path / f"clusters{suffix}", columns | {"cluster": clusters[rows]}).path
    init = TableInit(str(file), shares=shares)
    bare = replace(candidates, clusters=None)
    assert np.array_equal(init(bare, 22, 4), ClusterInit(shares)(candidates, 22, 4))


def test_ids_are_texts(tmp_path: Path) -> None:
    ids = ("NA", "007", "7", "a,b", "nan", "")
    (tmp_path / "pool.csv").write_text('rank,id\n0,007\n1,"a,b"\n2,NA\n3,7\n4,nan\n')
    candidates = Candidates(np.arange(5), 2, ids=ids)
    pool = TableInit(str(tmp_path / "pool.csv"))(candidates, 5, seed=0)
    assert pool.tolist() == [1, 3, 0, 2, 4]


WRONG_TABLES = {
    "unknown id": ("a.csv", {"id": [IDS[1], "train/1", "x"]}, r"names 'train/1', .*'train/00000'"),
    "unknown word": ("a.txt", {"id": ["5", "six"]}, "names '5'"),
    "index too large": ("a.csv", {"index": [1, 60]}, "index 60, .* 0 to 59"),
    "index too small": ("a.npy", {"index": np.array([1, -1])}, "index -1"),
    "fraction": ("a.csv", {"index": [1, 2.5]}, "whole numbers; row 2 holds '2.5'"),
    "twice": ("a.txt", {"id": [IDS[4], IDS[5], IDS[4], IDS[5]]}, "train/00004 more than once"),
    "contradiction": ("a.csv", {"id": IDS[:3], "index": [0, 2, 1]}, "row 2 .*index 2 .*sample 1"),
    "few scores": ("a.csv", {"id": IDS[:40], "score": np.zeros(40)}, "no score for 20 .*00040"),
    "few clusters": ("a.csv", {"id": IDS[5:], "cluster": [0] * 55}, "no cluster for 4 .*00000"),
    "no number": ("a.csv", {"id": IDS, "score": ["?"] * 60}, r"finite numbers; row 1 holds '\?'"),
    "no finite": ("a.parquet", {"id": IDS, "score": [1.0, np.inf] * 30}, "row 2 holds 'inf'"),
    "two values": ("a.csv", {"id": IDS, "score": [0] * 60, "cluster": [0] * 60}, "remove one"),
    "no names": ("a.csv", {"name": IDS}, "needs a column id or index; its columns are name"),
    "few floats": ("a.npy", {"score": np.zeros(59)}, "one score for each of the 60 .* holds 59"),
    "few integers": ("a.npy", {"cluster": np.zeros(59, int)}, "one cluster .* repeats some"),
    "matrix": ("a.npy", {"score": np.zeros((60, 2))}, "one dimension"),
    "texts": ("a.npy", {"id": np.array(IDS)}, "integers or floats"),
    "too short": ("a.txt", {"id": IDS[10:14]}, "lists 4 samples, and the budget is 5"),
    "too many digits": ("a.txt", {"id": ["0" * 20 + "5", "9" * 5000]}, "index 9{18}, .* 0 to 59"),
    "huge": ("a.npy", {"index": np.array([2**63], np.uint64)}, "holds 9223372036854775808"),
    "large float": ("a.csv", {"index": [1, 1e300]}, r"whole numbers; row 2 holds '1e\+300'"),
    "column twice": ("a.csv", {"index": [1], " index": [1]}, "has two columns index"),
    "empty": ("a.txt", {"id": []}, "lists 0 samples"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_wrong_tables_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    file, frame, match = WRONG_TABLES[name]
    init = write(tmp_path / file, frame)
    with pytest.raises(UserError, match=match) as caught:
        init(make(), 5, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".txt"])
def test_files_that_are_something_else(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"broken{suffix}"
    for content in (b"\x80\x81\xff\x00PAR1", b'id,score\n"a,1\nb,2,3,4\n', b""):
        file.write_bytes(content)
        if (suffix, content[:1]) in {(".txt", b"i"), (".txt", b"")}:
            continue  # a text all the same
        with pytest.raises(UserError, match=f"cannot be read as a {suffix} file"):
            TableInit(str(file))(make(), 2, seed=0)


def test_archives_and_unknown_homes(tmp_path: Path) -> None:
    with open(tmp_path / "pool.npy", "wb") as file:
        np.savez(file, np.arange(3))
    with pytest.raises(UserError, match=r"\.npy file: it is an archive"):
        TableInit(str(tmp_path / "pool.npy"))(make(), 2, seed=0)
    with pytest.raises(ValueError, match=r"no home folder for '~nobody_of_this_name/x\.csv'"):
        TableInit("~nobody_of_this_name/x.csv")


@pytest.mark.parametrize("name", ["pool.xlsx", "pool"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"\.npy or \.txt, not '{Path(name).suffix}'"):
        TableInit(str(tmp_path / name))


def test_rows_longer_than_the_header_are_not_shifted(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("id\ntrain/00001,train/00002\n")
    with pytest.raises(UserError, match="more fields"):
        TableInit(str(tmp_path / "pool.csv"))(make(), 1, seed=0)


def test_numbers_that_are_ids_as_well_are_not_guessed(tmp_path: Path) -> None:
    init = write(tmp_path / "pool.txt", {"id": ["1", "2"]})
    candidates = Candidates(np.arange(4), 2, ids=("2", "1", "0", "x"))
    with pytest.raises(UserError, match="could be ids or indices"):
        init(candidates, 2, seed=0)
