"""Arguments against type hints: what fits, what does not, and what is said about it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.worker.convert import Signature, bind

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclasses.dataclass
class Options:
    level: int
    name: str = "x"


@dataclasses.dataclass
class Defaults:
    folder: Path = Path("out")
    more: list[Defaults] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Strange:
    both: str | Path


def mistakes(function, *args, lax=(), unknown=(), **kwargs):
    bound = bind(Signature(function), args, kwargs, lax=lax, unknown=unknown)
    return [(p.argument, p.path, p.message) for p in bound.problems]


def called(function, *args, lax=(), **kwargs):
    bound = bind(Signature(function), args, kwargs, lax=lax)
    assert bound.problems == []
    return function(*bound.args, **bound.kwargs)


def everything(*args, **kwargs):
    return args, kwargs


def test_a_field_may_have_a_default_that_no_schema_can_hold():
    def f(one: Defaults, some: list[Defaults]):
        return one, some

    made = called(f, {"more": [{"folder": "x"}]}, [{}])
    assert made == (Defaults(Path("out"), [Defaults(Path("x"))]), [Defaults()])
    assert mistakes(f, {"folder": 3}, []) == [("0", ("folder",), "expected `Path`, got `3`")]
    assert [parameter.schema for parameter in Signature(f).parameters()] == [{}, {}]


def test_values_become_what_the_hints_say():
    def f(  # noqa: PLR0917 - as users write them
        path: Path, when: dt.date, colour: Colour, options: Options, mode: Literal["a", "b"],
        jobs: Annotated[int, msgspec.Meta(ge=1)], pattern: re.Pattern[str], parts: list[Path], maybe: Path | None = None,
    ):  # fmt: skip
        return path, when, colour, options, mode, jobs, pattern, parts, maybe

    assert called(
        f, "a", "2026-01-02", "red", {"level": 3}, "b", jobs=2, pattern="x+", parts=["p", "q"], maybe=None
    ) == (
        Path("a"), dt.date(2026, 1, 2), Colour.RED, Options(3), "b", 2, re.compile("x+"), [Path("p"), Path("q")], None,
    )  # fmt: skip


def test_all_mistakes_are_told_at_once():
    def f(src: str, when: dt.date, jobs: Annotated[int, msgspec.Meta(ge=1)], opts: Options, mode: Literal["a", "b"]):
        pass

    assert mistakes(f, src=1, when="soon", jobs=0, opts={"level": "high"}, mode="c", jbos=3) == [
        ("src", (), "expected `str`, got `int`"),
        ("when", (), 'invalid RFC3339 encoded date, got `"soon"`'),
        ("jobs", (), "expected `int` >= 1, got `0`"),
        ("opts", ("level",), "expected `int`, got `str`"),
        ("mode", (), 'expected one of `a`, `b`, got `"c"`'),
        ("jbos", (), "unknown argument"),
    ]


def test_the_nearest_name_is_offered():
    def f(jobs: int = 1, width: int = 2):
        pass

    problems = bind(Signature(f), (), {"jbos": 1, "zzz": 2}).problems
    assert [p.hint for p in problems] == ["did you mean `jobs`?", "it takes `jobs`, `width`"]
    assert bind(Signature(lambda: 0), (), {"a": 1}).problems[0].hint == "it takes none"


def test_missing_surplus_and_double_arguments():
    def f(a, b=1, *, c):
        return a, b, c

    assert mistakes(f) == [("a", (), "missing argument"), ("c", (), "missing argument")]
    assert mistakes(f, 1, 2, 3, c=4) == [("2", (), "takes 2 arguments by position, got 3")]
    assert mistakes(f, 1, a=2, c=4) == [("a", (), "given by position and by name")]
    assert called(f, 1, c=3) == (1, 1, 3)


def test_positions_stay_positions_and_names_stay_names():
    def f(a, b, *rest, **more):
        return a, b, rest, more

    assert called(f, 1, 2, 3, 4, x=5) == (1, 2, (3, 4), {"x": 5})
    assert called(f, 1, b=2) == (1, 2, (), {})
    wrapped = functools.wraps(f)(lambda *args, **kwargs: (args, kwargs))
    assert called(wrapped, 1, b=2) == ((1,), {"b": 2})


def test_rests_are_checked_too():
    def f(*numbers: int, **texts: str):
        pass

    assert mistakes(f, 1, "x", a="b", c=2) == [
        ("1", (), "expected `int`, got `str`"),
        ("c", (), "expected `str`, got `int`"),
    ]


def test_positional_only_parameters_may_be_named():
    def f(a, b=2, c=3, /):
        return a, b, c

    assert called(f, a=1, b=5) == (1, 5, 3)
    assert mistakes(f, a=1, c=5) == [("c", (), "can only be given together with those before it")]


def test_strings_from_the_command_line_are_read_leniently_and_no_others():
    def f(
        n: int,
        on: bool | None = None,  # noqa: FBT001 - as users write them
        ratio: float = 0.0,
        items: list[int] | None = None,
        options: Options | None = None,
    ):
        return n, on, ratio, items, options

    lax = ("n", "on", "ratio", "items", "options")
    assert called(f, n="4", on="true", ratio="0.5", items="[1, 2]", options='{"level": 1}', lax=lax) == (
        4, True, 0.5, [1, 2], Options(1),
    )  # fmt: skip
    assert mistakes(f, n="4") == [("n", (), "expected `int`, got `str`")]
    assert mistakes(f, n="four", lax=("n",)) == [("n", (), "expected `int`, got `str`")]
    assert mistakes(f, n=1, items="[1,", lax=("items",))[0][2].startswith("not valid JSON")


def test_values_that_are_not_known_yet_count_as_given():
    def f(a: int, b: int):
        pass

    assert mistakes(f, unknown=("a", "b")) == []
    assert mistakes(f, None, unknown=("0", "b")) == []
    assert mistakes(f, a=None, unknown=("a", "c")) == [("c", (), "unknown argument"), ("b", (), "missing argument")]


def test_unions_of_texts_and_paths_work_though_msgspec_has_none():
    def f(a: str | Path, b: Path | int, c: int | Path | None):
        return a, b, c

    assert called(f, "a", "b", None) == ("a", Path("b"), None)
    assert called(f, "a", 1, "x") == ("a", 1, Path("x"))
    assert mistakes(f, 1, 1, 1) == [("0", (), "expected `str | Path`, got `1`")]


def test_what_cannot_be_checked_is_handed_on():
    class Plain:
        pass

    def f(a: Unknown, b: Plain, c: "not a type at all" = 3, d: Any = 4, e=5, n: int = 6):  # noqa: F722, PLR0917 - as users write them
        return a, b

    assert called(f, 1, "x") == (1, "x")
    assert mistakes(f, 1, "x", n="no") == [("n", (), "expected `int`, got `str`")]  # its neighbours' hints do no harm


def test_records_are_exact():
    def f(options: Options, odd: Strange | None = None, other: Strange = None):
        pass

    assert mistakes(f, {"level": 1, "nmae": "x"}) == [("0", (), "unknown key `nmae` (did you mean `name`?)")]
    assert mistakes(f, {"level": 1}, other={"both": "x"}) == [
        ("other", (), "`Strange` has the field `both` of a type that a file cannot hold")
    ]


def test_paths_take_text_only():
    def f(path: PurePosixPath):
        return path

    assert called(f, "a") == PurePosixPath("a")
    assert mistakes(f, 3) == [("0", (), "expected `PurePosixPath`, got `3`")]
    assert mistakes(f, ["a"]) == [("0", (), "expected `PurePosixPath`, got an array")]
    assert mistakes(f, "a\0b")[0][2].startswith("expected a path, got text with a NUL byte")


def test_all_kinds_of_callables_tell_what_they_take():
    class Tool:
        def __init__(self, size: int):
            self.size = size

        def use(self, n: int) -> int:
            return n

        def __call__(self, n: int) -> int:
            return n

        @staticmethod
        def plain(n: int):
            return n

        @classmethod
        def made(cls, n: int):
            return n

    def add(n: int, m: int = 1):
        return n + m

    for target in (Tool(1).use, Tool(1), Tool.plain, Tool.made, functools.partial(add, m=2), functools.cache(add)):
        assert mistakes(target, "x") == [("0", (), "expected `int`, got `str`")], target
        assert called(target, 1) in (1, 2, 3)
    assert mistakes(Tool, "x") == [("0", (), "expected `int`, got `str`")]
    assert called(Tool, 3).size == 3


def test_builtins_take_what_they_take():
    assert called(len, [1, 2]) == 2
    assert mistakes(len) == [("obj", (), "missing argument")]
    assert called(print, "x", end="") is None
    assert called(max, 1, 2) == 2  # has no signature before 3.13 or so: nothing is checked


def test_schemas_describe_the_parameters():
    def f(n: Annotated[int, msgspec.Meta(ge=1)], p: Path, u: str | Path = "", x=None, *rest, **more):
        pass

    signature = Signature(f)
    described = {p.name: (p.required, p.schema) for p in signature.parameters()}
    assert described == {
        "n": (True, {"type": "integer", "minimum": 1}),
        "p": (True, {"type": "string", "format": "path"}),
        "u": (False, {"anyOf": [{"type": "string"}, {"type": "string", "format": "path"}]}),
        "x": (False, {}),
    }
    assert signature.open


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6), st.dictionaries(st.sampled_from(["a", "b", "o", "p", "zz"]), JSON), st.booleans())
def test_no_value_makes_the_check_itself_fail(args, kwargs, lax):
    def f(a: int, b: list[Path], /, o: Options, *, p: Path | int | None = None, q: Literal["x"] = "x"):
        pass

    names = ("0", "1", "2", *kwargs) if lax else ()
    bound = bind(Signature(f), tuple(args), kwargs, lax=names)
    if not bound.problems:
        f(*bound.args, **bound.kwargs)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated late from 3.14 on")
def test_late_annotations_with_unknown_names():
    scope: dict[str, Any] = {}
    exec("def f(a: Nowhere, n: int): pass", scope)  # without `from __future__ import annotations`
    assert [p[0] for p in mistakes(scope["f"], 1, "x")] == ["1"]
