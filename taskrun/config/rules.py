"""Rules between the keys of one table, as they stand at the end of the file model.

Which exclude each other, of which one must be there, which mean nothing alone, which this version does not carry out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.config.mistakes import describe
from taskrun.config.model import COMMANDS, GOES_WITH, NOT_WITH, NOT_YET, ONE_AT_LEAST, ONE_AT_MOST
from taskrun.config.task_model import TaskTable
from taskrun.config.wording import listed

if TYPE_CHECKING:
    from taskrun.config.kinds import Table
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.source import Path

_NEVER_PLAIN = frozenset({"args", "shell-argv", "stdin", "pool", *NOT_YET[TaskTable]})


def check_task(table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    """The rules of a task's own table. Most tasks are plain, and that is seen at a glance."""
    commands = ("run" in table) + ("shell" in table) + ("python" in table)
    if commands != 1 or not _NEVER_PLAIN.isdisjoint(table):
        check_keys(TaskTable, table, path, mistakes)


def check_keys(kind: type[Table], table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    """All rules that the file model has for tables of this kind."""
    _check_not_yet(kind, table, path, mistakes)
    there = [key for key in table if key in ONE_AT_MOST.get(kind, ())]
    if len(there) > 1:
        _too_many(kind, there, path, mistakes)
    wanted = ONE_AT_LEAST.get(kind, ())
    if wanted and table.keys().isdisjoint(wanted):
        _too_few(kind, wanted, path, mistakes)
        return
    for key, partners in GOES_WITH.get(kind, {}).items():
        if key in table and table.keys().isdisjoint(partners):
            _alone(kind, key, partners, path, mistakes)
    for key, others in NOT_WITH.get(kind, {}).items():
        for other in others:
            if key in table and other in table:
                message = f"{describe((*path, key))} has no meaning beside `{other}`"
                mistakes.add("conflict", message, (*path, key), part="key", label="keep one of them")


def _check_not_yet(kind: type[Table], table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    for key in NOT_YET.get(kind, ()):
        if key in table:
            message = f"{describe((*path, key))} is not carried out by this version of taskrun"
            mistakes.add("not-yet", message, (*path, key), part="key", label="remove it, or use a later version")


def _too_many(kind: type[Table], there: list[str], path: Path, mistakes: Mistakes) -> None:
    code = "one-command" if kind is TaskTable else "conflict"
    message = f"{describe(path)} has {listed(there, 'and')}"
    mistakes.add(code, message, (*path, there[1]), part="key", label="keep one of them")


def _too_few(kind: type[Table], wanted: tuple[str, ...], path: Path, mistakes: Mistakes) -> None:
    if kind is TaskTable:
        label = "add `run`, `shell` or `python`, or `needs` for a group"
        mistakes.add("one-command", f"{describe(path)} has nothing to do", path, label=label)
    else:
        mistakes.add("missing-key", f"{describe(path)} is empty", path, label=f"add {listed(wanted)}")


def _alone(kind: type[Table], key: str, partners: tuple[str, ...], path: Path, mistakes: Mistakes) -> None:
    if kind is TaskTable and partners == COMMANDS:
        message = f"{describe((*path, key))} has no effect, since the task has no command"
        label = "a task with only `needs` is a group: remove this, or add `run`, `shell` or `python`"
    else:
        message = f"{describe((*path, key))} has no meaning without {listed(partners)}"
        label = "remove it"
    mistakes.add("conflict", message, (*path, key), part="key", label=label)
