"""What docstrings show is what happens."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from tests.conftest import ROOT

FILES = sorted(
    file.relative_to(ROOT)
    for room in ("active", "conf", "datamodules", "pretext")
    for file in (ROOT / room).rglob("*.py")
    if ">>>" in file.read_text()
)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_examples(file) -> None:  # type: ignore[no-untyped-def]
    found = doctest.testmod(import_module(".".join(file.with_suffix("").parts)))
    assert found.attempted > 0
    assert found.failed == 0
