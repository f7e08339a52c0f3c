"""Folders of images: parts and classes, decoding, what cannot be read, and the same data again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.decoding import FileDecoder, decode_all, list_images
from datamodules.errors import UserError
from datamodules.folders import ImageFolder
from datamodules.images import load_images
from tests.conftest import write_images


def test_folder_with_train_and_test(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("test", 3)):
        for i, name in enumerate(("cat", "dog")):
            write_images(tmp_path / "x" / part / name, count, seed=i)
    images = load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "a")
    assert images.classes == ("cat", "dog")
    assert (len(images.train), len(images.test)) == (10, 6)
    assert images.train.ids[0] == "train/cat/000.png"
    assert images.train.labels.tolist() == [0] * 5 + [1] * 5
    assert images.train.shape == (3, 8, 8)


def test_folder_with_classes_only_is_split_by_seed(tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        write_images(tmp_path / "x" / name, 10, seed=i)

    def test_ids(seed: int) -> list[str]:
        source = ImageFolder(str(tmp_path / "x"), size=8, test=0.3, test_seed=seed)
        images = load_images(source, tmp_path / "a")
        assert np.bincount(images.test.labels).tolist() == [3, 3, 3]
        assert not set(images.test.ids) & set(images.train.ids)
        return images.test.ids

    assert test_ids(0) == test_ids(0) != test_ids(1)


def test_folder_without_classes_has_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "x", 4)
    images = load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "a")
    assert images.classes is images.test is images.train.labels is None
    assert images.train.ids == ["000.png", "001.png", "002.png", "003.png"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_unreadable_images_are_all_listed(tmp_path: Path, in_memory: bool) -> None:
    for i, name in enumerate("ab"):
        write_images(tmp_path / "x" / name, 4, seed=i)
    whole = (tmp_path / "x/a/000.png").read_bytes()
    (tmp_path / "x/a/cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no JPEG")
    (tmp_path / "x/b/cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="unreadable") as caught:
        load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "a", in_memory)
    assert "a/cut.jpg" in str(caught.value) or "b/cut.png" in str(caught.value)
    (tmp_path / "x/a/cut.jpg").unlink()
    with pytest.raises(UserError, match=r"b/cut\.png"):
        load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "a", in_memory)
    (tmp_path / "x/b/cut.png").unlink()
    for link, target in (("a/dead.png", "nowhere.png"), ("b/loop.png", "loop.png")):
        (tmp_path / "x" / link).symlink_to(target)
    with pytest.raises(UserError, match=r"unreadable images: .*a/dead\.png, .*b/loop\.png$"):
        load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "a", in_memory)
    for link in ("a/dead.png", "b/loop.png"):
        (tmp_path / "x" / link).unlink()
    assert len(load_images(ImageFolder(str(tmp_path / "x")), tmp_path / "a", in_memory).train) == 6


def test_gray_only_if_all_are(tmp_path: Path) -> None:
    write_images(tmp_path / "x/a", 3, color=False)
    write_images(tmp_path / "x/b", 3, color=False)
    source = ImageFolder(str(tmp_path / "x"), size=8)
    assert load_images(source, tmp_path / "1").train.shape[0] == 1
    write_images(tmp_path / "x/c", 1)
    write_images(tmp_path / "x/c", 3)
    source = ImageFolder(str(tmp_path / "x"), size=8)
    assert load_images(source, tmp_path / "1").train.shape[0] == 3


@pytest.mark.parametrize("size", [(20, 16), (16, 33), (64, 64), (12, 9)])
def test_decoding_equals_torchvisions_resize_and_crop(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    from torchvision.transforms import v2

    write_images(tmp_path, 1, size=size)
    ours = FileDecoder([tmp_path / "000.png"], 3, 16)(np.array([0]))[0]
    image = Image.open(tmp_path / "000.png").convert("RGB")
    theirs = v2.Compose([v2.Resize(16), v2.CenterCrop(16)])(image)
    difference = np.abs(ours.astype(int) - np.asarray(theirs).transpose(2, 0, 1).astype(int))
    assert difference.max() <= 1


def test_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    turned = FileDecoder([tmp_path / "turned.png"], 3, 8)(np.array([0]))[0, 0]
    assert (turned[:, -1] == 255).all()
    assert turned.sum() == 8 * 255


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("16.png", np.uint16, 0x8040), ("16.pgm", np.uint16, 0x8040), ("32.tif", np.int32, 0x8040),
     ("float.tif", np.float32, 0.503)],
)  # fmt: skip
def test_gray_of_more_than_8_bits_is_scaled(
    tmp_path: Path, name: str, kind: type, value: float
) -> None:
    Image.fromarray(np.full((8, 8), value, dtype=kind)).save(tmp_path / name)
    assert (FileDecoder([tmp_path / name], 1, 8)(np.array([0])) == 0x80).all()


def test_paths_are_kept_as_bytes(tmp_path: Path) -> None:
    """Not as one object a file, 464 bytes each, which workers copy; nor as text of 4 bytes each."""
    names = ["a.png", "größer.png", "\udcff.png"]  # the last is no UTF-8
    decoder = FileDecoder([tmp_path / name for name in names], 3, 8)
    assert [decoder.path(i) for i in range(3)] == [tmp_path / name for name in names]
    assert decoder.subset(np.array([2, 0])).path(0) == tmp_path / names[2]
    assert decoder.paths.nbytes <= 3 * len(os.fsencode(tmp_path / names[1]))


def test_floats_outside_0_to_1_are_unreadable(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 200, dtype=np.float32)).save(tmp_path / "far.tif")
    with pytest.raises(UserError, match=r"unreadable images: .*far.tif"):
        decode_all(FileDecoder([tmp_path / "far.tif"], 1, 8), None)


def test_a_border_is_of_zeros(tmp_path: Path) -> None:
    """As MNIST's 28 pixels are made 32."""
    write_images(tmp_path, 1, color=False, size=(28, 28))
    padded = FileDecoder([tmp_path / "000.png"], 1, 32, 2)(np.array([0]))[0, 0]
    assert np.array_equal(padded, np.pad(np.asarray(Image.open(tmp_path / "000.png")), 2))


def test_links_are_followed_and_hidden_folders_left_out(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 2)
    write_images(tmp_path / "mine/cat", 2)
    write_images(tmp_path / "mine/cat/.ipynb_checkpoints", 1)
    write_images(tmp_path / "mine/.thumbs", 1)
    (tmp_path / "mine/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/dog/again").symlink_to(tmp_path / "mine")
    (tmp_path / "mine/puma").symlink_to(tmp_path / "mine/cat")
    root = tmp_path / "mine"
    found = [path.relative_to(root).as_posix() for path in list_images(root)]
    assert found == [f"{name}/{n:03d}.png" for name in ("cat", "dog", "puma") for n in range(2)]


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        ([], "no images"),
        (["only/0"], "at least two classes, found only 'only'"),
        (["a/0", "b/0", ""], "some images lie in class folders and some do not, for example .*png"),
        (["train/a", "train/b"], "no images in test"),
        (["train/a", "train/b", "test/c"], "classes that train/ does not have: c"),
        (["train", "bus", "car"], "bus/ others beside it; if train is a class, put all"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, layout: list[str], sentence: str) -> None:
    (tmp_path / "x").mkdir()
    for name in layout:
        write_images(tmp_path / "x" / name, 2)
    with pytest.raises(UserError, match=sentence):
        load_images(ImageFolder(str(tmp_path / "x")), tmp_path / "a")


def test_folders_beside_train_and_test_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train/a", "train/b", "test/a", "val/a"):
        write_images(tmp_path / "x" / name, 2)
    assert len(load_images(ImageFolder(str(tmp_path / "x")), tmp_path / "a").train) == 4
    assert "images in val beside train/ and test/ are left out" in caplog.text


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_images(tmp_path / "x", 3)
    os.rename(tmp_path / "x/000.png", os.fsencode(tmp_path / "x") + b"/caf\xe9.png")
    with pytest.raises(UserError, match=r"names that are not UTF-8: .*caf\\xe9\.png'; rename"):
        load_images(ImageFolder(str(tmp_path / "x")), tmp_path / "a")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_images(ImageFolder(str(tmp_path / "none")), tmp_path / "a")


def test_a_touched_folder_is_decoded_again_but_stays_the_same_data(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        write_images(tmp_path / "x" / name, 3, seed=i)
    one = load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "1")
    os.utime(tmp_path / "x/a/000.png", (1, 1))
    two = load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "1")
    assert len(list((tmp_path / "1/folder").glob("images-*"))) == 2
    assert one.fingerprint == two.fingerprint
    write_images(tmp_path / "x/b", 4, seed=1)
    three = load_images(ImageFolder(str(tmp_path / "x"), size=8), tmp_path / "1")
    assert three.fingerprint != one.fingerprint


@pytest.mark.parametrize("in_memory", [True, False])
def test_other_pixels_are_other_data(tmp_path: Path, in_memory: bool) -> None:
    """Files of the same names and sizes: BMP files of one shape all have the same length."""
    found = []
    for value in (10, 20, 10):
        for name in "ab":
            (tmp_path / "x" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value, 0, 0)).save(tmp_path / "x" / name / "0.bmp")
            Image.new("RGB", (8, 8), (0, value, 0)).save(tmp_path / "x" / name / "1.bmp")
        source = ImageFolder(str(tmp_path / "x"), size=8, test=0.5)
        found.append(load_images(source, tmp_path / "a", in_memory).fingerprint)
    assert found[0] == found[2] != found[1]
