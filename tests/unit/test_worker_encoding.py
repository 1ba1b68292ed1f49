"""Results as JSON, and where in them it does not work."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import types
from pathlib import Path

import msgspec
import pytest

from taskrun.worker.encoding import NotJson, to_json


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Inner:
    fine: int
    bad: object


class Text(str):
    __slots__ = ()


class Number(float):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, "x", True]}, {"a": [1, 2.5, "x", True]}),
        ({1: 2}, {"1": 2}),
        ((1, 2), [1, 2]),
        (Path("a/b"), "a/b"),
        ([Path("a")], ["a"]),
        (Colour.RED, "red"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (decimal.Decimal("1.5"), "1.5"),
        (Text("x"), "x"),
        (Number(1.5), 1.5),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (range(3), [0, 1, 2]),
        (Inner(1, [Path("p")]), {"fine": 1, "bad": ["p"]}),
        (float("nan"), None),
        (2**70, 2**70),
    ],
)
def test_what_can_be_written(value, expected):
    assert json.loads(to_json(value)) == expected


class Point(msgspec.Struct):
    at: object


class Nasty:
    @property
    def __class__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "it is of type `object`, which JSON cannot hold"),
        ({"a": {"b": [1, {"c": 1j}]}}, "`result.a.b[1].c` is of type `complex`, which JSON cannot hold"),
        (Inner(1, Inner(2, print)), "`result.bad.bad` is of type `builtin_function_or_method`, which JSON cannot hold"),
        (Point(at=[object()]), "`result.at[0]` is of type `object`, which JSON cannot hold"),
        ({"k": {(1, 2): 3}}, "`result.k` has a key of type `tuple`; JSON has strings for keys"),
        (["\udc80"], "`result[0]` is text with a lone surrogate, which UTF-8 cannot hold"),
        ((n for n in "ab"), "it is of type `generator`, which JSON cannot hold"),
    ],
)
def test_what_cannot_be_written_says_where(value, message):
    with pytest.raises(NotJson) as error:
        to_json(value)
    assert str(error.value) == message


def test_circles_and_depth_end():
    circle: list[object] = []
    circle.append({"again": circle})
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (circle, deep):
        with pytest.raises(NotJson, match="nested too deeply, or contains itself"):
            to_json(value)
    while deep:  # freeing it in one go would be deep, too
        deep = deep.pop()


def test_hostile_classes_are_only_not_json():
    with pytest.raises(NotJson):
        to_json([Nasty()])
