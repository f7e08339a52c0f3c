"""Which endpoint, and which limit, each claim is judged by: curves whose endpoints disagree."""

from __future__ import annotations

import pandas as pd
import pytest

from active.claims.judge import no_gain
from tests.claim_tables import answer, study

LATE, EARLY = (
    (-0.02, 0.005),
    (0.02, -0.005),
)  # below and above random in area, the reverse at the end
LOW = {"data": "cifar10-1000+1000", "start": 0.02}


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({"scan": (-0.05, -0.03), "vae": LATE}, "confirmed"),
        ({"scan": (-0.05, -0.03), "vae": EARLY}, "contradicted"),  # the VAE is judged at the end
        ({"scan": (-0.05, 0.0), "vae": LATE}, "contradicted"),  # SCAN ends alike
        ({"scan": (0.0, -0.05), "vae": LATE}, "contradicted"),  # and starts alike
        ({"scan": (0.05, -0.02), "vae": LATE}, "contradicted"),
        ({"scan": (-0.05, -0.03), "vae": LATE, "kmeans": (0.05, -0.01)}, "contradicted"),
    ],
)
def test_with_a_long_tail_scan_is_judged_throughout_and_the_vae_at_the_end(
    gains: dict, expected: str
) -> None:
    assert answer("r11", study(gains, "cifar10_lt")) == expected


def test_at_low_budgets_pools_are_judged_over_the_curve() -> None:
    assert answer("r10", study({"vae": EARLY}, **LOW)) == "confirmed"  # type: ignore[arg-type]
    assert answer("r10", study({"vae": LATE}, **LOW)) == "contradicted"  # type: ignore[arg-type]


def test_simclr_elsewhere_is_judged_at_both_ends() -> None:
    """A gain in area alone, of a curve above between its ends, is not what is claimed."""
    runs = study({})
    middle = (runs["arm"] == "simclr") & (runs["cycle"] == 1)
    runs.loc[middle, "test/acc"] += 0.05
    assert answer("r3", runs) == "confirmed"
    assert (
        answer("r4", runs.replace({"arm": {"simclr": "scan", "scan": "simclr"}})) == "contradicted"
    )


@pytest.mark.parametrize(
    ("verdict", "high90", "high", "expected"),
    [
        ("undecided", 0.009, 0.011, "confirmed"),  # 95 %, one-sided
        ("undecided", 0.011, 0.013, "undecided"),
        ("equivalent", 0.009, 0.011, "confirmed"),
        ("worse", -0.01, -0.005, "confirmed"),
        ("better", 0.009, 0.011, "contradicted"),
    ],
)
def test_no_gain_needs_the_one_sided_limit(
    verdict: str, high90: float, high: float, expected: str
) -> None:
    row = pd.Series({"verdict": verdict, "high90": high90, "high": high})
    assert no_gain(0.01)(row) == expected
