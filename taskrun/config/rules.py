"""Rules between the keys of one table, by the name of its class in the file model; for the checks and the schema alike.

Which exclude each other, of which one must be there, which mean nothing alone, which this version does not carry out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.config.mistakes import describe
from taskrun.config.wording import listed

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.source import Path

COMMANDS = ("run", "shell", "python")

ONE_AT_MOST: dict[str, tuple[str, ...]] = {
    "TaskTable": COMMANDS,
    "SourceTable": ("glob", "lines", "range", "shell", "env"),
    "VariableTable": ("glob", "lines", "range", "shell", "env"),
    "ReadyTable": ("port", "output", "run"),
}
"""Of these keys a table has one or none."""

ONE_AT_LEAST: dict[str, tuple[str, ...]] = {
    "TaskTable": (*COMMANDS, "needs"),
    "SourceTable": ("glob", "lines", "range", "shell", "env"),
    "VariableTable": ("glob", "lines", "range", "shell", "env", "type", "choices", "default", "help"),
    "WhenTable": ("platform", "env", "exists"),
}
"""Of these keys a table has one or more."""

GOES_WITH: dict[str, dict[str, tuple[str, ...]]] = {
    "TaskTable": {
        "args": ("python",),
        "shell-argv": ("shell",),
        "stdin": ("run", "shell"),
        "pool": ("python",),
    }
    | dict.fromkeys(
        ("env", "dotenv", "cwd", "success-codes", "allow-failure", "stop-signal", "output", "log", "leak"), COMMANDS
    )
    | dict.fromkeys(("interactive", "grace", "timeout", "start-timeout", "idle-timeout", "stall-timeout"), COMMANDS)
    | dict.fromkeys(("retry", "limits", "slots", "progress", "inputs", "outputs", "service"), COMMANDS),
    "SourceTable": {"default": ("env",)},
}
"""A key that has no meaning without one of the others."""

NOT_WITH: dict[str, dict[str, tuple[str, ...]]] = {
    "VariableTable": dict.fromkeys(("type", "choices", "help"), ("glob", "lines", "range", "shell", "env"))
    | {"default": ("glob", "lines", "range", "shell")},
    "TaskTable": {"cron": ("every",)},
}
"""A key that excludes the others."""

NOT_YET: dict[str, tuple[str, ...]] = {
    "TaskTable": ("inputs", "outputs", "service"),
}
"""Keys that are part of the language and that this version does not carry out."""

PARSERS_NOT_YET = ("rsync", "yt-dlp", "curl", "wget", "7zip", "git", "pv", "osc")
"""Names of `progress` that this version does not carry out."""

_NEVER_PLAIN = frozenset({"args", "shell-argv", "stdin", "pool", "cron", *NOT_YET["TaskTable"]})


def check_task(table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    """The rules of a task's own table. Most tasks are plain, and that is seen at a glance."""
    commands = ("run" in table) + ("shell" in table) + ("python" in table)
    if commands != 1 or not _NEVER_PLAIN.isdisjoint(table):
        check_keys("TaskTable", table, path, mistakes)


def check_keys(kind: str, table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    """All rules that there are for tables of this kind."""
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


def _check_not_yet(kind: str, table: dict[str, Any], path: Path, mistakes: Mistakes) -> None:
    for key in NOT_YET.get(kind, ()):
        if key in table:
            message = f"{describe((*path, key))} is not carried out by this version of taskrun"
            mistakes.add("not-yet", message, (*path, key), part="key", label="remove it, or use a later version")


def _too_many(kind: str, there: list[str], path: Path, mistakes: Mistakes) -> None:
    code = "one-command" if kind == "TaskTable" else "conflict"
    message = f"{describe(path)} has {listed(there, 'and')}"
    mistakes.add(code, message, (*path, there[1]), part="key", label="keep one of them")


def _too_few(kind: str, wanted: tuple[str, ...], path: Path, mistakes: Mistakes) -> None:
    if kind == "TaskTable":
        label = "add `run`, `shell` or `python`, or `needs` for a group"
        mistakes.add("one-command", f"{describe(path)} has nothing to do", path, label=label)
    else:
        mistakes.add("missing-key", f"{describe(path)} is empty", path, label=f"add {listed(wanted)}")


def _alone(kind: str, key: str, partners: tuple[str, ...], path: Path, mistakes: Mistakes) -> None:
    if kind == "TaskTable" and partners == COMMANDS:
        message = f"{describe((*path, key))} has no effect, since the task has no command"
        label = "a task with only `needs` is a group: remove this, or add `run`, `shell` or `python`"
    else:
        message = f"{describe((*path, key))} has no meaning without {listed(partners)}"
        label = "remove it"
    mistakes.add("conflict", message, (*path, key), part="key", label=label)
