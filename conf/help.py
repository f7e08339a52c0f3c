"""The help page, made from the YAML files themselves: first comments, defaults, side comments."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from conf.cli import RENAMED
from conf.compose import ROOT, compose_config, composer, flatten, groups_of

EXAMPLES = {
    "active": """\
  python active/run.py                                          a first look, on embedded digits
  python active/run.py --init random --query entropy --data mnist --seed 3
  python active/run.py --data cifar10 --query margin --trainer.max_epochs 5
  python active/run.py --data mnist --query entropy,margin --seed 0,1,2 -m      a grid of six runs
  python active/run.py --data folder --data.root my_images --budget 100
  python active/run.py --data cifar10 --query entropy --dry-run           how long would it take?
  python active/run.py --experiment quick && python active/report.py --experiment quick
  python active/run.py --experiment figure5 --launcher local --processes 8    eight runs at a time
  python active/run.py --experiment figure5 --dry-run              how many runs, how much work?""",
    "pretext": """\
  python pretext/train.py --model simclr                        on the embedded digits
  python pretext/train.py --model scan --data mnist             its parent models first
  python pretext/train.py --model vae --data cifar10 --model.max_epochs 200 --seed 1
  python pretext/train.py --model kmeans --model.parent vae     clusters of another model's features
  python pretext/train.py --model scan --data mnist --dry-run   how long would it take?
  python pretext/train.py --model vae --data folder --data.root my_images --score new_images""",
    "report": """\
  python active/report.py                                       runs made without --experiment
  python active/report.py --experiment figure5 --metric test/balanced_acc --logger wandb
  python active/report.py --toy""",
}
SCRIPTS = {
    "active": "active/run.py",
    "pretext": "pretext/train.py",
    "report": "active/report.py",
}
GRID = """\
  -m                   a grid: comma lists are all combined, one run after another
  --launcher NAME      a grid whose runs are started by
{launchers}
  --processes 4        runs at a time (local: default one for each core or, with GPUs, for each GPU)
  --gpus 0.5           GPUs of each run (default 1 where there are any); 0.5: two runs share one
  --attempts 3         a run that lost its process so often (slurm: met its limit) has failed"""
FLAGS = {
    "pretext": f"""\
  --dry-run            say which stages are there and how long the others take; write nothing
{GRID}
  --cfg job            print the resolved config, of a grid that of its first run, and stop
  --help               this page""",
    "active": f"""\
  --dry-run            say what would be done and how long it would take; write nothing
{GRID}
  --cfg job            print the resolved config, of a grid that of its first run, and stop
  --help               this page""",
    "report": """\
  --toy                draw only the study's idea in two dimensions, after the paper's Figure 1
  --help               this page""",
}
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):[^#]*(#\s*(?P<comment>.*))?$")


def help_text(program: str) -> str:
    """Purpose, examples, every group with its options, every setting with its default."""
    page = [
        _purpose(f"{program}.yaml"),
        f"usage: python {SCRIPTS[program]} [--GROUP OPTION ...] [--SETTING VALUE ...]",
        "examples:\n" + EXAMPLES[program],
        "flags:\n" + FLAGS[program].replace("{launchers}", _launchers()),
    ]
    with composer():
        config = compose_config(program, [])
    if groups_of(program):
        page.append("groups:\n" + "\n".join(_group(program, name) for name in groups_of(program)))
    each = " (with --data digits; each data set brings its own budgets)"
    config_text = f"settings{each if 'data' in groups_of(program) else ''}:\n"
    page.append(config_text + "\n".join(_settings(program, config)))
    return "\n\n".join(page)


def _purpose(file: str) -> str:
    """The comment that a YAML file begins with, without Hydra's package line."""
    lines = []
    for line in (ROOT / file).read_text().splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def _defaults(program: str) -> dict[str, str]:
    """The option of each group that is chosen where none is given."""
    listed = yaml.safe_load((ROOT / f"{program}.yaml").read_text())["defaults"]
    chosen = {k: v for entry in listed if isinstance(entry, dict) for k, v in entry.items()}
    return {k: ",".join(v) if isinstance(v, list) else v for k, v in chosen.items() if v}


def _launchers() -> str:
    names = sorted(file.stem for file in (ROOT / "hydra/launcher").glob("*.yaml"))
    return "\n".join(
        f"    {name:<17}  {_first_sentence(_purpose(f'hydra/launcher/{name}.yaml'))}"
        for name in names
    )


def _group(program: str, name: str) -> str:
    default = _defaults(program).get(name)
    head = f"  --{name}" + (f"  (default {default})" if default else "")
    options = [
        f"    {option:<17}  {_first_sentence(_purpose(f'{name}/{option}.yaml'))}"
        for option in groups_of(program)[name]
    ]
    return "\n".join([head, *options])


def _first_sentence(text: str) -> str:
    return textwrap.shorten(re.split(r"(?<=\w{2})[.] |  ", text)[0].rstrip("."), 96)


def _settings(program: str, config: Any) -> list[str]:
    from omegaconf import OmegaConf

    shown_as = {inside: flag for flag, inside in RENAMED[program].items()}
    values = flatten(OmegaConf.to_container(config, resolve=True))
    comments = _comments(f"{program}.yaml", "")
    if groups_of(program):
        chosen = _defaults(program)
        files = {g: o for g, o in chosen.items() if (ROOT / g / f"{o}.yaml").is_file()}
        for group, option in files.items():
            comments |= _comments(f"{group}/{option}.yaml", f"{group}.")
        comments |= _comments("logger/wandb.yaml", "logger.")
    lines = []
    for key, value in values.items():
        if "_target_" in key or key.startswith("data.source") or key in groups_of(program):
            continue
        shown = yaml.safe_dump(value, default_flow_style=True).partition("\n")[0]
        flag = shown_as.get(key, key)
        lines.append(f"  --{flag:<28} {shown:<12} {comments.get(key, '')}".rstrip())
    return lines


def _comments(file: str, prefix: str) -> dict[str, str]:
    """Side comments of a YAML file by dotted key."""
    comments: dict[str, str] = {}
    stack: list[str] = []
    for line in (ROOT / file).read_text().splitlines():
        match = LINE.match(line)
        if not match:
            continue
        depth = len(match["indent"]) // 2
        stack = [*stack[:depth], match["key"]]
        if match["comment"]:
            comments[prefix + ".".join(stack)] = match["comment"]
    return comments
