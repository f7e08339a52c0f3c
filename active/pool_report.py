"""What an initial pool looks like: numbers and a contact sheet."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

SHEET = 8  # images along each side of the contact sheet
SMALLEST = 48  # pixels of an image on it: digits of 8 pixels are enlarged
LARGEST = 96  # pixels, from twice which on images are reduced: a report holds a sheet of each arm


def describe_pool(
    pool: np.ndarray,
    random_pool: np.ndarray,
    num_candidates: int,
    labels: np.ndarray | None,
    num_classes: int,
    scores: np.ndarray | None,
) -> dict[str, Any]:
    """Numbers of a pool beside what chance would give.

    Args:
        pool, random_pool: (B,) indices of the pool and of the random pool of the same seed.
        labels: (N,), None where there are none.
        scores: (N,), None where no model scored the samples.

    Returns:
        `size`, `overlap_random` and `overlap_expected` (samples shared with the random pool, and
        B^2 / M, what two independent pools of M candidates share on average), and where known
        `class_counts`, `class_entropy` (nats), `score_mean` and `score_mean_all`.
    """
    size = len(pool)
    described: dict[str, Any] = {
        "size": size,
        "overlap_random": len(np.intersect1d(pool, random_pool)),
        "overlap_expected": size**2 / num_candidates,
    }
    if labels is not None:
        counts = np.bincount(labels[pool], minlength=num_classes)
        described["class_counts"] = counts.tolist()
        described["class_entropy"] = class_entropy(counts)
    if scores is not None:
        described["score_mean"] = float(scores[pool].mean())
        described["score_mean_all"] = float(scores.mean())
    return described


def class_entropy(counts: np.ndarray) -> float:
    """(classes,) images of each class -> entropy of their shares in nats, 0 for a single class.

    >>> round(class_entropy(np.array([5, 0, 5])), 3)
    0.693
    """
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0


def summarize_pool(described: dict[str, Any]) -> str:
    """The description as one line."""
    words = [
        f"{described['size']} samples",
        f"{described['overlap_random']} shared with the random pool "
        f"(chance: {described['overlap_expected']:.2g})",
    ]
    if "class_counts" in described and len(described["class_counts"]) <= 20:
        words.append(f"classes {' '.join(map(str, described['class_counts']))}")
    if "class_entropy" in described:
        words.append(f"class entropy {described['class_entropy']:.3f} nats")
    if "score_mean" in described:
        words.append(
            f"mean score {described['score_mean']:.4g} (all: {described['score_mean_all']:.4g})"
        )
    return ", ".join(words)


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """The first 64 images in rows of 8: (n, C, H, W) uint8 -> (height, width, 3) uint8."""
    images = images[: SHEET * SHEET]
    if images.shape[1] == 1:
        images = images.repeat(3, axis=1)
    images = _reduced(images, max(1, images.shape[2] // LARGEST))
    zoom = max(1, -(-SMALLEST // images.shape[2]))
    images = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    rows = -(-len(padded) // SHEET)
    blank = np.full((rows * SHEET - len(padded), *padded.shape[1:]), 255, np.uint8)
    grid = np.concatenate([padded, blank]).reshape(rows, SHEET, *padded.shape[1:])
    height, width = padded.shape[2:]
    return grid.transpose(0, 3, 1, 4, 2).reshape(rows * height, SHEET * width, 3)


def _reduced(images: np.ndarray, times: int) -> np.ndarray:
    """(n, C, H, W) with the mean of each `times` x `times` pixels; what is left over is cut off."""
    n, channels, height, width = (*images.shape[:2], *(side // times for side in images.shape[2:]))
    cut = images[:, :, : height * times, : width * times]
    cells = cut.reshape(n, channels, height, times, width, times)
    return cells.mean(axis=(3, 5), dtype=np.float32).round().astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """(height, width, 3) uint8 -> the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()
