"""What a run is called: its folder names every setting that makes it differ from another run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.compose import flatten

ERROR = "error.txt"  # in a run's folder: what went wrong in its last attempt
ROWS = "cycles.jsonl"  # a line for each complete cycle
# Settings that change no result: where things lie, how they are shown and how they are loaded.
VOLATILE = (
    "runs_dir", "artifacts_dir", "share_cycle_0", "dry_run", "cycles", "logger", "data.root",
    "data.in_memory",
    "data.workers", "data.source.root", "data.cycles", "trainer.timeout_hours",
    "trainer.keep_checkpoints", "pretext.if_missing",
    "data.recipe.pretext_flip",  # a model's own `flip` is compared
)  # fmt: skip
# Settings that only pass values on to others, which are named themselves.
PASSED_ON = (
    "data.recipe.max_epochs", "data.recipe.batch_size", "data.recipe.optimizer", "data.recipe.lr",
    "data.recipe.weight_decay", "data.recipe.schedule", "data.recipe.projection",
    "data.recipe.threads", "data.init_budget", "data.budget", "data.clusters",
)  # fmt: skip
NETWORK = ("width", "stem", "max_pool")  # of the recipe, for pretext models and most learners
LONGEST = 60  # characters of a value in a name


@dataclass(frozen=True)
class RunName:
    """`runs/<experiment>/<data>/<init>/<query>/<learner>/seed<k>`, part by part."""

    experiment: str = ""
    data: str = ""
    init: str = ""
    query: str = ""
    learner: str = ""
    seed: str = ""

    @property
    def path(self) -> str:
        """Relative to the folder of runs; a report has no name of its own."""
        return "/".join((self.experiment, *self.arm, self.seed))

    @property
    def arm(self) -> tuple[str, str, str, str]:
        return self.data, self.init, self.query, self.learner


def is_volatile(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in VOLATILE)


def is_passed_on(key: str, values: dict[str, Any]) -> bool:
    """Whether a setting is told by the others that it gave its value to."""
    path, _, name = key.rpartition(".")
    if path == "data.recipe" and name in NETWORK:
        return values.get(f"learner.{name}") == values[key]
    if path == "data.source":  # of a folder: its own settings
        return values.get(f"data.{name}") == values[key]
    return key in PASSED_ON


def name_run(choices: dict[str, str], config: dict[str, Any], baseline: dict[str, Any]) -> RunName:
    """The name of a run, from its config and that of its options without any further setting.

    The number of cycles is no part of it, so that more cycles extend a finished run; devices and
    precision, like other settings of the trainer that change numbers, belong to the learner's part.
    """
    values, defaults = flatten(config), flatten(baseline)
    changed = {
        key: value
        for key, value in values.items()
        if value != defaults.get(key) and not is_passed_on(key, values) and not is_volatile(key)
    }  # fmt: skip

    def part(option: str, *prefixes: str) -> str:
        words = [option]
        for prefix in prefixes:
            own = ((k.removeprefix(prefix), v) for k, v in changed.items() if k.startswith(prefix))
            words += [_word(key, value) for key, value in own]
        return "-".join(words)

    budgets = ""
    if "init_budget" in changed or "budget" in changed:
        budgets = f"-{_text(values['init_budget'])}+{_text(values['budget'])}"
    data = choices["data"]
    if data == "folder":
        root = Path(values["data.root"]).resolve()  # two folders may have the same last name
        data += f"-{_plain(root.name)}-{_digest(str(root))}"
    pretext = f"-pretext{_text(values['pretext.seed'])}" if "pretext.seed" in changed else ""
    if "pretext.epochs" in values and values["pretext.epochs"] != 1:
        budgets += f"-pretext_epochs{_text(values['pretext.epochs'])}"
    return RunName(
        experiment=choices.get("experiment") or "single",
        data=part(data, "data.") + budgets,
        init=part(choices["init"], "init.") + pretext,
        query=part(choices["query"], "query."),
        learner=part(choices["learner"], "learner.", "trainer."),
        seed=part(f"seed{values['seed']}", "seeds."),
    )


def _word(key: str, value: Any) -> str:
    name = key.replace(".", "_")
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    return name + _text(value)


def _text(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        value = int(value)
    text = _plain(str(value))
    return text if text == str(value) else f"{text}_{_digest(str(value))}"  # others look like it


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")[:LONGEST] or "_"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
