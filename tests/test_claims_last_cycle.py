"""R-8 asks for the hardest classes of the last models: of the first they are others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from active.classes import hard_classes
from tests.claim_tables import answer, study
from tests.study_rows import rows_of
from tests.test_claims_anatomy import pools_of


def test_r8_is_about_the_last_models() -> None:
    counts = np.where(np.arange(100) < 10, 200, 30)
    early, late = np.full(100, 0.6), np.full(100, 0.6)
    early[:10], late[50:60] = 0.1, 0.1  # the over-sampled are hard at first alone
    runs = study({}, "cifar100")
    runs["test/acc_per_class"] = [
        (late if last else early).tolist() for last in runs["cycle"] == runs["cycle"].max()
    ]
    pools = pools_of({"vae": [np.arange(5)]}, "cifar100", counts=counts)
    assert answer("r8", runs, pools=pools) == "contradicted"


def test_hard_classes_are_those_of_the_last_models() -> None:
    early, late = [0.9, 0.1, 0.2, 0.8, 0.8, 0.8], [0.9, 0.9, 0.9, 0.8, 0.1, 0.1]
    rows = rows_of([0.5, 0.6], "vae", "entropy")
    rows[0]["test/acc_per_class"], rows[1]["test/acc_per_class"] = early, late
    pools = pools_of({"vae": [np.arange(5)]}, "mnist", counts=np.array([1, 5, 4, 1, 1, 0]))
    (row,) = hard_classes(pd.DataFrame(rows), pools).itertuples()
    assert (row.k, row.shared) == (2, 0)
