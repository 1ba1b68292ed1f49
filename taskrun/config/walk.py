"""The slow walk: compares a document that did not fit the file model with it, and notes every mistake, not the first.

Runs only after the fast check of the whole has failed. It reads the model through msgspec's own inspection, so that
there is no second statement of what is allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from taskrun.config.expect import expected, kind_of, shown
from taskrun.config.hints import hint, home_of, known_keys
from taskrun.config.mistakes import describe
from taskrun.config.model import FileTable, RunTable
from taskrun.config.task_model import DefaultsTable, TaskTable
from taskrun.config.wording import listed, nearest

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.source import Path

_GONE = object()
"""Stands for a value that does not fit and is left out."""

_CHECKED_IN_PARTS = frozenset({FileTable, RunTable, DefaultsTable, TaskTable})
"""Tables of which the rest is checked on where a part is wrong; of smaller ones that would find mere consequences."""


def walk(document: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Notes every mistake in ``document``; returns a copy without what is wrong, so that the next checks can go on."""
    fits = _Walk(mistakes).value(types.type_info(FileTable), document, ())
    assert isinstance(fits, dict)  # the document is a table, and so is what is left of it
    return fits


class _Walk:
    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._listed: set[type] = set()  # tables whose keys were listed: once is enough

    def value(self, kind: types.Type, value: Any, path: Path) -> Any:
        """What of ``value`` fits ``kind``, or ``_GONE``."""
        for branch, schema in _branches(kind):
            if not _same_shape(branch, value):
                continue
            match branch:
                case types.StructType():
                    return self._struct(branch, value, path)
                case types.DictType():
                    return self._dict(branch, value, path)
                case types.ListType():
                    return self._list(branch, value, path)
            if schema.get("const") is False and value is True:
                break
            if not _fits(branch, value):
                self._bad_value(kind, value, path)
                return _GONE
            return value
        self._wrong_type(kind, value, path)
        return _GONE

    def _struct(self, kind: types.StructType, table: dict[str, Any], path: Path) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        fitting = {}
        for key, value in table.items():
            if key not in fields:
                self._unknown_key(key, value, kind.cls, path)
                continue
            fits = self.value(fields[key].type, value, (*path, key))
            if fits is not _GONE:
                fitting[key] = fits
        missing = [key for key, field in fields.items() if field.required and key not in table]
        for key in missing:
            self._missing(key, path)
        if kind.cls in _CHECKED_IN_PARTS:
            return fitting
        return fitting if len(fitting) == len(table) and not missing else _GONE

    def _dict(self, kind: types.DictType, table: dict[str, Any], path: Path) -> Any:
        fitting = {}
        for key, value in table.items():
            if not _fits(_unwrapped(kind.key_type)[0], key):
                message = f"{describe((*path, key))} has a name that is not allowed"
                label = f"expected {expected(kind.key_type)}" if len(key) <= 100 else "at most 100 characters"
                self._mistakes.add("bad-name", message, (*path, key), part="key", label=label)
            fits = self.value(kind.value_type, value, (*path, key))
            if fits is not _GONE:
                fitting[key] = fits
        if not table and path == ("tasks",):
            self._missing("tasks", ())
        elif len(table) < (kind.min_length or 0):
            self._mistakes.add("bad-value", f"{describe(path)} is empty", path, label="add an entry, or remove it")
        return fitting

    def _list(self, kind: types.ListType, values: list[Any], path: Path) -> Any:
        shortest, longest = kind.min_length or 0, kind.max_length
        if len(values) < shortest or (longest is not None and len(values) > longest):
            problem = "is empty" if not values else f"has {len(values)} elements"
            label = f"expected {shortest} elements" if longest == shortest else "add an element, or remove the key"
            self._mistakes.add("bad-value", f"{describe(path)} {problem}", path, label=label)
            return _GONE
        fitting = [self.value(kind.item_type, value, (*path, index)) for index, value in enumerate(values)]
        return _GONE if any(value is _GONE for value in fitting) else fitting

    def _unknown_key(self, key: str, value: Any, kind: type, path: Path) -> None:
        known = known_keys(kind)
        near = nearest(key, known)
        where = f" in {describe(path)}" if len(path) > 1 else f" in [{path[0]}]" if path else ""
        what = "table" if isinstance(value, dict) and not path else "key"
        label = hint(key, value, path) or (f"did you mean `{near}`?" if near else home_of(key, path))
        notes = () if label or kind in self._listed else (f"help: the keys are {listed(known, 'and')}",)
        self._listed.add(kind)
        message = f"unknown {what} `{key}`{where}"
        self._mistakes.add("unknown-key", message, (*path, key), part="key", label=label, notes=notes)

    def _missing(self, key: str, path: Path) -> None:
        if not path:
            label = 'begin with [tasks.hello] and shell = "echo hello"'
            self._mistakes.add("no-tasks", f"{self._mistakes.source.path} defines no task", (), label=label)
        else:
            self._mistakes.add("missing-key", f"{describe(path)} has no `{key}`", path, label=f"add `{key}`")

    def _wrong_type(self, kind: types.Type, value: Any, path: Path) -> None:
        wanted = expected(kind).removesuffix(" that is not empty")
        message = f"{describe(path)} must be {wanted}, not {kind_of(value)}"
        self._mistakes.add("wrong-type", message, path, label=hint(str(path[-1]), value, path[:-1]) or "")

    def _bad_value(self, kind: types.Type, value: Any, path: Path) -> None:
        words = [
            each
            for branch, _ in _branches(kind)
            if isinstance(branch, types.LiteralType)
            for each in branch.values
            if isinstance(each, str)
        ]
        near = nearest(value, words) if isinstance(value, str) else None
        label = f'did you mean "{near}"?' if near else hint(str(path[-1]), value, path[:-1]) or _such_as(kind)
        message = f"{describe(path)} must be {expected(kind)}, not {shown(value)}"
        self._mistakes.add("bad-value", message, path, label=label)


def _such_as(kind: types.Type) -> str:
    """Examples of a kind that has a name."""
    _, schema = _unwrapped(kind)
    if "title" not in schema or "examples" not in schema:
        return ""
    *rest, last = [shown(example) for example in schema["examples"]]
    return f"such as {', '.join(rest)} or {last}" if rest else f"such as {last}"


def _unwrapped(kind: types.Type) -> tuple[types.Type, dict[str, Any]]:
    """A kind without its wrappings, and what they say; the outermost wins."""
    schema: dict[str, Any] = {}
    while isinstance(kind, types.Metadata):
        schema = {**(kind.extra_json_schema or {}), **schema}
        kind = kind.type
    return kind, schema


def _branches(kind: types.Type) -> list[tuple[types.Type, dict[str, Any]]]:
    """The kinds of which a kind is one: one, but for a union."""
    bare, schema = _unwrapped(kind)
    return [_unwrapped(each) for each in bare.types] if isinstance(bare, types.UnionType) else [(bare, schema)]


def _same_shape(kind: types.Type, value: Any) -> bool:
    """Whether a value is of the TOML type of a kind, whatever its constraints."""
    match kind:
        case types.AnyType():
            return True
        case types.BoolType():
            return isinstance(value, bool)
        case types.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case types.FloatType():
            return isinstance(value, float)
        case types.StrType() | types.LiteralType():
            return isinstance(value, str)
        case types.ListType():
            return isinstance(value, list)
        case types.DictType() | types.StructType():
            return isinstance(value, dict)
    raise AssertionError(f"the file model has a type that the walk does not know: {kind}")


def _fits(kind: types.Type, value: Any) -> bool:
    """Whether a value that is no container keeps the constraints of a kind of its TOML type."""
    match kind:
        case types.IntType() | types.FloatType():
            above = (kind.gt is None or value > kind.gt) and (kind.ge is None or value >= kind.ge)
            return above and (kind.lt is None or value < kind.lt) and (kind.le is None or value <= kind.le)
        case types.StrType():
            length = (kind.min_length or 0) <= len(value) and (kind.max_length is None or len(value) <= kind.max_length)
            return length and (kind.pattern is None or re.search(kind.pattern, value) is not None)
        case types.LiteralType():
            return value in kind.values
    return True
