"""Seconds and memory of the selections by coverage; run with `pytest -m benchmark -s`.

Every method has a process of its own, whose peak of resident memory beyond what it held at the
start, features included, is printed (Linux). The plain loop of k-center runs next to ours, on the
same features. A busy machine slows both by waiting for threads; OMP_NUM_THREADS=1 is steadier.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.coverage import max_herding, probcover
from datamodules.distances import nearest_neighbors, purity_radius
from datamodules.fronts import Known
from datamodules.kcenter import k_center
from datamodules.typiclust import typiclust
from tests.conftest import ROOT

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]
N, D, B, CLASSES = 50_000, 128, 5000, 100


def mixture(num: int = N) -> tuple[Tensor, Tensor]:
    """Unit features of 100 Gaussians, as wide as their centers are long; and their Gaussians."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.nn.functional.normalize(torch.randn(CLASSES, D, generator=generator))
    labels = torch.randint(CLASSES, (num,), generator=generator)
    noise = torch.randn(num, D, generator=generator) / D**0.5
    return torch.nn.functional.normalize(centers[labels] + noise), labels


METHODS = {
    "k_center": lambda x, _: k_center(x, B),
    "k_center, 5000 labeled": lambda x, _: k_center(x, B, labeled=torch.arange(5000)),
    "typiclust": lambda x, _: typiclust(x, B),
    "typiclust, budget 60": lambda x, _: typiclust(x, 60),
    "purity_radius": purity_radius,
    "probcover, delta 0.7": lambda x, _: probcover(x, B, 0.7),
    "probcover, delta 0.9": lambda x, _: probcover(x, B, 0.9),
    "max_herding": lambda x, _: max_herding(x, B),
    "max_herding, 5000 labeled": lambda x, _: max_herding(x, B, labeled=torch.arange(5000)),
    "nearest_neighbors, k 20": lambda x, _: nearest_neighbors(x, 20),
}


def measure(name: str) -> None:
    features, labels = mixture()
    features[:256] @ features[:256].T  # starts the threads
    before = peak_from_here()
    started = time.perf_counter()
    METHODS[name](features, labels)
    seconds = time.perf_counter() - started
    print(f"| {name} | {seconds:.1f} s | {peak() - before:.0f} MiB |")


def peak_from_here() -> float:
    """What this process holds now, in MiB; what the heap keeps of things freed is given back."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak()


def peak() -> float:
    """The highest resident memory of this process, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["VmHWM"].split()[0]) / 1024


@pytest.mark.parametrize("name", METHODS)
def test_seconds_and_memory(name: str) -> None:
    code = f"from tests.benchmarks.test_coverage import measure; measure({name!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"\n{done.stdout.strip()}")


@pytest.mark.parametrize("budget", [10, 1000])
@pytest.mark.parametrize("name", ["k_center", "probcover", "max_herding"])
def test_a_cycle_over_one_that_knows_nothing(name: str, budget: int) -> None:
    """The third of a run's cycles, whose first two chose as many each."""
    select = {"k_center": k_center, "probcover": partial(probcover, delta=0.7),
              "max_herding": max_herding}[name]  # fmt: skip
    features, known = mixture()[0], Known()
    labeled = torch.arange(budget)
    for _ in range(2):
        labeled = torch.cat([labeled, select(features, budget, labeled=labeled, known=known)])
    started = time.perf_counter()
    picks = select(features, budget, labeled=labeled, known=known)
    between = time.perf_counter()
    assert picks.equal(select(features, budget, labeled=labeled))
    seconds = between - started, time.perf_counter() - between
    ratio = seconds[1] / seconds[0]
    print(f"\n| {name}, {budget} beside {len(labeled)} | {seconds[0]:.2f} s | anew {seconds[1]:.2f}"
          f" s | {ratio:.0f} times |")  # fmt: skip


def plain_k_center(features: Tensor, budget: int, start: int) -> list[int]:
    """One product with all samples a pick, in float32."""
    squared = torch.full((len(features),), torch.inf)
    picks = [start]
    while len(picks) < budget:
        squared = torch.minimum(squared, 2 - 2 * (features @ features[picks[-1]]))
        squared[picks[-1]] = -1
        picks.append(int(squared.argmax()))
    return picks


def test_lazy_k_center_over_the_plain_loop() -> None:
    features, _ = mixture(45_000)
    k_center(features, 50), plain_k_center(features, 50, 0)
    ratios = []
    for _ in range(3):
        started = time.perf_counter()
        ours = k_center(features, B, start=0).tolist()
        between = time.perf_counter()
        plain = plain_k_center(features, B, 0)
        seconds = between - started, time.perf_counter() - between
        ratios.append(seconds[1] / seconds[0])
    same = sum(a == b for a, b in zip(ours, plain, strict=True))
    print(f"\n| k_center, N 45,000, B {B} | {seconds[0]:.2f} s | plain {seconds[1]:.1f} s | "
          f"ratio {sorted(ratios)[1]:.1f} | {same} same picks |")  # fmt: skip
