"""How good features and clusters are, judged by labels; labels never train or select a model."""

from __future__ import annotations

import numpy as np
import torch
from lightly.utils.benchmarking.knn import knn_predict
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor

NEIGHBORS, TEMPERATURE = 20, 0.1
BLOCK, CELLS = 1000, 2**27  # probes at once, and numbers in memory for them (512 MiB)


def knn_accuracy(
    bank: Tensor, bank_labels: Tensor, probe: Tensor, probe_labels: Tensor, num_classes: int
) -> float:
    """Accuracy of weighted k-NN votes, k = 20, weights e^{cosine / .1} (Wu et al., 2018).

    The study's code has k = 100.

    Args:
        bank, probe: (N, D), (M, D) of unit length, on one device.
        bank_labels, probe_labels: (N,), (M,) int64.
    """
    bank_labels, probe_labels = bank_labels.to(bank.device), probe_labels.to(bank.device)
    correct = torch.zeros((), dtype=torch.long, device=bank.device)
    k, columns = min(NEIGHBORS, len(bank)), bank.T.contiguous()
    # Similarities to the bank, and votes of each neighbor for each class.
    size = max(1, min(BLOCK, CELLS // max(len(bank), k * num_classes)))
    for rows, labels in zip(probe.split(size), probe_labels.split(size), strict=True):
        voted = knn_predict(rows, columns, bank_labels, num_classes, k, TEMPERATURE)[:, 0]
        correct += (voted == labels).sum()
    return correct.item() / len(probe)


def clustering_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose cluster is matched with their class by the best one-to-one matching.

    >>> clustering_accuracy(np.array([1, 1, 0, 2]), np.array([0, 0, 1, 1]))
    0.75
    """
    table = contingency_matrix(clusters, labels)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(labels))


def clustering_metrics(clusters: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`cluster/acc` (Hungarian), `cluster/nmi` (arithmetic mean) and `cluster/ari`."""
    return {
        "cluster/acc": clustering_accuracy(clusters, labels),
        "cluster/nmi": float(normalized_mutual_info_score(labels, clusters)),
        "cluster/ari": float(adjusted_rand_score(labels, clusters)),
    }


def merged(labels: np.ndarray, superclasses: list[int] | None) -> np.ndarray:
    """Labels (N,) as those of their superclasses, where there are any.

    >>> merged(np.array([0, 2, 1]), [5, 6, 5]).tolist()
    [5, 5, 6]
    """
    return labels if superclasses is None else np.asarray(superclasses)[labels]
