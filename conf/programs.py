"""The three programs: what each is called, what it runs, and what its command line takes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Program:
    """What an entry script runs: `handler` for each job, after `check` of all jobs of a grid.

    Functions are named as `module:function` and imported late, because they import torch.

    Args:
        name: of its YAML file in conf/.
        script: how it is started.
        groups: whose options its command line chooses.
        examples: lines of its help page.
        flags: the same, about what is no setting; `{launchers}` stands for the list of them.
        check: raises UserError for a job that cannot run; a program without one has no grids.
        grid: a module about a grid as a whole: its `missing(jobs)` are jobs that stand for the
            artifacts that runs share and that are not there yet, in order, `make(job)` makes
            those of one job, and `outline(jobs)` tells how much work all is.
        runs: whether its jobs are runs, which have a name, a folder and an experiment.
        renamed: what a flag is called inside; Hydra takes any key with a group's name for a choice
            of an option.
    """

    name: str
    script: str
    handler: str
    groups: tuple[str, ...]
    examples: str
    flags: str
    check: str | None = None
    grid: str | None = None
    runs: bool = False
    renamed: dict[str, str] = field(default_factory=dict)


GRID = """\
  -m                   a grid: comma lists are all combined, one run after another
  --launcher NAME      a grid whose runs are started by
{launchers}
  --processes 4        runs at a time (local: default one for each core or, with GPUs, for each GPU)
  --gpus 0.5           GPUs of each run (local: default 1 where there are any); 0.5: two share one
  --attempts 3         how often a run is tried whose process dies (slurm: hits its time limit)
                       before it has come further
  --cfg job            print the resolved config (for a grid, its first run's) and exit
  --help               this page"""

ACTIVE = Program(
    name="active",
    script="active/run.py",
    handler="active.job:run",
    check="active.prepare:prepare",
    grid="active.grid",
    runs=True,
    groups=("data", "experiment", "init", "learner", "logger", "query", "trainer"),
    examples="""\
  python active/run.py                                          a first look, on embedded digits
  python active/run.py --init random --query entropy --data mnist --seed 3
  python active/run.py --data cifar10 --query margin --trainer.max_epochs 5
  python active/run.py --data mnist --query entropy,margin --seed 0,1,2 -m      a grid of six runs
  python active/run.py --data folder --data.root my_images --budget 100
  python active/run.py --data cifar10 --query entropy --dry-run           how long would it take?
  python active/run.py --experiment quick && python active/report.py --experiment quick
  python active/run.py --experiment figure5 --launcher local --processes 8    eight runs at a time
  python active/run.py --experiment figure5 --dry-run              how many runs, how much work?""",
    flags=f"""\
  --dry-run            say what would be done and how long it would take; write nothing
{GRID}""",
)

PRETEXT = Program(
    name="pretext",
    script="pretext/train.py",
    handler="pretext.job:run",
    check="pretext.job:check",
    groups=("data", "model", "trainer", "logger"),
    renamed={"trainer.max_epochs": "model.max_epochs", "seed": "pretext.seed"},
    examples="""\
  python pretext/train.py --model simclr                        on the embedded digits
  python pretext/train.py --model scan --data mnist             its parent models first
  python pretext/train.py --model vae --data cifar10 --model.max_epochs 200 --seed 1
  python pretext/train.py --model kmeans --model.parent vae     clusters of another model's features
  python pretext/train.py --model scan --data mnist --dry-run   how long would it take?
  python pretext/train.py --model vae --data folder --data.root my_images --score new_images""",
    flags=f"""\
  --dry-run            say which stages are there and how long the others take; write nothing
{GRID}""",
)

REPORT = Program(
    name="report",
    script="active/report.py",
    handler="active.reporting.job:run",
    groups=("logger",),
    renamed={"experiment": "name"},
    examples="""\
  python active/report.py                                       runs made without --experiment
  python active/report.py --experiment figure5 --metric test/balanced_acc --logger wandb
  python active/report.py --toy""",
    flags="""\
  --toy                draw only the study's idea in two dimensions, after the paper's Figure 1
  --help               this page""",
)

PROGRAMS = {program.name: program for program in (ACTIVE, PRETEXT, REPORT)}
