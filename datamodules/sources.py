"""Where each named data set's images come from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datamodules.errors import UserError


class Decoder(Protocol):
    """Positions -> (n, C, H, W) uint8 images; may be called in a worker process."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def __call__(self, positions: np.ndarray) -> np.ndarray: ...

    def subset(self, keep: np.ndarray) -> Decoder: ...


@dataclass(frozen=True)
class Raw:
    """One part of a data set before it is cached: names, labels and a way to the pixels."""

    ids: list[str]
    labels: np.ndarray | None
    decoder: Decoder

    def subset(self, keep: np.ndarray) -> Raw:
        assert self.labels is not None
        ids = [self.ids[i] for i in keep]
        return Raw(ids, self.labels[keep], self.decoder.subset(keep))


@dataclass(frozen=True)
class Opened:
    train: Raw
    test: Raw | None
    classes: tuple[str, ...] | None


class Source(Protocol):
    """A data set that can be opened: uint8 images (N, C, H, W), labels 0 to C - 1 or none.

    `fingerprint` names its content, wherever it lies, without reading pixels; runs are compared by
    it. `cache_key` also changes when files are touched or moved. To those of a class of the user's
    own its code, its attributes, the files that these name and its pixels are added.
    """

    name: str
    from_files: bool  # decoded file by file, so that streaming need not decode all of it first

    def fingerprint(self) -> str: ...

    def cache_key(self) -> str: ...

    def open(self) -> Opened: ...


@dataclass(frozen=True)
class ArrayDecoder:
    images: np.ndarray  # (N, C, H, W) uint8

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        return self.images[positions]

    def subset(self, keep: np.ndarray) -> ArrayDecoder:
        return ArrayDecoder(self.images[keep])


def _part(name: str, images: np.ndarray, labels: Any) -> Raw:
    ids = [f"{name}/{i:05d}" for i in range(len(images))]
    return Raw(ids, np.asarray(labels, dtype=np.int64), ArrayDecoder(np.ascontiguousarray(images)))


class Digits:
    """scikit-learn's 1,797 handwritten digits, 8x8, embedded: nothing is downloaded.

    The split is fixed: every fifth image of a class, in the published order, is a test image.
    """

    name = "digits"
    from_files = False

    def fingerprint(self) -> str:
        return "digits-1"

    cache_key = fingerprint

    def open(self) -> Opened:
        from sklearn.datasets import load_digits

        data, labels = load_digits(return_X_y=True)
        images = np.round(data.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        test = np.zeros(len(labels), dtype=bool)
        for label in range(10):
            test[np.flatnonzero(labels == label)[::5]] = True
        return Opened(
            _part("train", images[~test], labels[~test]),
            _part("test", images[test], labels[test]),
            tuple(map(str, range(10))),
        )


BORDERS = {"mnist": 2}  # pixels of zeros on each side of a data set's images


class MNIST:
    """60,000 + 10,000 digits, 28x28, zero-padded to 32x32.

    The study's code made 32 px by random resized crops, in the test as well; the paper is silent.
    """

    name = "mnist"
    from_files = False

    def __init__(self, root: str):
        self.root = root

    def fingerprint(self) -> str:
        return "mnist-1"

    cache_key = fingerprint

    def open(self) -> Opened:
        from torchvision.datasets import MNIST as TorchMNIST

        parts = []
        for part in ("train", "test"):
            raw = _torchvision(self.root, "MNIST", TorchMNIST, train=part == "train")
            around = 2 * (BORDERS[self.name],)
            padded = np.pad(raw.data.numpy()[:, None], ((0, 0), (0, 0), around, around))
            parts.append(_part(part, padded, raw.targets))
        return Opened(parts[0], parts[1], tuple(map(str, range(10))))


class CIFAR:
    """CIFAR-10 or CIFAR-100 (fine labels): 50,000 + 10,000 color images, 32x32."""

    from_files = False

    def __init__(self, root: str, num_classes: int = 10):
        self.root, self.num_classes, self.name = root, num_classes, f"cifar{num_classes}"

    def fingerprint(self) -> str:
        return f"{self.name}-1"

    cache_key = fingerprint

    def open(self) -> Opened:
        from torchvision import datasets

        reader = getattr(datasets, self.name.upper())
        parts = []
        for part in ("train", "test"):
            raw = _torchvision(self.root, self.name.upper(), reader, train=part == "train")
            parts.append(_part(part, raw.data.transpose(0, 3, 1, 2), raw.targets))
        return Opened(parts[0], parts[1], tuple(raw.classes))


def _torchvision(root: str, name: str, reader: Callable[..., Any], train: bool) -> Any:
    """torchvision's reader: what is under `root`, else what can be downloaded there."""
    try:
        return reader(root, train=train, download=False)
    except RuntimeError:
        pass  # torchvision's "Dataset not found or corrupted"
    with downloading(name, Path(root)):
        return reader(root, train=train, download=True)


@contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Around a download of data set `name` into `root`, which is made; UserError if it fails."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # a dead network is answered in seconds
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name} is not under {root.resolve()} and could not be downloaded "
            f"({' '.join(str(error).split())}); give its folder with --data.root or DATA_ROOT"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


class Imbalanced:
    """A source whose train part is thinned to an exponential long tail (Cui et al., 2019).

    Class i of C keeps floor(N / C * factor^(-i / (C - 1))) images, or all where it has fewer; the
    test part is untouched. Members are drawn by a generator of their own, and stay in the order and
    keep the ids of the full set. The study's code stored them class by class and drew another
    subset at each construction.
    """

    def __init__(self, source: Source, factor: float, seed: int = 0):
        if factor < 1:
            raise UserError(f"data.imbalance must be at least 1 (largest / smallest), not {factor}")
        self.source, self.factor, self.seed = source, factor, seed
        self.name, self.from_files = source.name, source.from_files

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()}-lt{self.factor:g}-{self.seed}"

    def cache_key(self) -> str:
        return f"{self.source.cache_key()}-lt{self.factor:g}-{self.seed}"

    def open(self) -> Opened:
        opened = self.source.open()
        labels = opened.train.labels
        if labels is None or opened.classes is None:
            raise UserError("data.imbalance needs labels, and this data set has none")
        sizes = long_tail_sizes(np.bincount(labels, minlength=len(opened.classes)), self.factor)
        rng = np.random.default_rng(self.seed)
        members = [
            rng.permutation(np.flatnonzero(labels == label))[:size]
            for label, size in enumerate(sizes)
        ]
        keep = np.sort(np.concatenate(members))
        return Opened(opened.train.subset(keep), opened.test, opened.classes)


def long_tail_sizes(counts: np.ndarray, factor: float) -> np.ndarray:
    """Class sizes of a long tail with largest / smallest = `factor`, capped by `counts`.

    >>> long_tail_sizes(np.full(10, 5000), 50).tolist()
    [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
    """
    decay = factor ** (-np.arange(len(counts)) / max(len(counts) - 1, 1))
    sizes = np.floor(counts.sum() / len(counts) * decay + 1e-6).astype(np.int64)
    return np.minimum(np.maximum(sizes, 1), counts)
