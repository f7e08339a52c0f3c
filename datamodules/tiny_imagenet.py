"""Tiny ImageNet: 200 classes at 64 px, in its standard folder layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from datamodules.decoding import FileDecoder
from datamodules.errors import UserError
from datamodules.sources import Opened, Raw, downloading

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
FOLDER = "tiny-imagenet-200"


class TinyImageNet:
    """100,000 train images; the 10,000 of the official validation part are the test part.

    Class number = rank of the sorted WordNet ids. Downloaded, checked and unpacked when absent.
    """

    name = "tiny_imagenet"
    from_files = True

    def __init__(self, root: str):
        self.root = Path(root)

    def fingerprint(self) -> str:
        return "tiny_imagenet-1"

    def cache_key(self) -> str:
        return f"tiny_imagenet-1 {self.root.resolve()}"

    def open(self) -> Opened:
        folder = self.root / FOLDER
        if not (folder / "wnids.txt").is_file():
            self._download()
        try:
            return self._read(folder)
        except FileNotFoundError as error:
            raise UserError(
                f"{folder} is incomplete ({error.filename} is missing); delete it to download again"
            ) from error

    def _read(self, folder: Path) -> Opened:
        classes = tuple(sorted((folder / "wnids.txt").read_text(encoding="utf-8").split()))
        number = {name: i for i, name in enumerate(classes)}
        train = [p for name in classes for p in sorted((folder / "train" / name).rglob("*.JPEG"))]
        train_labels = [number[p.relative_to(folder / "train").parts[0]] for p in train]
        lines = (folder / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
        rows = sorted(line.split("\t")[:2] for line in lines)
        test = [folder / "val" / "images" / name for name, _ in rows]
        return Opened(
            self._raw(train, train_labels), self._raw(test, [number[w] for _, w in rows]), classes
        )

    def _raw(self, paths: list[Path], labels: list[int]) -> Raw:
        if not paths:
            raise UserError(f"{self.root / FOLDER} holds no images; delete it to download it again")
        ids = [path.relative_to(self.root / FOLDER).as_posix() for path in paths]
        return Raw(ids, np.array(labels, dtype=np.int64), FileDecoder(paths, 3, 64))

    def _download(self) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        with downloading("Tiny ImageNet", self.root):
            scratch = self.root / f".{FOLDER}"  # renamed when complete: never there by half
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            download_and_extract_archive(URL, str(self.root), str(scratch), md5=MD5)
            (scratch / FOLDER).rename(self.root / FOLDER)
            scratch.rmdir()
