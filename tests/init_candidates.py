"""Sixty candidates of an initial pool, three of them in V: plain, tied or alike."""

from __future__ import annotations

import numpy as np

from datamodules.initial import Candidates

NUM, VALIDATION = 60, [3, 9, 30]
IDS = tuple(f"train/{i:05d}" for i in range(NUM))
INDICES = np.setdiff1d(np.arange(NUM), VALIDATION)
KINDS = {
    "plain": {},
    "constant scores": {"scores": np.zeros(NUM)},
    "heavy ties": {"scores": np.arange(NUM) % 3.0, "clusters": np.arange(NUM) % 6},
    "empty clusters": {"clusters": np.arange(NUM) % 2 * 900 - 1},
    "one giant cluster": {"clusters": np.zeros(NUM, int), "labels": np.zeros(NUM, int)},
    "singletons": {"clusters": np.maximum(np.arange(NUM) - 40, 0)},
    "more clusters than samples": {"clusters": np.arange(NUM) * 7},
    "duplicate features": {"features": np.eye(3, 5, dtype=np.float32)[np.arange(NUM) % 3]},
    "one image": {"features": np.eye(1, 5, dtype=np.float32)[np.zeros(NUM, int)]},
}


def make(kind: str = "plain") -> Candidates:
    """60 samples without ties; what is known of V is poison."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    pixels = rng.normal(size=(NUM, 2, 4, 4)).astype(np.float32)
    arrays = {
        "labels": rng.integers(0, 4, NUM),
        "scores": rng.normal(size=NUM),
        "clusters": np.searchsorted([25, 40, 53], np.arange(NUM), side="right"),
        "features": features,
    } | {name: array.copy() for name, array in KINDS[kind].items()}
    if kind in ("constant scores", "one image"):
        pixels[:] = pixels[0]
    arrays["scores"][VALIDATION] = np.nan
    arrays["clusters"][VALIDATION] = -77
    arrays["features"][VALIDATION] = np.nan
    return Candidates(INDICES, 4, **arrays, ids=IDS, pixels=lambda rows: pixels[rows])
