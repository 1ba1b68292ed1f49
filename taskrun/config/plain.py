"""Sees that a document is plainly right without the file model, the import of which is a tenth of a start.

It says yes only to what the model would let through; no means nothing but that the model has to look. It states no rule
of its own: whatever is not simple, and every mistake, is the model's affair, and tests hold its yes to the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from taskrun.config.units import LONGEST

Check: TypeAlias = Callable[[Any], bool]

_MOST_TASKS = 1000
"""In larger files the model, once it is imported, is the faster one."""

_MOST_DIGITS = 9
_LARGEST = 2**63
_LONGEST_NAME = 100


def is_plain(document: dict[str, Any]) -> bool:
    """Whether a document fits the file model for certain."""
    tasks = document.get("tasks")
    return type(tasks) is dict and 0 < len(tasks) <= _MOST_TASKS and _file(document)


# --- values of one kind, as in `kinds` --------------------------------------------------------------------------------


def _text(value: Any) -> bool:
    return type(value) is str


def _filled(value: Any) -> bool:
    return type(value) is str and value != ""


def _flag(value: Any) -> bool:
    return type(value) is bool


def _positive(value: Any) -> bool:
    return type(value) is int and 0 < value < _LARGEST


def _scalar(value: Any) -> bool:
    kind = type(value)
    return kind is str or kind is bool or kind is float or (kind is int and -_LARGEST < value < _LARGEST)


def _exit_code(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _seconds(value: Any) -> bool:
    """One number with one unit, or a number; `1h30m` and the like are the model's."""
    if type(value) is str:
        number = value.rstrip("dhms")
        return value[len(number) :] in {"d", "h", "m", "s", "ms"} and _is_number(number)
    return (type(value) is int or type(value) is float) and 0 < value <= LONGEST


def _seconds_or_zero(value: Any) -> bool:
    return _seconds(value) or (type(value) is int and value == 0)


def _size(value: Any) -> bool:
    return _positive(value) or (_text(value) and value[-3:] in {"KiB", "MiB", "GiB"} and _is_number(value[:-3]))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0


def _signal(value: Any) -> bool:
    if type(value) is str:
        return value.isascii() and value.isalnum() and value[0].isalpha() and value == value.upper()
    return type(value) is int and 1 <= value <= 64


def _name(value: Any) -> bool:
    """Of a task."""
    return (
        type(value) is str
        and value.isascii()
        and value[:1] not in {"-", "."}
        and len(value) <= _LONGEST_NAME
        and value.replace("-", "").replace(".", "").replace("_", "").isalnum()
    )


def _identifier(value: Any) -> bool:
    return (
        type(value) is str
        and value.isascii()
        and value[:1] != "-"
        and len(value) <= _LONGEST_NAME
        and value.replace("-", "_").isidentifier()
    )


def _variable(value: Any) -> bool:
    return _filled(value) and "=" not in value


def _target(value: Any) -> bool:
    if type(value) is not str:
        return False
    module, _, function = value.partition(":")
    return module.replace(".", "_").isidentifier() and function.replace(".", "_").isidentifier()


def _retry_rule(value: Any) -> bool:
    if type(value) is not str:
        return False
    kind, _, code = value.removeprefix("!").partition(":")
    if kind == "exit":
        return code.isascii() and code.isdigit() and len(code) <= 3
    if kind == "signal":
        return _signal(code)
    if kind == "exception":
        return code.isidentifier()
    return value.removeprefix("!") in {"timeout", "idle", "start", "stall", "lost", "failure"}


def _any_arguments(value: Any) -> bool:
    return type(value) is dict or type(value) is list


# --- of many ----------------------------------------------------------------------------------------------------------


def _word(*words: str) -> Check:
    return lambda value: type(value) is str and value in words


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _or_off(check: Check) -> Check:
    return lambda value: value is False or check(value)


def _list(check: Check, least: int = 0, most: int = _LARGEST) -> Check:
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(check, value))


def _each(key: Check, check: Check, least: int = 0) -> Check:
    """A table with keys of the user's."""
    return lambda value: (
        type(value) is dict and len(value) >= least and all(map(key, value)) and all(map(check, value.values()))
    )


def _table(checks: dict[str, Check]) -> Check:
    """A table with keys of ours, of which none has to be there."""

    def fits(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key, inner in value.items():
            check = checks.get(key)
            if check is None or not check(inner):
                return False
        return True

    return fits


# --- the tables, as in `parts`, `task_model` and `model`: what is missing here is the model's -------------------------

_names = _list(_filled)
_one_or_more = _either(_filled, _list(_filled, 1))
_environment = _each(_variable, _text)
_platform = _word("linux", "macos")

_SOURCE: dict[str, Check] = {
    "glob": _one_or_more,
    "lines": _filled,
    "range": _list(lambda value: type(value) is int and abs(value) < _LARGEST, 2, 2),
    "shell": _filled,
    "env": _variable,
    "default": _scalar,
}
_PARAMETER: dict[str, Check] = {
    "type": _word("str", "int", "float", "bool", "path"),
    "choices": _list(_scalar, 1),
    "help": _text,
}
_RETRY: dict[str, Check] = {
    "attempts": _positive,
    "delay": _either(_seconds_or_zero, _list(_seconds_or_zero, 2, 2)),
    "on": _list(_retry_rule, 1),
}
_when = _table({"platform": _either(_platform, _list(_platform, 1)), "env": _one_or_more, "exists": _one_or_more})

_DEFAULTS: dict[str, Check] = {
    "finally": _names,
    "hidden": _flag,
    "shell-argv": _list(_filled, 1),
    "dotenv": _names,
    "cwd": _filled,
    "when": _or_off(_either(_when, _list(_when, 1))),
    "success-codes": _list(_exit_code, 1),
    "allow-failure": _flag,
    "stop-signal": _signal,
    "stdin": _or_off(_filled),
    "output": _or_off(_word("stream", "group", "failed", "none")),
    "log": _either(_flag, _size),
    "leak": _word("warn", "fail"),
    "interactive": _flag,
    "grace": _seconds_or_zero,
    "timeout": _or_off(_seconds),
    "start-timeout": _or_off(_seconds),
    "idle-timeout": _or_off(_seconds),
    "stall-timeout": _or_off(_seconds),
    "retry": _or_off(_either(_positive, _table(_RETRY))),
    "limits": _or_off(_either(_each(_identifier, _positive), _list(_identifier))),
    "slots": _either(_positive, _word("all")),
    "progress": _or_off(_word("ffmpeg", "percent", "fraction", "tqdm")),
    "pool": _or_off(_identifier),
}
_TASK: dict[str, Check] = {
    **_DEFAULTS,
    "description": _text,
    "run": _list(_text, 1),
    "shell": _filled,
    "python": _target,
    "args": _any_arguments,
    "needs": _names,
    "foreach": _each(_identifier, _either(_filled, _list(_scalar), _table(_SOURCE)), 1),
    "aliases": _list(_name),
    "every": _seconds,
    "cron": _filled,
    "env": _environment,
}
_POOL: dict[str, Check] = {
    "size": _positive,
    "preload": _names,
    "setup": _target,
    "max-requests": _positive,
    "max-memory": _size,
    "startup-timeout": _seconds,
}
_RUN: dict[str, Check] = {
    "default": _names,
    "jobs": _positive,
    "on-failure": _word("finish", "stop", "continue"),
    "deadline": _seconds,
    "grace": _seconds_or_zero,
    "cleanup": _seconds_or_zero,
    "python": _filled,
    "state": _filled,
    "keep-runs": _positive,
    "queue": _filled,
}
_file = _table(
    {
        "run": _table(_RUN),
        "limits": _each(_identifier, _positive),
        "vars": _each(_identifier, _either(_scalar, _list(_scalar), _table({**_SOURCE, **_PARAMETER}))),
        "env": _environment,
        "defaults": _table(_DEFAULTS),
        "pools": _each(_identifier, _table(_POOL)),
        "tasks": _each(_name, _table(_TASK)),
    }
)
