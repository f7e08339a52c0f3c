"""Defaults of models, queries, inits and data that the papers or the README state."""

from __future__ import annotations

from typing import Any

import pytest

from conf.cli import expand, parse
from conf.grid import read_experiment

OPTIMIZER = ("max_epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule")
SIMCLR = (512, "sgd", 0.4, 1e-4, "cosine")  # of the SCAN repository, as the next two
SCAN_STEP, SCAN = ("adam", 1e-4, 1e-4, "none"), ("adamw", 1e-4, 1e-4, "none")
VAE = (100, 200, "adam", 1e-3, 5e-4, "none")
ROTATION, INPAINTING = (128, "sgd", 0.1, 5e-4, "cosine"), (128, "adam", 2e-4, 0.0, "cosine")
DEEPCLUSTER = (256, "sgd", 0.05, 1e-5, "none")


def resolved(program: str, *words: str) -> dict[str, Any]:
    (job,) = expand(program, parse(list(words)))
    return job.resolved


def model(data: str, name: str) -> dict[str, Any]:
    return resolved("pretext", "--data", data, "--model", name)["model"]


SCORED = ("simclr", "vae", "rotation", "inpainting")
CLUSTERED = ("scan", "kmeans", "deepcluster")


@pytest.mark.parametrize(
    ("data", "name", "recipe", "more"),
    [
        ("digits", "simclr", (30, 256, "sgd", 0.05, 1e-4, "cosine"),
         {"projection": 128, "crop_scale": 0.5, "flip": False}),
        ("mnist", "simclr", (100, *SIMCLR), {"projection": 128, "crop_scale": 0.2, "flip": False}),
        ("cifar10", "simclr", (500, *SIMCLR), {"projection": 128, "crop_scale": 0.2, "flip": True}),
        ("cifar100", "simclr", (500, *SIMCLR),
         {"projection": 128, "temperature": 0.1, "jitter": 0.4}),
        ("tiny_imagenet", "simclr", (500, *SIMCLR), {"projection": 256, "gray": 0.2, "bank": 4096}),
        ("cifar10_lt", "simclr", (500, *SIMCLR), {"views": "auto", "features": "pooled"}),
        ("folder", "simclr", (200, *SIMCLR), {"temperature": 0.1, "bank": 4096}),
        ("digits", "scan_step", (50, 128, *SCAN_STEP), {"clusters": 10, "num_neighbors": 20}),
        ("mnist", "scan_step", (100, 512, *SCAN_STEP), {"clusters": 10, "num_neighbors": 20}),
        ("cifar10", "scan_step", (50, 128, *SCAN_STEP),
         {"entropy_weight": 5.0, "num_neighbors": 20}),
        ("cifar100", "scan_step", (100, 512, *SCAN_STEP), {"clusters": 20, "num_neighbors": 20}),
        ("tiny_imagenet", "scan_step", (50, 128, *SCAN_STEP),
         {"clusters": 200, "num_neighbors": 50}),
        ("digits", "scan", (15, 256, *SCAN), {"threshold": 0.99, "clusters": 10}),
        ("mnist", "scan", (200, 1000, *SCAN), {"threshold": 0.99, "flip": False}),
        ("cifar10", "scan", (200, 1000, *SCAN), {"threshold": 0.99, "flip": True}),
        ("cifar100", "scan", (200, 1000, *SCAN), {"threshold": 0.99, "clusters": 20}),
        ("tiny_imagenet", "scan", (200, 1000, *SCAN), {"threshold": 0.99, "clusters": 200}),
        ("digits", "vae", VAE, {"latent": 32, "kl_weight": 0.004, "val": 0.05}),
        ("folder", "vae", VAE, {"latent": 128, "kl_weight": 0.004}),
        ("mnist", "vae", VAE, {"latent": 128, "kl_weight": None, "score": "reconstruction"}),
        ("cifar10", "vae", VAE, {"latent": 128, "kl_weight": None}),
        ("tiny_imagenet", "vae", VAE, {"latent": 512, "kl_weight": None}),
        ("digits", "rotation", (30, *ROTATION), {"crop_scale": None}),
        ("cifar10", "rotation", (100, *ROTATION), {"crop_scale": None, "flip": True}),
        ("digits", "inpainting", (30, *INPAINTING), {"hole": 0.5, "masks": 4}),
        ("cifar10", "inpainting", (100, *INPAINTING), {"hole": 0.5, "masks": 4}),
        ("digits", "deepcluster", (30, *DEEPCLUSTER), {"components": 256}),
        ("cifar10", "deepcluster", (200, *DEEPCLUSTER), {"clusters": 10, "crop_scale": 0.2}),
    ],
)  # fmt: skip
def test_recipes_of_pretext_models(data: str, name: str, recipe: tuple, more: dict) -> None:
    found = model(data, name)
    assert tuple(found[key] for key in OPTIMIZER) == recipe
    assert {key: found[key] for key in more} == more


def test_kmeans_is_on_pooled_simclr_with_ten_starts() -> None:
    found = model("mnist", "kmeans")
    assert (found["starts"], found["clusters"], found["parent"]["features"]) == (10, 10, "pooled")
    assert model("cifar10", "scan")["parent"]["parent"]["features"] == "pooled"


@pytest.mark.parametrize(
    ("data", "val", "flip", "crop", "pretext_flip", "mean"),
    [
        ("digits", 0.1, False, 0, False, [0.3053]),
        ("mnist", 0.1, True, 0, False, [0.1307]),
        ("cifar10", 0.1, True, 4, True, [0.4914, 0.4822, 0.4465]),
        ("cifar100", 0.1, True, 4, True, [0.4914, 0.4822, 0.4465]),
        ("cifar10_lt", 0.1, True, 4, True, [0.4914, 0.4822, 0.4465]),
        ("tiny_imagenet", 0.05, True, 0, True, [0.485, 0.456, 0.406]),
        ("folder", 0.1, True, 0, True, None),
    ],
)
def test_data_sets(
    data: str, val: float, flip: bool, crop: int, pretext_flip: bool, mean: list[float] | None
) -> None:
    found = resolved("active", "--data", data)["data"]
    assert (found["val"], found["flip"], found["crop"], found["mean"]) == (val, flip, crop, mean)
    assert found["recipe"]["pretext_flip"] == pretext_flip
    assert found["imbalance"] == (50 if data == "cifar10_lt" else None)
    if data == "folder":
        assert (found["size"], found["test"], found["test_seed"]) == (64, 0.2, 0)


def test_superclasses_of_cifar100_are_twenty_of_five() -> None:
    """Apples, mushrooms, oranges, pears and sweet peppers are one; and five of the people."""
    above = resolved("active", "--data", "cifar100")["data"]["superclasses"]
    assert len(above) == 100
    assert [above.count(k) for k in range(20)] == [5] * 20
    members = {k: [i for i in range(100) if above[i] == k] for k in (4, 14, 17)}
    assert members == {4: [0, 51, 53, 57, 83], 14: [2, 11, 35, 46, 98], 17: [47, 52, 56, 59, 96]}


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("dbal", {"samples": 25}), ("bald", {"samples": 25}),
        ("powerbald", {"samples": 25, "beta": 1}),
        ("batchbald", {"samples": 100, "candidates": 1000}), ("coreset", {"features": "projector"}),
        ("typiclust", {"max_clusters": 500, "neighbors": 20}), ("maxherding", {"sigma": 1.0}),
        ("probcover", {"delta": None, "purity": 0.95}), ("uherding", {"sigma": None}),
        ("vaal", {"epochs": 100, "batch": 64, "width": 128, "latent": 32, "beta": 1.0,
                  "adversary": 1.0, "reduction": "elbo", "lr": 5e-4}),
    ],
)  # fmt: skip
def test_queries(query: str, settings: dict[str, Any]) -> None:
    found = resolved("active", "--query", query)["query"]
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("init", "settings"),
    [
        *((name, {"order": "hardest", "bins": 1}) for name in SCORED),
        *((name, {"shares": "equal", "members": "random"}) for name in CLUSTERED),
        ("typiclust", {"max_clusters": 500, "neighbors": 20}), ("maxherding", {"sigma": 1.0}),
        ("probcover", {"delta": None, "purity": 0.95, "clusters": None}),
    ],
)  # fmt: skip
def test_inits(init: str, settings: dict[str, Any]) -> None:
    found = resolved("active", "--init", init)["init"]
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("figure", "data", "more"),
    [
        ("figure2", "cifar10", "vaal,ens_varr"), ("figure3", "cifar100", "vaal,ens_varr"),
        ("figure4", "tiny_imagenet", "ens_varr"), ("figure5", "mnist", "vaal,ens_varr"),
    ],
)  # fmt: skip
def test_figures_of_the_paper(figure: str, data: str, more: str) -> None:
    grid = read_experiment(figure).grid
    assert (grid["data"], str(grid["seed"])) == (data, "0,1,2,3,4")
    assert grid["init"] == "random,simclr,vae,scan,kmeans"
    assert grid["query"] == f"random,least_confidence,entropy,margin,dbal,coreset,{more}"


@pytest.mark.parametrize(
    ("figure", "data", "budget"), [("figure8", "cifar10", 1000), ("figure9", "cifar10_lt", None)]
)
def test_low_budgets_and_the_long_tail(figure: str, data: str, budget: int | None) -> None:
    grid = read_experiment(figure).grid
    assert (grid["data"], str(grid["seed"])) == (data, "0,1,2,3,4")
    assert grid["init"] == "random,simclr,vae,scan,kmeans"
    assert grid["query"] == "entropy,least_confidence,dbal"
    found = [grid.get(name) for name in ("init_budget", "budget")]
    assert [None if b is None else int(b) for b in found] == [budget, budget]
