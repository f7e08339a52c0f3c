"""What the paper says of cost: R-12."""

from __future__ import annotations

from active.claims.judge import NOT_RUN, Claim
from active.claims.study import Answer, Study
from active.columns import PARTS, options_of

HOUR = 3600


def r12(study: Study) -> Answer:
    """Hours on one kind of GPU are no result that another can confirm: our cost stands beside."""
    claim = Claim(
        "R-12",
        "VAAL on Tiny ImageNet takes more than 100 hours",
        "One run with VAAL on Tiny ImageNet takes more than 100 hours on a GTX 1080 Ti.",
    )
    rows = study.runs[options_of(study.runs["data"]) == "tiny_imagenet"]
    rows = rows[options_of(rows["query"]) == "vaal"]
    if rows.empty:
        return claim.answer(NOT_RUN, "Missing: vaal on Tiny ImageNet.")
    seconds = rows["time/train_s"].fillna(0) + rows["time/query_s"].fillna(0)
    runs = seconds.groupby([rows[c] for c in PARTS]).sum()
    return claim.answer(
        NOT_RUN,
        f"Hours on that GPU cannot be judged on another device; here a run took "
        f"{runs.mean() / HOUR:.2g} hours of training and querying (mean, n = {len(runs)}).",
    )
