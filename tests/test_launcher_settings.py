"""Launchers: what they can be set to, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf import launchers
from conf.cli import parse
from conf.compose import compose_config, composer, plain
from conf.launchers import check_launcher
from datamodules.errors import UserError
from tests.conftest import ROOT, TINY

Cli = Any


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--launcher lokal", "unknown launcher 'lokal': did you mean 'local'?"),
        ("--processes 2 -m", "--processes is for --launcher local or --launcher slurm"),
        ("--launcher cluster", "--launcher cluster needs --gpus"),
        ("--launcher slurm", "--launcher slurm needs --gpus"),
        ("--launcher slurm --launcher.partition gpus", "--launcher slurm needs --gpus"),
        (
            "--launcher local --processes 0",
            "--processes must be a whole number of at least 1, not 0",
        ),
        ("--launcher local --processes 1.5", "--processes must be a whole number of at least 1"),
        ("--launcher local --processes 1,2", "--processes must be a whole number of at least 1"),
        ("--launcher local --gpus many", "--gpus must be a number of at least 0, not 'many'"),
        (
            "--launcher slurm --launcher.partitionn gpu",
            "unknown setting 'launcher.partitionn': did you mean 'launcher.partition'?",
        ),
        ("--launcher.partition gpu -m", "--launcher.partition needs a --launcher that has"),
        ("--launcher local --launcher.additional_parameters.nice 9", "unknown setting 'launcher."),
        (
            "--launcher slurm --launcher.timeout_min abc",
            "--launcher.timeout_min must be a whole number, not 'abc'",
        ),
        ("--launcher slurm --launcher.setup a", "--launcher.setup: a list is needed, as in"),
        (
            "--launcher slurm --launcher.additional_parameters a",
            "--launcher.additional_parameters:",
        ),
        (
            "--launcher slurm --gpus 0.5",
            "with --launcher slurm, --gpus must be a whole number of at least 0, not 0.5",
        ),
        ("--launcher cluster --gpus 1 --processes 3", "--processes is for"),
    ],
)
def test_wrong_words_about_launchers(flags: str, told: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra `cluster`")
    with pytest.raises(UserError) as caught:
        check_launcher(parse(flags.split()).launcher)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (["--gpus", "0"], ["#SBATCH --array=0-299%256", "#SBATCH --requeue"]),
        (["--launcher.gpus_per_node", "1"], ["--gpus-per-node=1"]),
        (["--processes", "4", "--gpus", "2"], ["--array=0-299%4", "--gpus-per-node=2"]),
        (["--launcher.partition", "gpu,long"], ["--partition=gpu,long"]),
        (["--launcher.partition", "2026_11"], ["--partition=2026_11"]),
        (["--launcher.constraint", "a100|h100"], ["--constraint='a100|h100'"]),
        (["--launcher.additional_parameters.constraint", "a100"], ["--constraint=a100"]),
        (["--launcher.additional_parameters.mail-type", "END,FAIL"], ["--mail-type=END,FAIL"]),
        (["--launcher.additional_parameters", "{gres: gpu:1, nice: 9}"],
         ["--gres=gpu:1", "--nice=9"]),
        (["--launcher.setup", "[module load cuda, 'export A=1,2']"],
         ["\nmodule load cuda\nexport A=1,2\n"]),
    ],
)  # fmt: skip
def test_options_of_slurm(flags: list[str], lines: list[str]) -> None:
    """As sbatch reads them, without a Slurm."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra `cluster`")
    from submitit.slurm.slurm import _make_sbatch_string

    needed = [] if any("gpus" in flag or "gres" in flag for flag in flags) else ["--gpus", "1"]
    line = parse(["--launcher", "slurm", *needed, *flags])
    assert parse(line.launcher).launcher == line.launcher
    check_launcher(line.launcher)
    with composer():
        words = [*line.launcher, "folder=x"]
        options = plain(compose_config("grid", words, with_hydra=True).hydra.launcher)
    own = ("_target_", "submitit_folder", "max_num_timeout", "timeout_min", "tasks_per_node",
           "name", "mem_gb")  # fmt: skip
    others = {key: value for key, value in options.items() if key not in own}
    text = _make_sbatch_string("srun", folder="x", map_count=300, **others)
    assert all(line in text for line in lines)


def test_a_launcher_that_is_not_installed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "RAY", "hydra_plugins.absent")
    local = launchers.LAUNCHERS["local"]
    absent = {**launchers.LAUNCHERS, "local": launchers.Launcher("absent.package", local.words, 1)}
    monkeypatch.setattr(launchers, "LAUNCHERS", absent)
    finished = cli(*TINY, "--seed", "0,1", "--launcher", "local")
    assert finished.status == 2
    assert "pip install --editable '.[cluster]'" in finished.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hiding", ["active/__init__.py", "conf.py"])
def test_a_folder_that_hides_our_code_from_workers(
    hiding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray and submitit put the current folder first on a worker's path."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra `cluster`")
    words = parse(["--launcher", "local"]).launcher
    for folder in (tmp_path, ROOT):
        monkeypatch.chdir(folder)
        check_launcher(words)
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"would import .*{hiding} in place of the code in"):
        check_launcher(words)
    check_launcher(parse(["-m"]).launcher)
