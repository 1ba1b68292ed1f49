"""Sources, parameters and plain values, in `[vars]` and in `foreach`: from checked tables to the project's values.

Nothing is read here: no file, no variable, no command.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from taskrun.config.mistakes import describe
from taskrun.config.project import EnvSource, GlobSource, LinesSource, Literal, Parameter, RangeSource, ShellSource
from taskrun.config.rules import check_keys
from taskrun.config.units import BadValue
from taskrun.config.wording import listed

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.project import Source
    from taskrun.config.source import Path

MOST_VALUES = 100_000
"""Longest `range`: a slip in a number must not fill the memory."""

RESERVED = ("vars", "env", "tasks", "run", "attempt", "slots", "extra")
"""First words of look-ups, which a `foreach` key would hide."""

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
_TYPE_WORDS = {"str": "a string", "path": "a string", "int": "a whole number", "float": "a number", "bool": "a boolean"}


def read_variables(table: dict[str, Any], mistakes: Mistakes) -> dict[str, Source]:
    """`[vars]`, entry by entry; entries with mistakes are left out."""
    found: dict[str, Source] = {}
    for name, value in table.items():
        path: Path = ("vars", name)
        try:
            found[name] = _variable(value, path, mistakes)
        except BadValue as bad:
            mistakes.add_value(bad, path)
    return found


def read_foreach(table: dict[str, Any], path: Path, mistakes: Mistakes) -> dict[str, Source]:
    """A task's `foreach`, key by key; keys with mistakes are left out."""
    found: dict[str, Source] = {}
    for key, value in table.items():
        if key in RESERVED:
            message = f"{describe((*path, key))} hides the look-up `{key}`"
            mistakes.add("bad-name", message, (*path, key), part="key", label="use another name")
        try:
            found[key] = _each(value, (*path, key), mistakes)
        except BadValue as bad:
            mistakes.add_value(bad, (*path, key))
    return found


def check_plain(value: Any, at: tuple[str | int, ...] = ()) -> None:
    """Sees to it that a value can be written as JSON.

    Raises:
        BadValue: It, or something in it, is a date or time, not finite, or a whole number beyond 64 bits.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            check_plain(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check_plain(inner, (*at, index))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BadValue("is not a finite number", at=at)
    elif isinstance(value, bool | str):
        pass
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise BadValue("is a whole number of more than 64 bits", "write it as a string", at=at)
    else:
        raise BadValue("is a date or time", f'write it as a string: "{value}"', at=at, code="wrong-type")


def _variable(value: Any, path: Path, mistakes: Mistakes) -> Source:
    if not isinstance(value, dict):
        check_plain(value)
        return Literal(value=value)
    check_keys("VariableTable", value, path, mistakes)
    return _source(value) or _parameter(value)


def _each(value: Any, path: Path, mistakes: Mistakes) -> Source:
    if isinstance(value, dict):
        check_keys("SourceTable", value, path, mistakes)
        return _source(value) or Literal(value=[])
    if isinstance(value, str):
        if "{{" not in value:
            raise BadValue("is not a look-up", f'for one value, write ["{value}"]')
        return Literal(value=value)
    check_plain(value)
    seen = set()
    for index, each in enumerate(value):
        if str(each) in seen:
            raise BadValue(f"has `{each}` twice", "remove one", at=(index,), code="duplicate")
        seen.add(str(each))
    return Literal(value=value)


def _source(table: dict[str, Any]) -> Source | None:
    """A table with the key of a source; ``None`` where it has none."""
    if "glob" in table:
        patterns = table["glob"]
        return GlobSource(glob=(patterns,) if isinstance(patterns, str) else tuple(patterns))
    if "lines" in table:
        return LinesSource(lines=table["lines"])
    if "range" in table:
        return _range(*table["range"])
    if "shell" in table:
        return ShellSource(shell=table["shell"])
    if "env" in table:
        default = table.get("default")
        if default is not None and not isinstance(default, str):
            raise BadValue("must be a string, as all variables are", f'write "{default}"', at=("default",))
        return EnvSource(env=table["env"], default=default)
    return None


def _range(first: int, last: int) -> RangeSource:
    if last < first:
        raise BadValue(f"goes from {first} down to {last}", f"did you mean [{last}, {first}]?", at=("range",))
    if last - first >= MOST_VALUES:
        raise BadValue(f"has more than {MOST_VALUES} values", at=("range",))
    return RangeSource(first=first, last=last)


def _parameter(table: dict[str, Any]) -> Parameter:
    choices = tuple(table.get("choices", ()))
    default = table.get("default")
    kind = table.get("type") or _kind(*choices, *(() if default is None else (default,)))
    for index, choice in enumerate(choices):
        _check_kind(choice, kind, ("choices", index))
    if default is not None:
        _check_kind(default, kind, ("default",))
        if choices and default not in choices:
            allowed = listed(str(choice) for choice in choices)
            raise BadValue("is not one of the choices", f"use {allowed}", at=("default",))
    return Parameter(
        type=kind, choices=choices, default=default, required="default" not in table, help=table.get("help", "")
    )


def _kind(*values: Any) -> str:
    """The type that the values of a parameter without `type` have in common."""
    for name in ("bool", "int", "float"):
        if values and all(_fits(value, name) for value in values):
            return name
    return "str"


def _fits(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def _check_kind(value: Any, kind: str, at: tuple[str | int, ...]) -> None:
    if not _fits(value, kind):
        raise BadValue(f"must be {_TYPE_WORDS[kind]}", f'the type is "{kind}"', at=at, code="wrong-type")
    check_plain(value, at)
