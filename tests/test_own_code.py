"""Code, settings and files of the user's own are part of what they compute."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.images import load_images
from datamodules.inits.controls import HistogramInit
from datamodules.inits.scores import ScoreInit
from datamodules.own import code_of
from datamodules.sources import ArrayDecoder, Imbalanced, Opened, Raw

INIT = """
from datamodules.initial import Init
from own_helper import sign

class Mine(Init):
    def __call__(self, candidates, budget, seed):
        return sign * candidates.indices[:budget]
"""
SOURCE = """
import numpy as np
from datamodules.sources import ArrayDecoder, Opened, Raw

class Npz:
    name, from_files = "mine", False

    def __init__(self, root, fold=0):
        self.root, self.fold = root, fold

    def fingerprint(self):
        return "mine-1"

    cache_key = fingerprint

    def open(self):
        images = np.load(self.root)[self.fold :]
        raw = Raw([str(i) for i in range(len(images))], np.arange(len(images)) % 2,
                  ArrayDecoder(images))
        return Opened(raw, None, ("a", "b"))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., type]:
    """Writes modules, and gives a class as a new process would find it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(kind: str, **files: str) -> type:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        file, _, name = kind.partition(".")
        sys.modules.pop(file, None)
        return getattr(importlib.import_module(file), name)

    return write


def test_code_is_that_of_all_own_modules(module: Callable[..., type]) -> None:
    code = code_of(module("own_init.Mine", own_init=INIT, own_helper="sign = 1\n"))
    assert code
    assert code_of(module("own_init.Mine", own_init=f"# a comment\n{INIT}")) == code
    assert code_of(module("own_init.Mine", own_helper="sign = -1\n")) != code
    base = "class Base:\n    def __call__(self, *a):\n        return 1\n"
    mixed = "from datamodules.inits.scores import ScoreInit\nfrom own_base import Base\n\n"
    mixed += "class Mixed(ScoreInit, Base):\n    pass\n"
    before = code_of(module("own_mixed.Mixed", own_mixed=mixed, own_base=base))
    after = module("own_mixed.Mixed", own_base=base.replace("1", "2"))
    assert code_of(after) != before, "bases after the project's own count, too"


def test_code_is_the_same_in_every_version_of_python(module: Callable[..., type]) -> None:
    """Of a function and a class, to which 3.12 gave an empty list of type parameters."""
    kind = module("own_fixed.Fixed", own_fixed="class Fixed:\n    def f(self):\n        return 1\n")
    assert code_of(kind) == "ac58e433425b39c3"


def test_code_does_not_depend_on_what_else_is_loaded(module: Callable[..., type]) -> None:
    code = code_of(module("own_init.Mine", own_init=INIT, own_helper="sign = 1\n"))
    module("own_other.Other", own_other="class Other:\n    pass\n")
    assert code_of(module("own_init.Mine")) == code


def test_what_a_class_may_import_is_not_imported_for_its_code(
    module: Callable[..., type],
) -> None:
    lazy = "class Lazy:\n    def run(self):\n        from own_gpu import f\n"
    kind = module("own_lazy.Lazy", own_lazy=lazy, own_gpu="raise RuntimeError('needs a GPU')\n")
    code = code_of(kind)
    assert "own_gpu" not in sys.modules
    kind = module("own_lazy.Lazy")
    (Path(sys.path[-1]) / "own_gpu.py").write_text("raise RuntimeError('needs another')\n")
    assert code_of(kind) != code


def test_the_code_of_an_init_that_another_follows(module: Callable[..., type]) -> None:
    inner = module("own_init.Mine", own_init=INIT, own_helper="sign = 1\n")()
    assert [code_of(type(i)) for i in HistogramInit(inner).chain] == ["", code_of(type(inner))]


def test_the_projects_own_classes_and_installed_ones_have_none() -> None:
    assert code_of(ScoreInit) == ""
    assert code_of(np.ndarray) == ""


def test_an_own_data_set_is_cached_by_code_settings_file_and_pixels(
    module: Callable[..., type], tmp_path: Path
) -> None:
    source = module("own_data.Npz", own_data=SOURCE)
    file = tmp_path / "images.npy"

    def loaded(**settings: int) -> tuple[str, int]:
        images = load_images(source(str(file), **settings), tmp_path / "artifacts")
        return images.fingerprint, len(images.train)

    np.save(file, np.zeros((6, 1, 4, 4), np.uint8))
    first, count = loaded()
    assert count == 6
    assert loaded() == (first, 6)
    assert loaded(fold=2)[1] == 4
    assert loaded(fold=2)[0] != first
    np.save(file, np.ones((6, 1, 4, 4), np.uint8))
    assert loaded()[0] != first
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "images.npy", np.zeros((6, 1, 4, 4), np.uint8))
    listed = module("own_list.Npz", own_list=SOURCE.replace(
        "np.load(self.root)", "np.load(self.root + '/images.npy')"
    ))  # fmt: skip
    before = load_images(listed(str(folder)), tmp_path / "artifacts").fingerprint
    np.save(folder / "images.npy", np.full((6, 1, 4, 4), 7, np.uint8))
    assert load_images(listed(str(folder)), tmp_path / "artifacts").fingerprint != before
    thinned = load_images(Imbalanced(source(str(file)), 2), tmp_path / "artifacts")
    source = module("own_data.Npz", own_data=SOURCE.replace("% 2", "// 3"))
    again = load_images(Imbalanced(source(str(file)), 2), tmp_path / "artifacts")
    assert again.fingerprint != thinned.fingerprint, "the labels are others"


class Made:
    """A source of arrays."""

    name, from_files = "made", False

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.raw = Raw([str(i) for i in range(len(images))], labels, ArrayDecoder(images))

    def fingerprint(self) -> str:
        return "made-1"

    cache_key = fingerprint

    def open(self) -> Opened:
        return Opened(self.raw, None, ("a", "b"))


@pytest.mark.parametrize(
    ("kind", "labels", "told"),
    [
        (np.float32, np.zeros(4, int), "must be uint8, 0 to 255, not float32"),
        (np.uint16, np.zeros(4, int), "must be uint8, 0 to 255, not uint16"),
        (np.uint8, np.zeros((4, 1), int), "4 images and labels of shape (4, 1)"),
        (np.uint8, np.zeros(3, int), "4 images and labels of shape (3,)"),
        (np.uint8, np.array([1, 2, 1, 2]), "labels of made are 0 to 2, and of 2 classes"),
        (np.uint8, np.array([0, -1, 1, 1]), "labels of made are -1 to 1, and of 2 classes"),
    ],
)
def test_data_that_would_be_cut_off_are_refused(
    tmp_path: Path, kind: type, labels: np.ndarray, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_images(Made(np.zeros((4, 1, 4, 4), kind), labels), tmp_path)
    assert told in str(caught.value)
    assert not list(tmp_path.glob("made/*"))
