"""Does the initial pool matter? What the runs say of each claim of the paper, R-1 to R-12."""

from __future__ import annotations

from active.claims.anatomy import r7, r8, r9
from active.claims.cost import r12
from active.claims.curves import r1, r2, r3, r4, r5, r6, r10, r11
from active.claims.study import Answer, Study

CLAIMS = (r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12)


def all_answers(study: Study) -> list[Answer]:
    """The answer to every claim, in order: confirmed, contradicted, undecided or not run."""
    return [claim(study) for claim in CLAIMS]
