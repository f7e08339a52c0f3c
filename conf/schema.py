"""Types of every setting; the values and what they mean are in the YAML files beside this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class RecipeConfig:
    max_epochs: int = MISSING
    batch_size: int = MISSING
    optimizer: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    schedule: str = MISSING
    width: int = MISSING
    stem: int = MISSING
    max_pool: bool = MISSING
    projection: int = MISSING
    fast_precision: str = MISSING
    pretext_precision: str = MISSING
    pretext_flip: bool = MISSING
    threads: int | None = None


@dataclass
class DataConfig:
    name: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = MISSING
    val: float = MISSING
    imbalance: float | None = None
    flip: bool = MISSING
    crop: int = MISSING
    mean: list[float] | None = None
    std: list[float] | None = None
    in_memory: bool = True
    workers: int | None = None
    eval_batch_size: int = 500
    clusters: int | None = MISSING
    superclasses: list[int] | None = None
    init_budget: float = MISSING
    budget: float = MISSING
    cycles: int = MISSING
    recipe: RecipeConfig = field(default_factory=RecipeConfig)


@dataclass
class FolderConfig(DataConfig):
    size: int = MISSING
    test: float = MISSING
    test_seed: int = MISSING


@dataclass
class LearnerConfig:
    _target_: str = MISSING
    dropout: str = MISSING
    members: Any = MISSING
    warm_start: bool = MISSING
    min_steps: int = MISSING
    batch_size: int = MISSING
    optimizer: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    schedule: str = MISSING
    width: int = MISSING
    stem: int = MISSING
    max_pool: bool = MISSING
    projection: int = MISSING


@dataclass
class FinetuneConfig(LearnerConfig):
    model: dict[str, Any] = MISSING
    pretext_seed: Any = MISSING


@dataclass
class LinearConfig:
    _target_: str = MISSING
    dropout: str = MISSING
    members: Any = MISSING
    c: Any = MISSING
    model: dict[str, Any] = MISSING
    pretext_seed: Any = MISSING


@dataclass
class TrainerConfig:
    accelerator: str = MISSING
    devices: int = MISSING
    num_nodes: int = MISSING
    strategy: str = MISSING
    max_epochs: int = MISSING
    val_checks: int = MISSING
    precision: str = MISSING
    threads: int | None = None
    deterministic: bool = MISSING
    compile: bool = MISSING
    sync_batchnorm: bool = MISSING
    timeout_hours: float = MISSING
    keep_checkpoints: str = MISSING


@dataclass
class SeedsConfig:
    split: int | None = None
    init: int | None = None
    weights: int | None = None
    batches: int | None = None
    augmentation: int | None = None
    query: int | None = None


@dataclass
class PretextSettings:
    seed: Any = MISSING
    epochs: float = MISSING
    if_missing: str = MISSING


@dataclass
class PretextConfig:
    data: Any = MISSING
    model: dict[str, Any] = MISSING
    pretext: PretextSettings = MISSING
    trainer: TrainerConfig = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    artifacts_dir: str = MISSING
    score: str | None = None
    dry_run: bool = MISSING


@dataclass
class ActiveConfig:
    data: Any = MISSING
    init: dict[str, Any] = MISSING
    query: dict[str, Any] = MISSING
    learner: Any = MISSING
    pretext: PretextSettings = MISSING
    trainer: TrainerConfig = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    seed: int = MISSING
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    init_budget: float = MISSING
    budget: float = MISSING
    cycles: int = MISSING
    runs_dir: str = MISSING
    artifacts_dir: str = MISSING
    share_cycle_0: bool = MISSING
    dry_run: bool = MISSING


@dataclass
class ReportConfig:
    logger: dict[str, Any] = field(default_factory=dict)
    name: str = MISSING
    runs_dir: str = MISSING
    artifacts_dir: str | None = None
    out: str | None = None
    metric: str = MISSING
    margin: float = MISSING
    count_validation: bool = MISSING
    toy: bool = MISSING


def register() -> None:
    """Makes the schemas known to Hydra under names that no option of a group has."""
    store = ConfigStore.instance()
    store.store(name="_active", node=ActiveConfig)
    store.store(name="_pretext", node=PretextConfig)
    store.store(name="_report", node=ReportConfig)
    store.store(group="data", name="_data", node=DataConfig)
    store.store(group="data", name="_folder", node=FolderConfig)
    store.store(group="learner", name="_learner", node=LearnerConfig)
    store.store(group="learner", name="_finetune", node=FinetuneConfig)
    store.store(group="learner", name="_linear", node=LinearConfig)
    store.store(group="trainer", name="_trainer", node=TrainerConfig)
