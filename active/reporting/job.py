"""The report, from the command line to its files."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from active import formats
from active.columns import PARTS
from active.figures.toy import toy
from active.reporting.blocks import Picture, Section
from active.reporting.files import save, write_files
from active.reporting.material import Material, read_material
from active.reporting.page import page
from active.reporting.sections import (
    answer,
    costs,
    curves,
    pools,
    queries,
    ranking,
    recipes,
    runs,
    verdicts,
)
from conf.jobs import Job
from conf.schema import ReportConfig

SECTIONS = (answer, curves, verdicts, ranking, pools, queries, recipes, costs, runs)

TOY = "Three initial pools in two dimensions, and what is learned from each"


def run(job: Job) -> None:
    """Writes the report of an experiment, or with `--toy` the study's idea on toy data."""
    config: ReportConfig = job.config
    runs_dir = Path(config.runs_dir)
    out = Path(config.out) if config.out else runs_dir / config.name / "report"
    if config.toy:
        out.mkdir(parents=True, exist_ok=True)
        save(Picture("toy", TOY, TOY, toy), out)
        print(f"written to {out}: toy.png, toy.svg")
        return
    material = read_material(
        runs_dir,
        config.name,
        Path(config.artifacts_dir) if config.artifacts_dir else None,
        config.metric,
        config.margin,
        "counted" if config.count_validation else "labeled",
    )
    sections = [part.section(material) for part in SECTIONS]
    write_report(material, sections, out)
    for sentence in answer.summary(material):
        print(sentence)
    if config.logger:
        from active.reporting.wandb_run import log_report  # Lightning and torch only if asked for

        log_report(job, sections, out)
    print(f"written to {out}: report.html, and its figures, tables and sheets as files")


def write_report(material: Material, sections: list[Section], out: Path) -> None:
    """`report.html` beside the same figures and tables as files."""
    out.mkdir(parents=True, exist_ok=True)
    write_files(sections, out)
    html = page(material.experiment, subtitle(material), sections, _footer())
    (out / "report.html").write_text(html, encoding="utf-8")


def subtitle(material: Material) -> str:
    """What there is, in a line: data, pools, queries, seeds, runs."""
    runs = material.runs
    counts = [
        formats.listing(sorted(runs["data"].unique())),
        formats.plural(runs["arm"].nunique(), "initial pool"),
        formats.plural(runs["query"].nunique(), "query"),
        formats.plural(runs["seed"].nunique(), "seed"),
        formats.plural(len(runs.drop_duplicates(list(PARTS))), "run"),
    ]
    return " · ".join(counts)


def _footer() -> str:
    command = " ".join(["python active/report.py", *sys.argv[1:]])
    return (
        f"Written {datetime.now():%Y-%m-%d %H:%M} by {command}. The paper: A. L. Chandra, "
        "S. V. Desai, C. Devaguptapu, V. N. Balasubramanian: On Initial Pools for Deep Active "
        "Learning, PMLR 148, 2021."
    )
