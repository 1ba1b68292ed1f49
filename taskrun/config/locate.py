"""The place of every key and value in a TOML text. Runs only when there is something to report.

It assumes that tomli has accepted the text, and so checks nothing. In a text that tomli refused it gets as far as it
can; its caller asks about what stands before the mistake.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]
"""Start and end, as offsets in characters; the end is one past the last."""

# Possessive quantifiers throughout: a long string must not cost memory or time for backtracking.
_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_SPACE = re.compile(r"[ \t]*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_STRING = re.compile(
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+"{3,5}'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
)
_SCALAR = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?"  # a space may stand before the time
    r"|[A-Za-z0-9_+.:-]++"
)


class Places:
    """Where everything stands.

    Attributes:
        keys: Place of the key that first leads to a path; elements of arrays of tables have their header's last key.
        values: Place of a value. A table with a header of its own has the header, brackets included; one that exists
            only through longer headers or dotted keys has the first of those statements.
        again: What a text that tomli refused defines a second time: path, and place of the second key.
    """

    __slots__ = ("again", "keys", "values")

    def __init__(self) -> None:
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.again: list[tuple[Path, Place]] = []


def locate(text: str) -> Places:
    """Finds every key and value of ``text``, whose line ends are single newlines."""
    scan = _Scan(text)
    with suppress(_Lost, RecursionError):
        # Lost: it is not TOML from here on. Recursion: arrays in arrays, deeper than anyone writes. What was found
        # before is right.
        scan.document()
    return scan.places


class _Lost(Exception):  # noqa: N818 - it is a way out, not an error
    """The text is not TOML at this point."""


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.places = Places()
        self._table: Path = ()
        self._lengths: dict[Path, int] = {}  # of arrays of tables
        self._explicit: set[Path] = set()  # defined by a statement of their own

    def document(self) -> None:
        text = self.text
        position = self._skip(_BLANK, 0)
        while position < len(text):
            if text.startswith("[[", position):
                position = self._header(position, 2)
            elif text[position] == "[":
                position = self._header(position, 1)
            else:
                position = self._pair(position, self._table)
            position = self._skip(_BLANK, position)

    def _header(self, start: int, brackets: int) -> int:
        position, parts = self._key(start + brackets)
        end = position + brackets
        if self.text[position:end] != "]" * brackets:
            raise _Lost
        path: Path = ()
        for part, first, last in parts[:-1]:
            path = self._enter((*path, part))
            self.places.keys.setdefault(path, (first, last))
            self.places.values.setdefault(path, (start, end))
        part, first, last = parts[-1]
        path = (*path, part)
        if brackets == 2:  # an element of an array of tables
            path = self._append(path, (first, last), (start, end))
        self._table = path
        if path in self._explicit:
            self.places.again.append((path, (first, last)))
            return end
        self._explicit.add(path)
        self.places.keys[path] = (first, last)
        self.places.values[path] = (start, end)
        return end

    def _append(self, array: Path, key: Place, header: Place) -> Path:
        """A new element of an array of tables."""
        self.places.keys.setdefault(array, key)
        self.places.values.setdefault(array, header)
        index = self._lengths.get(array, 0)
        self._lengths[array] = index + 1
        return (*array, index)

    def _enter(self, path: Path) -> Path:
        """Below an array of tables, its last element is meant."""
        length = self._lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _pair(self, start: int, table: Path) -> int:
        """``key = value``, in a table with a header or an inline one; returns its end."""
        position, parts = self._key(start)
        if self.text[position : position + 1] != "=":
            raise _Lost
        value = self._skip(_SPACE, position + 1)
        path = table
        outer: list[Path] = []
        for part, first, last in parts:
            path = (*path, part)
            outer.append(path)
            self.places.keys.setdefault(path, (first, last))
        if path in self._explicit:
            self.places.again.append((path, parts[-1][1:]))
            path = (*path, -1)  # what stands in the second must not be taken for the first
        self._explicit.add(path)
        end = self._value(value, path)
        for each in outer[:-1]:
            self.places.values.setdefault(each, (start, end))
        return end

    def _key(self, position: int) -> tuple[int, list[tuple[str, int, int]]]:
        """A dotted key and the white space around it; returns where it ends, and its parts with their places."""
        parts = []
        while True:
            position = self._skip(_SPACE, position)
            match = _BARE_KEY.match(self.text, position) or _STRING.match(self.text, position)
            if match is None:
                raise _Lost
            parts.append((_name(match[0]), position, match.end()))
            position = self._skip(_SPACE, match.end())
            if self.text[position : position + 1] != ".":
                return position, parts
            position += 1

    def _value(self, start: int, path: Path) -> int:
        opening = self.text[start : start + 1]
        if opening == "[":
            end = self._array(start, path)
        elif opening == "{":
            end = self._inline_table(start, path)
        else:
            match = _STRING.match(self.text, start) or _SCALAR.match(self.text, start)
            if match is None:
                raise _Lost
            end = match.end()
        self.places.values[path] = (start, end)
        return end

    def _array(self, start: int, path: Path) -> int:
        position = self._skip(_BLANK, start + 1)
        index = 0
        while self.text[position : position + 1] != "]":
            position = self._skip(_BLANK, self._value(position, (*path, index)))
            if self.text[position : position + 1] == ",":
                position = self._skip(_BLANK, position + 1)
            index += 1
        return position + 1

    def _inline_table(self, start: int, path: Path) -> int:
        position = self._skip(_BLANK, start + 1)
        while self.text[position : position + 1] != "}":
            position = self._skip(_BLANK, self._pair(position, path))
            if self.text[position : position + 1] == ",":
                position = self._skip(_BLANK, position + 1)
        return position + 1

    def _skip(self, pattern: re.Pattern[str], position: int) -> int:
        match = pattern.match(self.text, position)
        assert match is not None  # both patterns match the empty string
        return match.end()


def _name(key: str) -> str:
    """What a key as written means."""
    if key[0] == "'":
        return key[1:-1]
    if key[0] != '"':
        return key
    if "\\" not in key:
        return key[1:-1]
    import tomli

    try:
        name: str = tomli.loads(f"k = {key}")["k"]
    except tomli.TOMLDecodeError:
        raise _Lost from None
    return name
