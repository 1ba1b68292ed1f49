"""What users probably meant: words of other task runners, and slips that are common in TOML. Used only for mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.config.expect import shown
from taskrun.config.model import RunTable
from taskrun.config.rules import NOT_YET
from taskrun.config.task_model import DefaultsTable, TaskTable

if TYPE_CHECKING:
    from taskrun.config.kinds import Table
    from taskrun.config.source import Path

_TASK_WORDS = {
    "cmd": "`run`, an array, or `shell`",
    "cmds": "`run`, an array, or `shell`",
    "command": "`run`, an array, or `shell`",
    "commands": "`run`, an array, or `shell`",
    "exec": "`run`, an array",
    "argv": "`run`",
    "script": "`shell`",
    "call": "`python`",
    "function": "`python`",
    "deps": "`needs`",
    "depends": "`needs`",
    "depends-on": "`needs`",
    "dependencies": "`needs`",
    "requires": "`needs`",
    "dir": "`cwd`",
    "directory": "`cwd`",
    "working-directory": "`cwd`",
    "workdir": "`cwd`",
    "desc": "`description`",
    "help": "`description`",
    "environment": "`env`",
    "matrix": "`foreach`",
    "for-each": "`foreach`",
    "sources": "`inputs`",
    "generates": "`outputs`",
    "if": "`when`",
    "condition": "`when`",
    "ignore-error": "`allow-failure`",
    "continue-on-error": "`allow-failure`",
    "kwargs": "`args`, a table",
    "arguments": "`args`",
    "attempts": "`retry.attempts`",
    "delay": "`retry.delay`",
    "internal": "`hidden`",
    "private": "`hidden`",
    "jobs": "`slots`",
    "signal": "`stop-signal`",
}
_TOP_WORDS = {"variables": "`vars`", "params": "`vars`", "parameters": "`vars`", "settings": "`run`"}
_RUN_WORDS = {"concurrency": "`jobs`", "parallel": "`jobs`", "workers": "`jobs`", "timeout": "`deadline`"}


def hint(key: str, value: Any, path: Path) -> str:
    """What to write instead, or nothing.

    Args:
        key: The key, known or not.
        value: What it has.
        path: The table that it stands in.
    """
    word = key.casefold().replace("_", "-")
    if not path:
        return _instead(_TOP_WORDS.get(word))
    if path == ("run",):
        return _instead(_RUN_WORDS.get(word))
    if path[0] == "tasks" and len(path) == 2:
        return _task_hint(key, word, value, str(path[1]))
    if path[-1] == "env" or path == ("env",):
        return f'write "{shown(value)}"' if isinstance(value, int | float) else ""
    return _element_hint(value, path)


def _task_hint(key: str, word: str, value: Any, task: str) -> str:
    fields = _keys(TaskTable)
    if key not in fields:
        if word in fields:
            return f"did you mean `{word}`?"
        if word in _TASK_WORDS:
            return _instead(_TASK_WORDS[word])
        if isinstance(value, dict):
            return f'a name with a dot needs quotes: [tasks."{task}.{key}"]'
        return ""
    if key == "run" and isinstance(value, str):
        words = ", ".join(f'"{each}"' for each in value.split())
        return f"write [{words}], or use `shell`" if len(words) < 60 else "use an array, or `shell`"
    if isinstance(value, str) and key in {"needs", "finally", "aliases", "dotenv", "inputs", "outputs", "shell-argv"}:
        return f'write ["{value}"]'
    if key == "shell" and isinstance(value, list):
        return "use `run` for an array"
    if key == "success-codes" and isinstance(value, int):
        return f"write [{value}]"
    return ""


def _element_hint(value: Any, path: Path) -> str:
    """For elements of arrays of strings."""
    if path[-1] in {"run", "shell-argv"} and isinstance(value, int | float):
        return f'write "{shown(value)}"'
    return ""


def home_of(key: str, path: Path) -> str:
    """The table in which a key is known that is not in this one."""
    if path[:1] != ("run",) and key in _keys(RunTable) - _keys(TaskTable):
        return "it belongs into [run]"
    if path in {("run",), ()} and key in _keys(DefaultsTable):
        return "it belongs into a task, or into [defaults] for all"
    if path in {("run",), (), ("defaults",)} and key in _keys(TaskTable):
        return "it belongs into a task"
    return ""


def _keys(table: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(table)}


def known_keys(table: type[Table]) -> list[str]:
    """The keys of a table that this version carries out, its own before those it shares with `[defaults]`."""
    own = [field.encode_name for field in msgspec.structs.fields(table)]
    if table is TaskTable:
        shared = [field.encode_name for field in msgspec.structs.fields(DefaultsTable)]
        own = [key for key in own if key not in shared] + shared
    return [key for key in own if key not in NOT_YET.get(table.__name__, ())]


def _instead(words: str | None) -> str:
    return f"here it is {words}" if words else ""
