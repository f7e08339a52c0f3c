"""A query of the user's own, as the README has it, and queries that read an artifact."""

from __future__ import annotations

import importlib
import linecache
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, Finished, only_run, rows_of, selected_of

Cli = Callable[..., Finished]


@pytest.fixture
def own(tmp_path: Path) -> None:
    """The README's block in the current folder."""
    blocks = re.findall(r"```python\n(# my_queries\.py\n.*?)```", (ROOT / "README.md").read_text(),
                        flags=re.DOTALL)  # fmt: skip
    (block,) = blocks
    (tmp_path / "my_queries.py").write_text(block)


@pytest.mark.usefixtures("own")
def test_the_readmes_query_runs(cli: Cli, tmp_path: Path) -> None:
    finished = cli(*TINY, "--query", "my_queries.Gap", "--query.power", "2")
    assert finished.status == 0, finished.err
    run = only_run(tmp_path)
    assert "my_queries.Gap-power2" in str(run)
    assert [row["pool/labeled"] for row in rows_of(run)] == [20, 40, 60]
    entropy = cli(*TINY, "--query", "entropy", "--runs_dir", "other")
    assert entropy.status == 0
    other = next((tmp_path / "other").glob("**/config.yaml")).parent
    assert selected_of(other)[0] == selected_of(run)[0]
    assert selected_of(other)[1] != selected_of(run)[1]


def write_query(folder: Path, score: str) -> None:
    """my_own.Mine, as a new process would find it."""
    (folder / "my_own.py").write_text(
        "from active.query import ScoreQuery\n\n\n"
        f"class Mine(ScoreQuery):\n    def score(self, outputs):\n        {score}\n"
    )
    sys.modules.pop("my_own", None)
    importlib.invalidate_caches()
    linecache.checkcache()


def test_a_query_whose_code_was_changed_does_not_go_on_with_its_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    one, more = (*TINY, "--query", "my_own.Mine", "--cycles", "1"), ("--cycles", "2")
    write_query(tmp_path, "return outputs.logits[:, 0]")
    assert cli(*one).status == 0
    write_query(tmp_path, "# of the first class\n        return (outputs.logits[:, 0])")
    assert cli(*one, *more).status == 0
    for arguments in (one, (*one, "--cycles", "3")):
        write_query(tmp_path, "return -outputs.logits[:, 0]")
        refused = cli(*arguments)
        assert refused.status == 2
        assert "query_code (" in refused.err


def test_scores_of_another_shape_are_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    write_query(tmp_path, "return outputs.logits")
    refused = cli(*TINY, "--query", "my_own.Mine")
    assert refused.status == 2
    assert "Mine.score must give a number a sample" in refused.err


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("my_queries.Gip", "cannot be imported"),
        ("no_such_module.Gap", "cannot be imported"),
        ("my_queries.__doc__", "is not a class"),
        (".x", "--query .x must be an option or a class, as in my_module.MyQuery"),
        ("..x", "--query ..x must be an option or a class"),
    ],
)
def test_a_query_that_is_not_there(cli: Cli, name: str, sentence: str) -> None:
    refused = cli("--query", name)
    assert refused.status == 2
    assert sentence in refused.err


def test_a_query_on_an_artifact_trains_it_once(cli: Cli, tmp_path: Path) -> None:
    command = (*TINY, "--query", "typiclust", "--query.model.max_epochs", "1")
    finished = cli(*command)
    assert finished.status == 0, finished.err
    assert len(list((tmp_path / "artifacts/digits").glob("simclr-*"))) == 1
    chosen = selected_of(only_run(tmp_path))
    assert len({i for cycle in chosen for i in cycle}) == 60
    again = cli(*command, "--runs_dir", "again", "--pretext.if_missing", "error")
    assert again.status == 0, again.err


def test_an_init_of_the_users_own_and_its_changes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    command = (*TINY, "--init", "my_own.First", "--init.step", "2", "--cycles", "0")

    def write(expression: str) -> None:
        (tmp_path / "my_own.py").write_text(
            "from datamodules.initial import Init\n\n\n"
            "class First(Init):\n"
            "    def __init__(self, step: int = 1):\n        self.step = step\n\n"
            "    def __call__(self, candidates, budget, seed):\n"
            f"        return candidates.indices[{expression}][:budget]\n"
        )
        sys.modules.pop("my_own", None)
        importlib.invalidate_caches()

    write("::self.step")
    finished = cli(*command)
    assert finished.status == 0, finished.err
    run = only_run(tmp_path)
    assert "my_own.First-step2" in str(run)
    chosen = selected_of(run)[0]
    assert chosen == sorted(chosen)
    write("::-self.step")
    refused = cli(*command)
    assert refused.status == 2
    assert "init_code (" in refused.err
