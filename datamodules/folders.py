"""Data sets that are folders of image files: the user's own, and Tiny ImageNet."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from datamodules.errors import UserError
from datamodules.sources import Opened, Raw

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
log = logging.getLogger("initial_pools")
CHUNK = 64  # files that a thread takes at a time
SHOWN = 20  # unreadable files named in the message; the rest are counted
Item = TypeVar("Item")
Result = TypeVar("Result")


def list_images(folder: Path) -> list[Path]:
    """All image files below `folder`, sorted by path; links are followed, hidden files left out."""
    found: list[Path] = []
    above: dict[str, set[str]] = {}  # real folders from each one up to `folder`
    for root, folders, names in os.walk(folder, followlinks=True):
        real, higher = os.path.realpath(root), above.get(os.path.dirname(root), set())
        if real in higher:  # a link to a folder that it is in
            folders.clear()
            continue
        above[root] = higher | {real}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root) / name
            for name in names
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    if strange := [repr(os.fsencode(path)) for path in found if not _is_text(path)]:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise UserError(
            f"file names that are not UTF-8: {', '.join(strange[:SHOWN])}{more}; rename them"
        )
    return sorted(found)


def _is_text(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


class FileDecoder:
    """Decodes image files: short side to `size` with antialiasing, then the center square.

    Args:
        border: pixels of `size` on each side that are zeros around the image, as MNIST's are.
    """

    def __init__(self, paths: Iterable[str | Path], channels: int, size: int, border: int = 0):
        # Bytes in one array: workers would copy the pages of Path objects by counting references.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=bytes)
        self.shape, self.border = (channels, size, size), border

    def path(self, position: int) -> Path:
        return Path(os.fsdecode(self.paths[position]))

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        images = np.empty((len(positions), *self.shape), dtype=np.uint8)
        for row, position in enumerate(positions):
            images[row] = self.decode(position)
        return images

    def subset(self, keep: np.ndarray) -> FileDecoder:
        return FileDecoder(self.paths[keep], *self.shape[:2], self.border)

    def decode(self, position: int) -> np.ndarray:
        channels, side, _ = self.shape
        size = side - 2 * self.border
        with Image.open(self.path(position)) as opened:
            image = _in_8_bits(ImageOps.exif_transpose(opened))
            image = image.convert("L" if channels == 1 else "RGB")
        if min(image.size) != size:
            scale = size / min(image.size)
            width, height = (max(size, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        cropped = image.crop((left, top, left + size, top + size))
        pixels = np.asarray(ImageOps.expand(cropped, self.border) if self.border else cropped)
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits (32 where PIL widens them) or in [0, 1], scaled: PIL would clip it."""
    if image.mode.startswith("I"):
        pixels = np.clip(np.asarray(image), 0, 2**16 - 1) >> 8
    elif image.mode == "F":
        pixels = np.asarray(image) * 255
        if not (pixels.min() >= 0 and pixels.max() <= 255):
            raise ValueError("its pixels are floats outside [0, 1]")
    else:
        return image
    return Image.fromarray(pixels.astype(np.uint8))


def _map_files(
    function: Callable[[Item], Result], items: Sequence[Item], path: Callable[[Item], object] = str
) -> list[Result]:
    """`function` of every file, in threads; all unreadable files are named in one sentence."""

    def attempt(item: Item) -> Result | Exception:
        try:
            return function(item)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return error

    chunks = [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda chunk: [attempt(item) for item in chunk], chunks))
    results = [result for part in parts for result in part]
    failed = [item for item, r in zip(items, results, strict=True) if isinstance(r, Exception)]
    broken = [str(path(item)) for item in failed]
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        raise UserError(f"unreadable images: {', '.join(broken[:SHOWN])}{more}")
    return results  # type: ignore[return-value]


def decode_all(decoder: FileDecoder, out: np.ndarray | None) -> str:
    """Decodes every file once, into `out` where given: finds the broken ones before training.

    Returns a digest of all pixels, by which runs on other images are told apart.
    """

    def decode(position: int) -> bytes:
        pixels = decoder.decode(position)
        if out is not None:
            out[position] = pixels
        return hashlib.sha256(pixels.tobytes()).digest()

    digests = _map_files(decode, range(len(decoder.paths)), decoder.path)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


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
        if size < 8:
            raise UserError(f"data.size must be at least 8 pixels, not {size}")
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
        return self._digest(lambda stat: f"{stat.st_size} {stat.st_mtime_ns} {self.root.resolve()}")

    def _digest(self, describe: Callable[[os.stat_result], str]) -> str:
        digest = hashlib.sha256(f"folder-1 {self.size} {self.test} {self.test_seed}".encode())
        for path in self.paths:
            digest.update(f"\n{path.relative_to(self.root)}\0{describe(path.stat())}".encode())
        return f"folder-{digest.hexdigest()[:16]}"

    def open(self) -> Opened:
        modes = _map_files(_mode, self.paths)
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
