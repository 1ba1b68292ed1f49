"""Words for what was expected and for what was found. Used only where there is a mistake to report."""

from __future__ import annotations

import datetime as dt
from typing import Any

from msgspec import inspect as types


def expected(kind: types.Type) -> str:
    """A kind of the file model in words: "an array of strings"."""
    while isinstance(kind, types.Metadata):
        title = (kind.extra_json_schema or {}).get("title")
        if title:
            return str(title)
        kind = kind.type
    match kind:
        case types.UnionType():
            words = [expected(each) for each in kind.types]
            *rest, last = dict.fromkeys(words)
            return f"{', '.join(rest)} or {last}" if rest else last
        case types.LiteralType():
            *others, final = [f'"{value}"' for value in kind.values]
            return f"{', '.join(others)} or {final}" if others else final
        case types.IntType():
            return f"a whole number{_bounds(kind)}"
        case types.FloatType():
            return f"a number{_bounds(kind)}"
        case types.BoolType():
            return "true or false"
        case types.ListType():
            return f"an array of {_plural(kind.item_type)}"
        case types.DictType() | types.StructType():
            return "a table"
    return "a string"


def _bounds(kind: types.IntType | types.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    if kind.ge is not None:
        return f" of {kind.ge} or more"
    return "" if kind.gt is None else f" above {kind.gt:g}"


def _plural(kind: types.Type) -> str:
    while isinstance(kind, types.Metadata):
        kind = kind.type
    match kind:
        case types.StrType() | types.LiteralType():
            return "strings"
        case types.IntType():
            return "whole numbers"
        case types.DictType() | types.StructType():
            return "tables"
    return "values"


def kind_of(value: Any) -> str:
    """The TOML type of a value, with its article."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return "a string"
        case int():
            return f"the number {shown(value)}"
        case float():
            return f"the number {shown(value)}"
        case list():
            return "an array"
        case dict():
            return "a table"
        case dt.datetime() | dt.date() | dt.time():
            return "a date or time"
    return type(value).__name__


def shown(value: Any) -> str:
    """A value as TOML would have it, cut where it is long."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = f'"{value}"'
        case list():
            text = f"[{', '.join(shown(each) for each in value[:20])}]"
        case dict():
            text = f"{{ {', '.join(f'{key} = {shown(each)}' for key, each in list(value.items())[:20])} }}"
        case int() if abs(value) >= 10**40:
            text = "a number of more than 40 digits"
        case _:
            text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
