"""What is typed -> what Hydra reads: texts in quotes, lists without spaces, keys by inner names."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

from conf.grid import split

# Settings that are texts whatever they look like: a folder may be called 2026_11, 1e3 or true.
TEXT = re.compile(
    r"\w+_dir|data\.root|([\w.]+\.)?path|score|out|name|logger\.\w+\.(project|entity|group)"
)
LISTS = ("logger",)  # several options at once, so a comma is not a grid
# A model's parent, an init's model and an init's other init are options of those groups, too.
NESTED = re.compile(r"(init|query|learner|model)(\.(of|model|parent))+")
# Options of sbatch, which are texts as well; those that it has no setting for can be added.
SBATCH = re.compile(
    r"hydra\.launcher\.(name|partition|account|qos|comment|constraint|exclude|gres|mem_per_\w+)"
)
FREE = "additional_parameters"
IN_QUOTES = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
UNQUOTED = re.compile(r"(\$\{[^{}']+\}|[A-Za-z0-9_./:+\-$%@])+")
ONE_TEXT = re.compile(r"(?:\$\{[^}]*\}|,\s|\s,|[^,])+")  # "Smith, John" is one


def inner_key(key: str) -> str:
    """`init.model` -> `model@init.model`: Hydra's name for the option of a group inside another."""
    if NESTED.fullmatch(key):
        return f"{'init' if key.endswith('.of') else 'model'}@{key}"
    return key


def flag_value(key: str, typed: str) -> str:
    """A flag's value as Hydra reads it; commas outside of brackets separate those of a grid."""
    if TEXT.fullmatch(key):
        if IN_QUOTES.fullmatch(typed):  # one text, with its commas
            return typed
        return ",".join(_text(part) for part in ONE_TEXT.findall(typed) or [typed])
    if key in LISTS:
        return element(f"[{typed.strip('[] ')}]")
    return ",".join(element(part) for part in split(typed))


def launcher_key(key: str) -> str:
    """`launcher.partition` -> `hydra.launcher.partition`; `++` is Hydra's to add what is new."""
    return f"{'++' * key.startswith(f'launcher.{FREE}')}hydra.{key}"


def launcher_value(key: str, typed: str) -> str:
    """A value about how runs are started, which is never one of a grid: `gpu,long` is one text."""
    return _text(typed) if SBATCH.fullmatch(key) else element(typed)


def raw_value(key: str, written: str) -> str:
    """The value of an override in Hydra's own words, where only a text may need its quotes."""
    as_it_is = not TEXT.fullmatch(key) or written[:1] in ("'", '"') or "\\" in written
    return written if as_it_is else flag_value(key, written)


def element(typed: str) -> str:
    """One value: a list or a mapping of values, or a number or word, in quotes if it needs them."""
    typed = typed.strip()
    inner = typed[1:-1].strip()
    if re.fullmatch(r"\[.*\]", typed):
        return f"[{','.join(element(part) for part in split(inner) if inner)}]"
    if re.fullmatch(r"\{.*:.*\}", typed):
        pairs = (part.partition(":") for part in split(inner))
        return f"{{{','.join(f'{key.strip()}:{element(value)}' for key, _, value in pairs)}}}"
    as_it_is = UNQUOTED.fullmatch(typed) or IN_QUOTES.fullmatch(typed)
    return typed if as_it_is else quoted(typed)


def quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _text(typed: str) -> str:
    return typed if typed == "null" else quoted(typed)
