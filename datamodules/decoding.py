"""Image files: found in folders, read, and decoded to one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from datamodules.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
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


def map_files(
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

    digests = map_files(decode, range(len(decoder.paths)), decoder.path)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]
