"""Run folders made up in milliseconds, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from tests.study_rows import KINDS

TRAIN, VALIDATION, CLASSES = 1000, 100, 10
BUDGET = 20
METRICS = ("test/acc", "test/acc_last", "test/balanced_acc")
CONFIG = {
    "data": {"name": "digits", "val": 0.1, "flip": False, "crop": 0},
    "learner": {"optimizer": "sgd", "lr": 0.025, "batch_size": 32},
    "trainer": {"max_epochs": 10, "val_checks": 10, "precision": "auto"},
    "init_budget": float(BUDGET),
    "budget": float(BUDGET),
    "cycles": 2,
    "seeds": {"split": None},
    "data_fingerprint": "made-1",
    "environment": {"device": "cpu", "precision": "32-true", "threads": 1, "torch": "2.14.1"},
}


def write_run(
    root: Path,
    arm: tuple[str, str, str, str],
    seed: int,
    accuracies: Iterable[float],
    extra: dict[str, object] | None = None,
    tail: str = "",
    experiment: str = "made",
) -> Path:
    """`root/runs/<experiment>/<data>/<init>/<query>/<learner>/seed<k>`: a complete run's files.

    `tail` is what a killed process left behind the last whole row, `extra` more of each row.
    """
    folder = root.joinpath("runs", experiment, *arm, f"seed{seed}")
    rng = np.random.default_rng([seed, *"/".join(arm).encode()])
    order = rng.permutation(TRAIN)
    rows = []
    for cycle, accuracy in enumerate(accuracies):
        _write_selected(folder / f"cycle_{cycle}", order[cycle * BUDGET : (cycle + 1) * BUDGET])
        rows.append(_row(cycle, accuracy) | (extra or {}))
    pool = np.bincount(order[:BUDGET] % CLASSES, minlength=CLASSES)
    described = {
        "size": BUDGET, "overlap_random": 1, "overlap_expected": BUDGET**2 / (TRAIN - VALIDATION),
        "class_counts": pool.tolist(), "class_entropy": 2.0,
    }  # fmt: skip
    (folder / "cycle_0" / "pool.json").write_text(json.dumps(described))
    Image.new("RGB", (16, 16), (seed, 90, 160)).save(folder / "cycle_0" / "contact_sheet.png")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "cycles.jsonl").write_text(text + tail)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return folder


def write_study(
    root: Path,
    inits: dict[str, float],
    queries: Iterable[str] = ("random", "entropy"),
    seeds: int = 3,
    data: Iterable[str] = ("digits",),
    cycles: int = 3,
    learner: str = "resnet18",
) -> Path:
    """All runs of a grid; an init's number is its accuracy at cycle 0. The folder of runs."""
    for name in data:
        for query in queries:
            for init, base in inits.items():
                for seed in range(seeds):
                    noise = np.random.default_rng([seed, *f"{init}/{query}".encode()])
                    curve = base + 0.3 * np.arange(cycles) / cycles + noise.normal(0, 0.01, cycles)
                    kind = {"classifier": KINDS.get(query, "plain")}
                    write_run(root, (name, init, query, learner), seed, curve, kind)
    return root / "runs"


def _row(cycle: int, accuracy: float) -> dict[str, object]:
    labeled = BUDGET * (cycle + 1)
    return {
        "cycle": cycle, **dict.fromkeys(METRICS, float(accuracy)),
        "pool/labeled": labeled, "pool/fraction": labeled / TRAIN,
        "test/acc_per_class": [accuracy - 0.01 * c for c in range(CLASSES)],
        "pool/validation_labels": VALIDATION, "time/train_s": 2.0, "time/query_s": 0.5,
    }  # fmt: skip


def _write_selected(folder: Path, indices: np.ndarray) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"index": pa.array(indices, pa.int64())}), folder / "selected.parquet")
