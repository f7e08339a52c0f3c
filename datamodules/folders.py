"""The user's own images, in folders."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.decoding import SUFFIXES, FileDecoder, list_images, map_files
from datamodules.errors import UserError
from datamodules.sources import Opened, Raw

GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
LARGEST = 4096  # pixels of a side
log = logging.getLogger("initial_pools")


class ImageFolder:
    """The user's own images.

    `root/train/<class>/*` and `root/test/<class>/*`; or `root/<class>/*`, of which a share `test`
    of every class, drawn with `test_seed`, is the test part; or images without class folders,
    which have no labels: only an initial pool can be made of them.

    Args:
        size: the short side is resized to it, then the center square is cut out.
        test: share of every class that is tested on where there is no `root/test`.
    """

    name = "folder"
    from_files = True

    def __init__(self, root: str, size: int = 64, test: float = 0.2, test_seed: int = 0):
        if not 8 <= size <= LARGEST:
            raise UserError(f"data.size must be 8 to {LARGEST} pixels, not {size}")
        if not 0 < test < 1:
            raise UserError(f"data.test must be a share between 0 and 1, not {test}")
        self.root, self.size, self.test, self.test_seed = Path(root), size, test, test_seed
        self._paths: list[Path] | None = None

    @property
    def paths(self) -> list[Path]:
        """All image files, listed once."""
        if self._paths is None:
            if not self.root.is_dir():
                raise UserError(
                    f"the image folder {self.root.resolve()} does not exist; "
                    "give it with --data.root"
                )
            self._paths = list_images(self.root)
            if not self._paths:
                raise UserError(
                    f"there are no images in {self.root.resolve()} "
                    f"(looked for {' '.join(sorted(SUFFIXES))})"
                )
        return self._paths

    def fingerprint(self) -> str:
        return self._digest(lambda stat: f"{stat.st_size}")

    def cache_key(self) -> str:
        root = self.root.resolve()  # once, not for each of a million files
        return self._digest(lambda stat: f"{stat.st_size} {stat.st_mtime_ns} {root}")

    def _digest(self, describe: Callable[[os.stat_result], str]) -> str:
        digest = hashlib.sha256(f"folder-1 {self.size} {self.test} {self.test_seed}".encode())
        described = map_files(lambda path: describe(path.stat()), self.paths)
        for path, stat in zip(self.paths, described, strict=True):
            digest.update(f"\n{path.relative_to(self.root)}\0{stat}".encode())
        return f"folder-{digest.hexdigest()[:16]}"

    def open(self) -> Opened:
        modes = map_files(_mode, self.paths)
        channels = 1 if all(mode in GRAY_MODES for mode in modes) else 3
        parts: dict[str, list[Path]] = {}
        has_parts = (self.root / "train").is_dir()
        for path in self.paths:
            parts.setdefault(path.relative_to(self.root).parts[0] if has_parts else "", []).append(
                path
            )
        if not has_parts:
            return self._split(parts[""], channels)
        if "train" not in parts:
            raise UserError(f"there are no images in {self.root.resolve() / 'train'}")
        classes = _classes(parts["train"], self.root / "train")
        self._tell_others(sorted(set(parts) - {"train", "test"}), classes)
        train = self._raw(parts["train"], self.root / "train", classes, channels)
        if classes is None:
            return Opened(train, None, None)
        if "test" not in parts:
            raise UserError(f"{self.root.resolve()} has train/ but no images in test/")
        return Opened(
            train, self._raw(parts["test"], self.root / "test", classes, channels), classes
        )

    def _tell_others(self, others: list[str], classes: tuple[str, ...] | None) -> None:
        """Of folders beside train/ and test/; where train/ holds no classes, it may be one."""
        if others and classes is None:
            raise UserError(
                f"{self.root.resolve()}: train/ holds images without classes, and {others[0]}/ "
                "others beside it; if train is a class, put all classes into a folder train/"
            )
        if others:
            log.warning("images in %s beside train/ and test/ are left out", ", ".join(others))

    def _split(self, paths: list[Path], channels: int) -> Opened:
        classes = _classes(paths, self.root)
        whole = self._raw(paths, self.root, classes, channels)
        if whole.labels is None:
            return Opened(whole, None, None)
        rng = np.random.default_rng(self.test_seed)
        is_test = np.zeros(len(paths), dtype=bool)
        for label in range(len(classes or ())):
            members = rng.permutation(np.flatnonzero(whole.labels == label))
            is_test[members[: round(self.test * len(members))]] = True
        if not is_test.any() or is_test.all():
            raise UserError(
                f"{len(paths)} images are too few to hold {self.test:g} out for testing"
            )
        return Opened(
            whole.subset(np.flatnonzero(~is_test)), whole.subset(np.flatnonzero(is_test)), classes
        )

    def _raw(
        self, paths: list[Path], base: Path, classes: tuple[str, ...] | None, channels: int
    ) -> Raw:
        ids = [path.relative_to(self.root).as_posix() for path in paths]
        labels = None
        if classes is not None:
            number = {name: i for i, name in enumerate(classes)}
            names = [path.relative_to(base).parts[0] for path in paths]
            if strange := sorted(set(names) - set(classes)):
                raise UserError(f"{base}: classes that train/ does not have: {', '.join(strange)}")
            labels = np.array([number[name] for name in names], dtype=np.int64)
        return Raw(ids, labels, FileDecoder(paths, channels, self.size))


def _mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def _classes(paths: list[Path], base: Path) -> tuple[str, ...] | None:
    """Names of the class folders; None where the images lie in none."""
    depths = {len(path.relative_to(base).parts) > 1 for path in paths}
    if depths == {False}:
        return None
    if depths == {True, False}:
        loose = next(p for p in paths if len(p.relative_to(base).parts) == 1)
        raise UserError(
            f"{base}: some images lie in class folders and some do not, for example {loose}; with "
            "labels for a part only, keep that part in a folder of its own"
        )
    names = tuple(sorted({path.relative_to(base).parts[0] for path in paths}))
    if len(names) == 1:
        raise UserError(f"{base}: a classifier needs at least two classes, found only {names[0]!r}")
    return names
