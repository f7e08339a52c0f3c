"""What Trainers are told of devices, and how the ranks of a host share its cores."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from torch.nn.parallel import DistributedDataParallel

from datamodules.cores import sharing
from pretext import devices as module
from pretext.devices import Devices, ddp_settings


def trainer_in(environment: Any, count: int) -> Any:
    connector = SimpleNamespace(cluster_environment=environment)
    return SimpleNamespace(_accelerator_connector=connector, num_devices=count)


def test_ranks_of_a_host_share_its_cores() -> None:
    """srun has shared them already."""
    assert sharing(trainer_in(LightningEnvironment(), 8)) == 8
    assert sharing(trainer_in(SLURMEnvironment(), 8)) == 1


@pytest.mark.parametrize(
    ("count", "threads", "expected"), [(1, None, 7), (2, None, 3), (9, None, 1), (2, 5, 5)]
)
def test_threads_of_a_rank(
    count: int, threads: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(module, "DEFAULT_THREADS", 7)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    Devices(accelerator="cpu", devices=count, threads=threads)
    assert told == [expected]


@pytest.mark.parametrize("deterministic", [True, False])
def test_kernels_are_tried_out_unless_they_must_be_the_same(deterministic: bool) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        Devices(accelerator="cpu", threads=1, deterministic=deterministic)
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@pytest.mark.parametrize("synced", [True, False])
def test_ddp_knows_its_settings(synced: bool) -> None:
    settings = ddp_settings(synced)
    inspect.signature(DistributedDataParallel).bind(torch.nn.Linear(1, 1), **settings)
    assert list(settings.values()) == [True, False][: 1 + synced]


def test_processes_on_cpus_send_batch_norms_statistics() -> None:
    """Where they are not synced."""
    strategy = Devices(accelerator="cpu", devices=2, threads=1).trainer().strategy
    assert strategy._ddp_kwargs == ddp_settings(False)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)]
)
def test_a_step_without_a_trainer_has_its_precision(precision: str, dtype: torch.dtype) -> None:
    with Devices(accelerator="cpu", threads=1, precision=precision).autocast():
        assert torch.nn.Linear(3, 3)(torch.ones(1, 3)).dtype == dtype


@pytest.mark.parametrize(("kind", "times"), [("cpu", 1), ("cuda", 4)])
def test_estimates_are_of_all_devices(
    kind: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank takes its share of a batch; on GPUs all take theirs at the same time."""
    from active import plan
    from active.classifier import Classifier

    devices, sizes = Devices(accelerator="cpu", devices=4, strategy="ddp", threads=1), []
    classifier = Classifier(10, 1, width=16)
    classifier.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))

    def second(step: Any, device: torch.device) -> float:
        step()
        return 1.0

    monkeypatch.setattr(plan, "best_seconds", second)
    monkeypatch.setattr(Devices, "speedup", property(lambda self: times))
    assert devices.world_size == 4
    assert plan.measure(classifier, devices, (1, 8, 8), 32) == (1 / 8 / times, 1 / 8 / times)
    assert sizes == [8, 8]
    monkeypatch.undo()
    devices.kind = kind
    assert devices.speedup == times
