"""The locator agrees with tomli: whatever tomli accepts, every key and value is found, and is what stands there."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from typing import Any

import pytest
import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from taskrun.config.locate import Places, locate
from taskrun.config.source import SourceFile
from taskrun.model import Span

# --- documents of any shape, written in any style ---------------------------------------------------------------------

KEYS = st.one_of(
    st.sampled_from(["a", "b", "tasks", "x-1", "0", "-", "true", "1979-05-27"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=4),
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["# no", "'", '"', '"""', "'''", "\\", "]", "}", "a\nb", "[x]\ny = 1", "\u65e5\u672c", "\t", "e\u0301"]
    ),
    st.datetimes(),
    st.datetimes().map(lambda moment: moment.replace(microsecond=0, tzinfo=dt.UTC)),
    st.dates(),
    st.times(),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


class Writer:
    """Writes a document as TOML, choosing among the ways to write each thing by chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def document(self, document: dict[str, Any]) -> str:
        lines: list[str] = []
        self._table((), document, lines)
        return "".join(self._noise() + line + self._pick("\n", " # x = 1\n", "\t\n") for line in lines)

    def _table(self, path: tuple[str, ...], table: dict[str, Any], lines: list[str]) -> None:
        later: list[tuple[str, Any]] = []
        for key, value in table.items():
            if (isinstance(value, dict) and self._chance()) or (
                isinstance(value, list) and value and all(isinstance(each, dict) for each in value) and self._chance()
            ):
                later.append((key, value))
            elif isinstance(value, dict) and value and self._chance():
                self._dotted(key, value, lines)
            else:
                lines.append(f"{self._pick('', ' ', chr(9))}{self._key(key)}{self._equals()}{self._value(value)}")
        for key, value in later:
            header = ".".join(self._key(part) for part in (*path, key))
            space = self._pick("", " ")
            for each in [value] if isinstance(value, dict) else value:
                lines.append(f"[{space}{header}{space}]" if isinstance(value, dict) else f"[[{space}{header}{space}]]")
                self._table((*path, key), each, lines)

    def _dotted(self, key: str, table: dict[str, Any], lines: list[str]) -> None:
        for inner, value in table.items():
            dot = self._pick(".", " . ")
            lines.append(f"{self._key(key)}{dot}{self._key(inner)}{self._equals()}{self._value(value)}")

    def _key(self, key: str) -> str:
        styles = [json.dumps(key).replace("\x7f", "\\u007f")]
        if re.fullmatch(r"[A-Za-z0-9_-]+", key):
            styles.append(key)
        if "'" not in key and not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", key):
            styles.append(f"'{key}'")
        return self._random.choice(styles).replace("\\u", "\\u") if key.isascii() else self._unicode(key)

    def _unicode(self, key: str) -> str:
        return '"' + "".join(self._escaped(char) for char in key) + '"'

    def _escaped(self, char: str) -> str:
        if char in '"\\' or ord(char) < 32 or ord(char) == 127 or self._chance():
            return f"\\U{ord(char):08x}"
        return char

    def _value(self, value: Any) -> str:
        match value:
            case bool():
                return str(value).lower()
            case str():
                return self._string(value)
            case int():
                return self._pick(str(value), f"{value:_}")
            case float():
                return repr(value) if "inf" not in repr(value) else self._pick("", "+") * (value > 0) + repr(value)
            case dt.datetime():
                return value.isoformat(sep=self._pick("T", " "))
            case dt.date() | dt.time():
                return value.isoformat()
            case list():
                return self._array([self._value(each) for each in value], "[]")
        pairs = [f"{self._key(key)}{self._equals()}{self._value(each)}" for key, each in value.items()]
        return self._array(pairs, "{}")

    def _array(self, elements: list[str], brackets: str) -> str:
        gap = self._pick("", " ", "\n", " # ], }\n\t")
        comma = self._pick("", ",") if elements else ""
        return f"{brackets[0]}{gap}{(',' + gap).join(elements)}{comma}{gap}{brackets[1]}"

    def _string(self, value: str) -> str:
        basic = '"' + "".join(self._escaped(char) for char in value) + '"'
        styles = [basic, f'""{basic}""']
        if not re.search(r"[\x00-\x08\x0a-\x1f\x7f']", value):
            styles.append(f"'{value}'")
        if not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value) and "'''" not in value and not value.endswith("'"):
            styles.append(f"'''\n{value}'''")
        if not re.search(r'[\x00-\x08\x0b-\x1f\x7f"\\]', value):
            styles.append(f'"""{self._pick(chr(10), "")}{value}"""' if not value.startswith("\n") else basic)
        return self._random.choice(styles)

    def _equals(self) -> str:
        return self._pick("=", " = ", "\t=  ")

    def _noise(self) -> str:
        return self._pick("", "", "\n", "  # a = [\n", "\t\n")

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _chance(self) -> bool:
        return self._random.random() < 0.4


# --- the properties ---------------------------------------------------------------------------------------------------


@given(DOCUMENTS, st.integers(0, 2**32))
@example({"a": [{"b": 1}, {"b": 2}], "c": {"d": {"e": [[]]}}}, 1)
def test_every_value_is_found_where_it_stands(document: dict[str, Any], seed: int):
    text = Writer(seed).document(document)
    assert tomli.loads(text) == document, "the writer of this test is wrong"
    check_places(text)


@given(DOCUMENTS, st.integers(0, 2**32))
def test_line_ends_of_windows_change_no_place(document: dict[str, Any], seed: int):
    text = Writer(seed).document(document)
    unix, windows = SourceFile("x", text), SourceFile("x", text.replace("\n", "\r\n").replace("\r\n", "\n"))
    for path in locate(text).values:
        assert unix.span(path) == windows.span(path)


@given(st.text(st.sampled_from("ab.=[]{}\"'#\n\t ,1-\\"), max_size=40))
@example("[1")
def test_any_text_is_located_without_an_error_and_rightly_if_it_is_toml(text: str):
    places = locate(text)
    for start, end in (*places.keys.values(), *places.values.values()):
        assert 0 <= start <= end <= len(text)
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    check_places(text)


def check_places(text: str) -> None:
    """Every path of the document has a value that reads as what tomli made of it, and a key of its name."""
    places = locate(text)
    assert places.again == []
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), tomli.loads(text))]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict):
            todo += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            todo += [((*path, index), inner) for index, inner in enumerate(value)]
        if path:
            check_value(text, places, path, value)
            check_key(text, places, path)


def check_value(text: str, places: Places, path: tuple[str | int, ...], value: Any) -> None:
    start, end = places.values[path]
    written = text[start:end]
    if reads_as(written, value):
        return
    assert isinstance(value, dict | list), f"{path} is {value!r}, not {written!r}"
    if written.startswith("["):  # a header, which has the key
        key_start, key_end = places.keys[path]
        assert start < key_start < key_end < end
    else:  # a table that exists by a dotted key only: the first of its statements
        assert tomli.loads(written)


def reads_as(written: str, value: Any) -> bool:
    try:
        read = tomli.loads(f"v = {written}")
    except tomli.TOMLDecodeError:
        return False
    return read == {"v": value}


def check_key(text: str, places: Places, path: tuple[str | int, ...]) -> None:
    if isinstance(path[-1], int):
        return
    start, end = places.keys[path]
    assert tomli.loads(f"{text[start:end]} = 1") == {path[-1]: 1}


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "part", "found"),
    [
        ("a = 1", ("a",), "value", "1"),
        ("[a]\nb = 1", ("a",), "value", "[a]"),
        ("[a]\nb = 1", ("a",), "key", "a"),
        ("[a.b]\n[a]\n", ("a",), "value", "[a]"),
        ("[a.b]\nc = 1", ("a",), "value", "[a.b]"),
        ("[[a]]\n[[a]]\nb = 2", ("a", 1, "b"), "value", "2"),
        ("[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\nc = 2", ("a", 1, "b", "c"), "value", "2"),
        ("[[a]]\n[[a.b]]\n[[a.b]]\nc = 3", ("a", 0, "b", 1, "c"), "value", "3"),
        ("a.b.c = 1", ("a", "b"), "value", "a.b.c = 1"),
        ("a.b.c = 1", ("a", "b"), "key", "b"),
        ("\"a b\".'c.d' = 1", ("a b", "c.d"), "key", "'c.d'"),
        ('"\\u0061" = 1', ("a",), "value", "1"),
        ("a = [1, # ,\n [2, 3]]", ("a", 1, 0), "value", "2"),
        ("a = {\n  b = 1, # }\n  c = { d = [2] },\n}", ("a", "c", "d", 0), "value", "2"),
        ("a = {b.c = 1}", ("a", "b", "c"), "value", "1"),
        ('a = """\n"quoted""""', ("a",), "value", '"""\n"quoted""""'),
        ("a = '''''two'''''\nb = 1", ("a",), "value", "'''''two'''''"),
        ('a = """\\""""\nb = 1', ("b",), "value", "1"),
        ("a = 1979-05-27 07:32:00 # x", ("a",), "value", "1979-05-27 07:32:00"),
        ("a = 1979-05-27 # x", ("a",), "value", "1979-05-27"),
        ("a = -inf", ("a",), "value", "-inf"),
        ("a = 1e+3\n", ("a",), "value", "1e+3"),
        ("\t a\t=\t1", ("a",), "value", "1"),
    ],
)
def test_places_of(text: str, path: tuple[str | int, ...], part: str, found: str):
    places = locate(text)
    start, end = (places.values if part == "value" else places.keys)[path]
    assert text[start:end] == found
    check_places(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a = 1\na = 2\n", ("a",)),
        ("[a]\n[b]\n[a]\n", ("a",)),
        ("a = {b = 1, b = 2}", ("a", "b")),
        ("[a]\nb = 1\n[a.b]\n", ("a", "b")),
    ],
)
def test_what_stands_twice_is_found_twice(text: str, path: tuple[str, ...]):
    places = locate(text)
    [(again, (start, end))] = places.again
    assert again == path
    assert text[start:end] == path[-1]
    assert places.keys[path] < (start, end)


def test_arrays_nested_as_deep_as_tomli_allows_do_not_break_it():
    text = "x = 1\na = " + "[" * 390 + "]" * 390
    tomli.loads(text)
    assert locate(text).values["x",] == (4, 5)


def test_a_long_string_is_one_step():
    text = 'a = """' + 'x"\n\\\\' * 100_000 + '"""\nb = 1'
    assert locate(text).values["b",] == (len(text) - 1, len(text))


# --- spans ------------------------------------------------------------------------------------------------------------


def test_columns_count_characters_and_the_end_is_one_past_the_last():
    source = SourceFile("x", 'a = "\u65e5\u672c"\n\tb = [1,\n  22]\n')
    assert source.span(("a",)) == Span(line=1, column=5, end_line=1, end_column=9)
    assert source.span(("b",), "key") == Span(line=2, column=2, end_line=2, end_column=3)
    assert source.span(("b",)) == Span(line=2, column=6, end_line=3, end_column=6)
    assert source.span(("b", 1)) == Span(line=3, column=3, end_line=3, end_column=5)
    assert source.span(("c",)) is None


def test_a_span_narrows_to_a_part_of_the_value_where_it_stands_literally():
    source = SourceFile("x", 'a = "x {{ y }} \\u0041"\n')
    assert source.span(("a",), within="{{ y }}") == Span(line=1, column=8, end_line=1, end_column=15)
    assert source.span(("a",), within="A") == source.span(("a",))


def test_paths_start_below_the_table_of_the_project():
    source = SourceFile("x", "[tool.taskrun.tasks.a]\nrun = []\n", ("tool", "taskrun"))
    assert source.span(("tasks", "a"), "key") == Span(line=1, column=21, end_line=1, end_column=22)


def test_a_diagnostic_at_what_is_missing_stands_at_the_nearest_table_around_it():
    source = SourceFile("x", "[tasks.a]\nshell = 'x'\n")
    found = source.diagnostic("c", "m", path=("tasks", "a", "run", 3))
    assert found.span == source.span(("tasks", "a"))
    assert found.source == "[tasks.a]"
    assert source.diagnostic("c", "m", path=("nope",)).span is None


@pytest.mark.parametrize("text", ["", "a", "a\n", "\n\na", "a\nb\n\n"])
def test_lines_are_those_of_the_text(text: str):
    source = SourceFile("x", text)
    for number, line in enumerate(text.split("\n"), 1):
        assert source.line(number) == line
