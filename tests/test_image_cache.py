"""The cache of decoded images: made once, by one of many processes; what loader workers get."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import images
from datamodules.images import load_images
from datamodules.loading import _Positions
from datamodules.sources import Digits

ROWS = np.array([3, 0, 7])


def test_processes_that_start_together_write_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], images.write_cache

    def slowly(*arguments: Any) -> None:
        written.append(arguments)
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(images, "write_cache", slowly)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: load_images(Digits(), tmp_path).train, range(3)))
    assert len(written) == 1
    assert all(torch.equal(part.pixels, parts[0].pixels) for part in parts)


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    load_images(Digits(), tmp_path)
    (cache,) = (tmp_path / "digits").glob("images-*")
    half = cache.with_name(f".{cache.name}.0123")
    cache.rename(half)
    load_images(Digits(), tmp_path)
    assert half.exists(), "another host may be writing it"
    shutil.rmtree(cache)
    os.utime(half, (0, 0))
    load_images(Digits(), tmp_path)
    assert not half.exists()


def test_pixels_are_not_sent_to_workers_that_can_open_them(tmp_path: Path) -> None:
    """Python 3.14 and macOS start workers that are sent what a forked one inherits."""
    part = load_images(Digits(), tmp_path).train
    sent = pickle.dumps(_Positions(part))
    assert len(sent) < 2000 < part.pixels.nbytes
    indices, pixels = pickle.loads(sent)[ROWS]
    assert torch.equal(pixels, part.take(ROWS))
    assert indices.tolist() == ROWS.tolist()


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EIO])
def test_more_pixels_than_memory_are_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Linux promises no private mapping of more than all memory; the cache is not damaged."""
    expected, load = load_images(Digits(), tmp_path).train.take(ROWS), np.load

    def refusing(file: Any, mmap_mode: str) -> Any:
        if mmap_mode == "c":
            raise OSError(number, "no")
        return load(file, mmap_mode=mmap_mode)

    monkeypatch.setattr(np, "load", refusing)
    if number != errno.ENOMEM:
        with pytest.raises(images.UserError, match="is damaged"):
            load_images(Digits(), tmp_path)
        return
    part = load_images(Digits(), tmp_path).train
    assert part.pixels is None
    assert torch.equal(part.take(ROWS), expected)
