"""The help page, made from the YAML files themselves: first comments, defaults, side comments."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from conf.compose import ROOT, compose_config, composer, flatten, groups_of, plain
from conf.programs import PROGRAMS

LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):[^#]*(#\s*(?P<comment>.*))?$")


def help_text(program: str) -> str:
    """Purpose, examples, every group with its options, every setting with its default."""
    known = PROGRAMS[program]
    page = [
        _purpose(f"{program}.yaml"),
        f"usage: python {known.script} [--GROUP OPTION ...] [--SETTING VALUE ...]",
        "examples:\n" + known.examples,
        "flags:\n" + known.flags.replace("{launchers}", _launchers()),
    ]
    with composer():
        config = compose_config(program, [])
    page.append("groups:\n" + "\n".join(_group(program, name) for name in groups_of(program)))
    each = " (with --data digits; each data set brings its own budgets)"
    config_text = f"settings{each if 'data' in groups_of(program) else ''}:\n"
    page.append(config_text + "\n".join(_settings(program, config)))
    return "\n\n".join(page)


def _purpose(file: str) -> str:
    """The comment that a YAML file begins with, without Hydra's package line."""
    lines = []
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def _defaults(program: str) -> dict[str, str]:
    """The option of each group that is chosen where none is given."""
    listed = yaml.safe_load((ROOT / f"{program}.yaml").read_text(encoding="utf-8"))["defaults"]
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
    shown_as = {inside: flag for flag, inside in PROGRAMS[program].renamed.items()}
    values = flatten(plain(config))
    comments = _comments(f"{program}.yaml", "")
    for group, option in _defaults(program).items():
        if (ROOT / group / f"{option}.yaml").is_file():
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
    """Side comments of a YAML file, and of those beside it that it is built on, by dotted key."""
    comments: dict[str, str] = {}
    stack: list[str] = []
    text = (ROOT / file).read_text(encoding="utf-8")
    bases = [base for base in yaml.safe_load(text).get("defaults", []) if isinstance(base, str)]
    for beside in (Path(file).with_name(f"{base}.yaml") for base in bases):
        if (ROOT / beside).is_file():
            comments |= _comments(str(beside), prefix)
    for line in text.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        depth = len(match["indent"]) // 2
        stack = [*stack[:depth], match["key"]]
        if match["comment"]:
            comments[prefix + ".".join(stack)] = match["comment"]
    return comments
