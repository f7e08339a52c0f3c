"""The README: its links lead somewhere, and its commands are ones that the programs take."""

from __future__ import annotations

import re
import shlex

import pytest

from conf.cli import CommandLine, check_names, expand, parse
from conf.grid import read_experiment
from conf.launchers import check_launcher
from conf.programs import PROGRAMS
from datamodules.errors import UserError
from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()
PROSE = re.sub(r"(?ms)^```.*?^```$", "", TEXT)
SCRIPTS = {program.script: name for name, program in PROGRAMS.items()}


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: lower case, signs left out, a hyphen for each space."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands() -> list[str]:
    """Every `python ...` of the blocks and of the text, but that with a query of one's own."""
    blocks = "\n".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", TEXT)).replace("\\\n", " ")
    found = re.findall(r"(?m)^python (.*)$", blocks) + re.findall(r"`python ([^`]*)`", PROSE)
    plain = dict.fromkeys(
        re.sub(r"\s+", " ", command.partition(" #")[0].strip()) for command in found
    )
    return [command for command in plain if "my_queries" not in command]


def test_links_lead_somewhere() -> None:
    anchors = [anchor(heading) for heading in re.findall(r"(?m)^#+ (.*)$", PROSE)]
    assert len(set(anchors)) == len(anchors)
    targets = re.findall(r"\]\(([^)]*)\)", PROSE)
    assert len(targets) > 10
    local = [target for target in targets if not target.startswith("https://")]
    assert [t for t in local if t[0] == "#" and t[1:] not in anchors] == []
    assert [t for t in local if t[0] != "#" and not (ROOT / t).is_file()] == []


def taken(command: str) -> None:
    """UserError for a name or a value that the program refuses; of a grid, one run is composed."""
    script, *argv = shlex.split(command)
    program = SCRIPTS[script]
    line = parse([word for word in argv if word != "-m"], program)
    if "--launcher" in argv:
        for plugin in ("hydra_ray_launcher", "hydra_submitit_launcher"):
            pytest.importorskip(f"hydra_plugins.{plugin}", reason="the extra `cluster`")
    check_launcher(line.launcher)
    check_names(program, line.overrides)
    alone = [word.split(",")[0] for word in line.overrides if not word.startswith("experiment=")]
    if program == "active":
        for name in re.findall(r"--experiment (\S+)", command):
            read_experiment(name)
    expand(program, CommandLine(overrides=alone))


@pytest.mark.parametrize("command", commands())
def test_its_commands_are_taken(command: str) -> None:
    taken(command)


@pytest.mark.parametrize(
    "words",
    ["--trainer.max_epoch 5", "--query margine,random -m", "--experiment figur5", "--launcher ray"],
)
def test_others_are_not(words: str) -> None:
    with pytest.raises(UserError):
        taken(f"active/run.py {words}")
