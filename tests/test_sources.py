"""Data sets: what they hold, how they are cached, streamed and refused."""

from __future__ import annotations

import hashlib
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import caching, images
from datamodules.errors import UserError
from datamodules.images import Images, load_images
from datamodules.sources import (
    BORDERS,
    CIFAR,
    MNIST,
    ArrayDecoder,
    Digits,
    Imbalanced,
    long_tail_sizes,
)
from datamodules.tiny_imagenet import TinyImageNet
from pretext.score import open_folder


def same_pixels(one: Images, other: Images) -> bool:
    every = np.arange(len(one.train))
    return bool((one.train.take(every) == other.train.take(every)).all())


def test_digits_have_a_fixed_split(tmp_path: Path) -> None:
    images = load_images(Digits(), tmp_path)
    assert (len(images.train), len(images.test)) == (1433, 364)
    assert images.train.shape == (1, 8, 8)
    assert images.train.ids[17] == "train/00017"
    assert int(images.train.pixels.max()) == 255
    assert np.bincount(images.test.labels).min() >= 35
    digest = hashlib.sha256(images.train.pixels.numpy().tobytes()).hexdigest()
    assert digest.startswith("f617d3605e7450d6")


def test_statistics_of_the_digits_are_those_of_their_yaml(tmp_path: Path) -> None:
    import yaml

    from tests.conftest import ROOT

    stored = yaml.safe_load((ROOT / "conf/data/digits.yaml").read_text())
    pixels = load_images(Digits(), tmp_path).train.pixels.double() / 255
    assert stored["mean"] == [pytest.approx(pixels.mean().item(), abs=5e-4)]
    assert stored["std"] == [pytest.approx(pixels.std().item(), abs=5e-4)]


@pytest.mark.real_data
def test_mnist_is_the_published_one_padded(data_root: str, tmp_path: Path) -> None:
    images = load_images(MNIST(data_root), tmp_path)
    assert images.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert images.train.shape == (1, 32, 32)
    inner = images.train.pixels[:, :, 2:30, 2:30]
    assert int(images.train.pixels.sum()) == int(inner.sum()), "the border is not zero"
    inner = inner.float() / 255
    assert inner.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert inner.std().item() == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.real_data
def test_cifar10_and_its_long_tail(data_root: str, tmp_path: Path) -> None:
    images = load_images(CIFAR(data_root), tmp_path)
    assert images.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    pixels = images.train.pixels.double() / 255
    assert np.allclose(pixels.mean(dim=(0, 2, 3)), [0.49140, 0.48216, 0.44653], atol=1e-4)
    assert np.allclose(pixels.std(dim=(0, 2, 3)), [0.24703, 0.24349, 0.26159], atol=1e-4)
    tail = load_images(Imbalanced(CIFAR(data_root), 50), tmp_path)
    sizes = [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
    assert np.bincount(tail.train.labels).tolist() == sizes
    assert len(tail.test) == 10_000
    originals = np.array([int(name.split("/")[1]) for name in tail.train.ids])
    assert (np.diff(originals) > 0).all()
    assert (tail.train.pixels == images.train.pixels[originals]).all()
    other = Imbalanced(CIFAR(data_root), 50, seed=1).open().train
    assert np.bincount(other.labels).tolist() == sizes
    assert set(other.ids) != set(tail.train.ids)


def test_long_tail_of_uneven_classes() -> None:
    counts = np.array([10, 400, 400])
    sizes = long_tail_sizes(counts, 10)
    assert sizes.tolist() == [10, 85, 27]
    assert (sizes <= counts).all()
    with pytest.raises(UserError, match="at least 1"):
        Imbalanced(Digits(), 0.5)


def test_any_data_can_be_imbalanced(tmp_path: Path) -> None:
    images = load_images(Imbalanced(Digits(), 10), tmp_path)
    counts = np.bincount(images.train.labels)
    assert counts[0] == pytest.approx(10 * counts[9], rel=0.1)
    assert same_pixels(images, load_images(Imbalanced(Digits(), 10), tmp_path / "again"))


def test_missing_data_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    for source in (MNIST(str(tmp_path / "none")), CIFAR(str(tmp_path / "none")),
                   TinyImageNet(str(tmp_path / "none"))):  # fmt: skip
        with pytest.raises(UserError, match=r"is not under .*none.* --data.root") as caught:
            source.open()
        assert "\n" not in str(caught.value)
        assert socket.getdefaulttimeout() is None, "every later connection would be cut off"


def test_the_cache_is_read_without_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(Digits(), tmp_path)
    monkeypatch.setattr(Digits, "open", lambda self: pytest.fail("opened again"))
    second = load_images(Digits(), tmp_path)
    assert same_pixels(first, second)
    assert second.train.ids == first.train.ids
    assert second.classes == first.classes
    streamed = load_images(Digits(), tmp_path, in_memory=False)
    assert streamed.train.pixels is None
    assert same_pixels(first, streamed)


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    load_images(Digits(), tmp_path)
    (file,) = tmp_path.glob("digits/images-*/train.npy")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match="is damaged"):
        load_images(Digits(), tmp_path)


def test_a_failed_cache_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayDecoder, "__call__", full)
    with pytest.raises(OSError, match="No space"):
        load_images(Digits(), tmp_path)
    kept = [p for p in tmp_path.rglob("*") if p.is_file() or "images" in p.name]
    assert {p.suffix for p in kept} <= {".lock"}


def test_two_hosts_whose_locks_are_their_own_make_whole_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second starts while the first writes, and the first ends before it."""
    write, inside = caching._write_part, []

    def both(*given: Any) -> Any:
        if not inside:
            inside.append(None)
            inside[0] = load_images(Digits(), tmp_path)
        return write(*given)

    monkeypatch.setattr(caching, "_write_part", both)
    for folder in ("digits", "other/digits"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(images, "locked", lambda _: nullcontext())
    first = load_images(Digits(), tmp_path)
    assert same_pixels(first, inside[0])
    assert same_pixels(first, load_images(Digits(), tmp_path / "other"))
    assert [f.name for f in (tmp_path / "digits").iterdir() if f.name.startswith(".")] == []


@pytest.mark.parametrize("in_memory", [True, False])
def test_tiny_imagenet_in_its_standard_layout(tmp_path: Path, in_memory: bool) -> None:
    """A small stand-in with the published layout: three classes, listed out of order."""
    root = tmp_path / "tiny-imagenet-200"
    names = ["n02", "n01", "n03"]
    lines = []
    for i, name in enumerate(names):
        folder = root / "train" / name / "images"
        folder.mkdir(parents=True)
        for j in range(2):
            color = Image.new("RGB", (64, 64), (50 * i, 0, j))
            color.save(folder / f"{name}_{j}.JPEG", quality=100)
    (root / "val/images").mkdir(parents=True)
    for j, name in enumerate(["n03", "n01"]):
        Image.new("L", (64, 64), 100 * j).save(root / f"val/images/val_{j}.JPEG")
        lines.append(f"val_{j}.JPEG\t{name}\t0\t0\t62\t62")
    (root / "wnids.txt").write_text("\n".join(names))
    (root / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    images = load_images(TinyImageNet(str(tmp_path)), tmp_path / "a", in_memory)
    assert images.classes == ("n01", "n02", "n03")
    assert images.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.test.labels.tolist() == [2, 0]
    assert images.train.take(np.array([4])).shape == (1, 3, 64, 64)
    assert abs(int(images.train.take(np.array([4]))[0, 0].float().mean()) - 100) <= 2


@pytest.mark.real_data
def test_new_images_of_mnist_are_read_as_its_own(data_root: str, tmp_path: Path) -> None:
    """28 pixels, which `--score` must not enlarge to the 32 that a model sees."""
    train = MNIST(data_root).open().train
    own = train.decoder(np.arange(5))
    for i, image in enumerate(own[:, 0, 2:-2, 2:-2]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    part = open_folder(tmp_path, (1, 32, 32), BORDERS["mnist"])
    assert np.array_equal(part.take(np.arange(5)).numpy(), own)
