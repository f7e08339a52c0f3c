"""A run's initial pool: chosen, and shown for what it is."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from active.folder import RunFolder
from active.pool_report import SHEET, contact_sheet, describe_pool, png, summarize_pool
from active.prepare import Setup
from active.query import Selection
from datamodules.initial import Candidates

log = logging.getLogger("initial_pools")


def choose_first(
    ready: Setup, candidates: Candidates, folder: RunFolder
) -> tuple[Selection, dict[str, Any], np.ndarray]:
    """The initial pool, described beside chance, in a log line, `pool.json` and a sheet."""
    selection, train = ready.choose_initial(candidates), ready.images.train
    described = describe_pool(
        selection.indices,
        ready.choose_by_chance(candidates),
        len(candidates.indices),
        train.labels,
        candidates.num_classes,
        candidates.scores,
    )
    log.info("initial pool: %s", summarize_pool(described))
    sheet = contact_sheet(train.take(selection.indices[: SHEET**2]).numpy())
    folder.write_pool(described, png(sheet))
    return selection, described, sheet
