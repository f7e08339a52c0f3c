"""What queries cost; run with `pytest -m benchmark -s`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from active.badge import Gradients, badge
from active.queries.dbal import DBAL
from active.queries.margin import Margin
from active.query import Query, Request
from datamodules.distances import block_rows, bounds_to_nearest, exact, squared_distances
from datamodules.kcenter import k_center
from datamodules.seeds import Seeds
from tests.benchmarks.test_coverage import peak, peak_from_here
from tests.benchmarks.test_speed import compare, make
from tests.conftest import ROOT

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
N, D, L, B = 45_000, 128, 5_000, 5_000


@pytest.mark.parametrize("name", ["cifar10", "mnist", "digits"])
def test_mc_dropout_over_one_plain_pass(name: str) -> None:
    """25 head passes after the backbone, beside a pass that keeps one number of the logits."""
    count = {"cifar10": 4000, "mnist": 8000, "digits": 40_000}[name]
    classifier, datamodule, devices = make(name, 10, count)
    request = Request(10, 1, Seeds(0))

    def seconds(query: Query) -> float:
        query.prepare(datamodule, devices.trainer, request)
        started = time.perf_counter()
        trainer = devices.trainer(callbacks=[query])
        trainer.predict(classifier, datamodule=datamodule, return_predictions=False)
        query.gathered(datamodule.pools, None)
        return time.perf_counter() - started

    a, b, ratio = compare(lambda: seconds(DBAL()), lambda: seconds(Margin()))
    print(f"\n| dbal over margin, {name} | {1e6 * a / count:.0f} us | {1e6 * b / count:.0f} us | "
          f"{1 / ratio:.3f} |")  # fmt: skip


def plain_greedy(features: Tensor, nearest: Tensor, budget: int) -> list[int]:
    """The greedy loop in torch, one matrix-vector product a pick, in our arithmetic."""
    x = exact(features)
    norms, nearest, picks = x.square().sum(1), nearest.clone(), []
    while len(picks) < budget:
        best = int(nearest.argmax())
        picks.append(best)
        squared = (norms + norms[best] - 2 * (x @ x[best])).clamp_(min=0)
        torch.minimum(nearest, squared, out=nearest)
        nearest[best] = -torch.inf
    return picks


def coreset_features() -> Tensor:
    """(N + L, D), `coreset_features.npy` of the working folder, if it is there; else blobs."""
    file = Path("coreset_features.npy")
    return torch.from_numpy(np.load(file)).float()[: N + L] if file.exists() else blobs(N + L)


def coreset_memory() -> None:
    """Prints the peak beyond the features, in a process of its own, with threads and code there."""
    features = coreset_features()
    k_center(features[:3000].clone(), 100, labeled=torch.arange(100))
    before = peak_from_here()
    k_center(features, B, labeled=torch.arange(N, N + L))
    print(peak() - before)


def test_coreset_over_the_plain_loop(pytestconfig: pytest.Config) -> None:
    features, labeled = coreset_features(), torch.arange(N, N + L)
    code = "from tests.benchmarks.test_queries import coreset_memory; coreset_memory()"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    memory = float(subprocess.check_output(command, env=environment, text=True))
    k_center(features, 1, labeled=labeled)  # warm
    started = time.perf_counter()
    bounds_to_nearest(features, exact(features[labeled]))
    distances = time.perf_counter() - started
    started = time.perf_counter()
    ours = k_center(features, B, labeled=labeled).tolist()
    whole = time.perf_counter() - started
    gemm = gemm_seconds(features)
    centers = exact(features[labeled])
    blocks = [squared_distances(exact(x), centers).amin(1) for x in features.split(512)]
    first = torch.cat(blocks)
    first[labeled] = -torch.inf
    started = time.perf_counter()
    plain = plain_greedy(features, first, B)
    loop = time.perf_counter() - started
    same = sum(a == b for a, b in zip(ours, plain, strict=True))
    print(f"\n| coreset, N {N}, L {L}, B {B} | first distances {distances:.2f} s, GEMM alone "
          f"{gemm:.2f} s, {gemm / distances:.2f} of it | greedy {whole - distances:.2f} s | plain "
          f"loop {loop:.1f} s | ratio {loop / (whole - distances):.1f} | {same} same picks | "
          f"{memory:.0f} MiB, features {features.nbytes / 2**20:.0f} |")  # fmt: skip


def gemm_seconds(features: Tensor) -> float:
    """The product of all samples with L alone, in float32 and blocks of the same rows."""
    y = features[N:].T
    started = time.perf_counter()
    for rows in features.split(block_rows(y.T)):
        rows @ y
    return time.perf_counter() - started


def blobs(count: int) -> Tensor:
    """Clustered rows of unit length."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(200, D, generator=generator)
    rows = centers[torch.randint(200, (count,), generator=generator)]
    noise = torch.randn(count, D, generator=generator)
    return torch.nn.functional.normalize(rows + 0.7 * noise, dim=1)


def test_coreset_of_a_million() -> None:
    features = blobs(1_000_000)
    before = peak()
    started = time.perf_counter()
    k_center(features, 10_000, start=0)
    seconds = time.perf_counter() - started
    print(f"\n| coreset, N 1,000,000, B 10,000 | {seconds:.1f} s | {peak() - before:.0f} MiB |")


def plain_badge(logits: Tensor, features: Tensor, budget: int) -> Tensor:
    """k-means++ as a loop over the choices, a matrix-vector product each, in our arithmetic."""
    gradients = Gradients(logits, features)
    points, norms = gradients.at(slice(None)), gradients.norms
    picks, nearest = [norms.argmax()], torch.full_like(norms, torch.inf)
    uniforms = torch.rand(budget, 1, dtype=torch.float64)
    for uniform in uniforms[1:]:
        best = picks[-1]
        products = (points.h @ points.h[best]).mul_(points.a @ points.a[best])
        torch.minimum(nearest, (norms + norms[best]).sub_(products, alpha=2).clamp_(0), out=nearest)
        nearest[best] = 0
        sums = nearest.cumsum(0)
        picks.append(torch.searchsorted(sums, uniform * sums[-1], right=True)[0])
    return torch.stack(picks)


def test_badge_over_the_plain_loop() -> None:
    features = coreset_features()[:N]
    logits = 8 * features @ torch.randn(D, 10, generator=torch.Generator().manual_seed(0))
    for budget in (10, 100, 1000):
        started = time.perf_counter()
        badge(logits, features, budget, np.random.default_rng(0))
        ours = time.perf_counter() - started
        started = time.perf_counter()
        plain_badge(logits, features, budget)
        plain = time.perf_counter() - started
        print(f"\n| badge, N {N}, D {D}, B {budget} | {ours:.2f} s | plain loop {plain:.2f} s | "
              f"ratio {plain / ours:.1f} |")  # fmt: skip
