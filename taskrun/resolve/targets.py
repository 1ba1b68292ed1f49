"""Reads what the command line names: tasks, aliases, globs and instances. Decides nothing about what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.config.wording import suggestion
from taskrun.model import NothingMatched, UsageError
from taskrun.resolve.attempts import reads_arguments
from taskrun.resolve.globs import has_wildcard
from taskrun.resolve.instances import matching, split_reference
from taskrun.resolve.mistakes import listed, unfit
from taskrun.resolve.values import NothingAsked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskrun.config.project import TaskSpec


class Target:
    """One thing that was asked for.

    Attributes:
        task: Name of the task.
        pins: What stood in brackets behind it; ``None``: all its instances.
    """

    __slots__ = ("pins", "task")

    def __init__(self, task: str, pins: str | None = None) -> None:
        self.task = task
        self.pins = pins


def read_targets(asked: Sequence[str], tasks: Mapping[str, TaskSpec]) -> list[Target]:
    """Read the targets of a command line; all mistakes at once.

    Raises:
        NothingAsked: There are none.
        UsageError: A name is unknown.
        NothingMatched: A glob matches no task.
    """
    if not asked:
        raise NothingAsked("no task was named, and [run] has no `default`")
    targets: list[Target] = []
    unknown: list[str] = []
    unmatched: list[str] = []
    for text in asked:
        found = _read(text, tasks)
        targets += found
        if not found:
            (unmatched if has_wildcard(text) else unknown).append(text)
    if unknown:
        raise UsageError("\n".join(_unknown(text, tasks) for text in unknown))
    if unmatched:
        raise NothingMatched("\n".join(f"no task matches `{text}`" for text in unmatched))
    return targets


def _read(text: str, tasks: Mapping[str, TaskSpec]) -> list[Target]:
    name = _named(text, tasks)
    if name is not None:
        return [Target(name)]
    split = split_reference(text)
    if split is not None and (name := _named(split[0], tasks)) is not None:
        return [Target(name, split[1])]
    return [Target(name) for name in matching(text, tasks)] if has_wildcard(text) else []


def _named(text: str, tasks: Mapping[str, TaskSpec]) -> str | None:
    if text in tasks:
        return text
    return next((name for name, spec in tasks.items() if text in spec.aliases), None)


def _unknown(text: str, tasks: Mapping[str, TaskSpec]) -> str:
    aliases = [alias for spec in tasks.values() for alias in spec.aliases]
    near = suggestion(text, [*tasks, *aliases])
    return f"there is no task `{text}`" + (f"; {near}" if near else "")


def task_for_extra(extra: Sequence[str], targets: Sequence[Target], tasks: Mapping[str, TaskSpec]) -> str:
    """Return the task that arguments after ``--`` go to.

    Raises:
        UsageError: There is not exactly one that can take them.
    """
    names = list(dict.fromkeys(target.task for target in targets))
    if len(names) != 1:
        raise UsageError(f"arguments after `--` go to one task, and here are {len(names)}: {listed(names)}")
    spec = tasks[names[0]]
    if spec.python is not None:
        raise UsageError(f"`{spec.name}` calls a Python function: give it KEY=VALUE, not arguments after `--`")
    if spec.is_group:
        raise UsageError(f"`{spec.name}` is a group and runs nothing that could take arguments after `--`")
    if spec.shell is not None and not reads_arguments(spec.shell):
        place = 'has neither "$@" nor {{ extra }}'
        raise UsageError(f"the command line of `{spec.name}` {place}: nothing would read the arguments after `--`")
    problem = next((problem for text in extra if (problem := unfit(text))), None)
    if problem:
        raise UsageError(f"an argument after `--` {problem}")
    return spec.name
