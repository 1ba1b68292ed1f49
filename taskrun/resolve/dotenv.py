"""Reads dotenv text: ``KEY=VALUE`` lines, ``export``, quotes, comments. Nothing in it is expanded or run."""

from __future__ import annotations

import re

from taskrun.model import Diagnostic, Span

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_EMPTY = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'")
_BARE = re.compile(r"[^\n]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}
_KNOWN = frozenset('"\\$`')


def read(text: str, file: str) -> tuple[dict[str, str], list[Diagnostic]]:
    r"""Return the variables, the later of two of one name, and the mistakes.

    Unquoted values end at ` #` and lose the blanks around them. Single quotes hold everything as it is, double quotes
    know ``\\n``, ``\\r``, ``\\t``, ``\\"``, ``\\\\``, ``\\$`` and a backslash before a line's end; both may span lines.

    Args:
        text: Of the whole file.
        file: The path for messages.
    """
    text = text.replace("\r\n", "\n")
    values: dict[str, str] = {}
    mistakes: list[Diagnostic] = []
    at = 0
    while at < len(text):
        empty = _EMPTY.match(text, at)
        if empty is not None:
            at = empty.end() + 1
            continue
        named = _NAME.match(text, at)
        if named is None:
            mistakes.append(_mistake(text, at, file, "expected KEY=VALUE"))
            at = _line_end(text, at) + 1
            continue
        value, end = _value(text, named.end())
        if value is None or _EMPTY.match(text, end) is None:
            what = "this quote is not closed" if value is None else "nothing may follow the closing quote"
            mistakes.append(_mistake(text, named.end() if value is None else end, file, what))
            at = _line_end(text, end) + 1
            continue
        values[named[1]] = value
        at = _line_end(text, end) + 1
    return values, mistakes


def _value(text: str, at: int) -> tuple[str | None, int]:
    """Read one value; ``None`` where its quote is not closed."""
    if text.startswith('"', at):
        found = _DOUBLE.match(text, at)
        return (None, at) if found is None else (_ESCAPE.sub(_unescape, found[1]), found.end())
    if text.startswith("'", at):
        found = _SINGLE.match(text, at)
        return (None, at) if found is None else (found[1], found.end())
    found = _BARE.match(text, at)
    assert found is not None
    value = re.split(r"(?:^|[ \t])#", found[0], maxsplit=1)[0]
    return value.strip(" \t"), found.end()


def _unescape(found: re.Match[str]) -> str:
    letter = found[1]
    return _ESCAPES[letter] if letter in _ESCAPES else letter if letter in _KNOWN else found[0]


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _mistake(text: str, at: int, file: str, message: str) -> Diagnostic:
    start = text.rfind("\n", 0, at) + 1
    end = _line_end(text, at)
    line = text.count("\n", 0, at) + 1
    span = Span(line=line, column=at - start + 1, end_line=line, end_column=end - start + 1)
    return Diagnostic(code="dotenv", message=message, file=file, span=span, source=text[start:end])
