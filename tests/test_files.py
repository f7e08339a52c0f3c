"""Files and folders are complete or absent, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.files import put_in_place, save_atomic, write_atomic


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "below" / "file.bin"
    write_atomic(file, b"whole")

    def half(scratch: Path) -> None:
        scratch.write_bytes(b"ha")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        save_atomic(file, half)
    assert file.read_bytes() == b"whole"
    write_atomic(file, b"another")
    assert [f.name for f in file.parent.iterdir()] == ["file.bin"]
    assert file.read_bytes() == b"another"


@pytest.mark.parametrize("names", [[], ["one", "two"]], ids=["a file", "a folder"])
def test_all_is_on_the_disk_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    scratch, place, synced = tmp_path / ".new", tmp_path / "new", []
    if names:
        scratch.mkdir()
    files = [scratch / name for name in names] or [scratch]
    for file in files:
        file.write_text(file.name)
    inodes = {file.stat().st_ino for file in files}
    replace = os.replace

    def replaced(source: Path, target: Path) -> None:
        assert set(synced) == inodes
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    monkeypatch.setattr(os, "replace", replaced)
    put_in_place(scratch, place)
    assert place.exists()
    assert not scratch.exists()


def test_a_full_folder_keeps_its_place(tmp_path: Path) -> None:
    for name in ("first", ".second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match="first"):
        put_in_place(tmp_path / ".second", tmp_path / "first")
    assert (tmp_path / "first/file").read_text() == "first"
