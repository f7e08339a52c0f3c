"""Which pretext models the report lists."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from active.reporting.sections.recipes import _used


def artifact(name: str, *parents: str) -> Any:
    return SimpleNamespace(name=name, record={"parents": list(parents)})


def test_models_that_were_read_and_their_parents_are_listed() -> None:
    scan = [artifact("simclr"), artifact("scan_step", "simclr"), artifact("scan", "scan_step")]
    found = [*scan, artifact("vae"), artifact("simclr2")]
    assert _used(found, {"scan": "pool", "elsewhere": "query"}) == scan
    assert _used(found, {"vae": "learner"}) == found[3:4]
    assert _used(found, {"elsewhere": "pool"}) == _used(found, {}) == found
