"""Contracts of typed workers: what is a request, what can be carried, and what is said of the rest."""

from __future__ import annotations

import enum
import importlib.util
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.worker import contract
from taskrun.worker.async_contract import AsyncHandlers
from taskrun.worker.contract import ContractMistake, Handlers, Operation, Request, encode, operation_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
FOLDER = Path("folder")


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


class Shape(msgspec.Struct):
    name: str
    corners: list[Point] = []


class Tree(msgspec.Struct):
    children: list[Tree] = []


class Colour(enum.Enum):
    RED = "red"


class Options(TypedDict):
    level: int


@dataclass(frozen=True)
class Draw(Request[Shape]):
    where: Path
    points: tuple[Point, ...] = ()
    folder: Path = FOLDER
    colour: Colour = Colour.RED
    width: Annotated[int, msgspec.Meta(gt=0)] = 1


class Find(msgspec.Struct, Request["Shape | None"]):
    name: str


@dataclass(frozen=True)
class Count(Request[int]):
    number: Any = 0


def operation(result: Any) -> Operation:
    @dataclass
    class Some(Request[result]):
        pass

    return Operation(Some)


# --- requests and results


def test_a_request_comes_back_as_it_was():
    draw = Draw(Path("a/b"), (Point(1), Point(2, 3.0)), width=7)
    assert operation_of(Draw).decode_request(encode(draw)) == draw


def test_a_struct_is_a_request_and_its_result_may_be_named_by_text():
    assert operation_of(Find).decode_request(encode(Find("a"))) == Find("a")
    assert operation_of(Find).decode_result(encode(Shape("a", [Point(1)]))) == Shape("a", [Point(1)])
    assert operation_of(Find).decode_result(encode(None)) is None


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (None, None),
        (Point, Point(2)),
        (Shape, Shape("s", [Point(1)])),
        (Tree, Tree([Tree(), Tree([Tree()])])),
        (int | str, "x"),
        (int | Shape | None, Shape("s")),
        (Path, Path("a/b.png")),
        (Path | None, None),
        (list[Path], [Path("a")]),
        (dict[Path, int], {Path("a"): 1}),
        (dict[str, list[tuple[int, str]]], {"a": [(1, "b")]}),
        (set[int], {1, 2}),
        (Colour, Colour.RED),
        (Literal["a", 3], 3),
        (Options, {"level": 3}),
        (bytes, b"\0\xff"),
        (float, float("inf")),
        (int, 2**64 - 1),
        (int, -(2**63)),
        (str, "\N{EURO SIGN}" * 1000),
        (Any, {"a": [1, None]}),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:30],
)
def test_a_result_comes_back_as_it_was(hint: Any, value: object):
    again = operation(hint).decode_result(encode(value))
    assert again == value
    assert type(again) is type(value)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.binary(), st.lists, max_leaves=9))
def test_plain_values_come_back_as_they_were(value: object):
    assert operation_of(Count).decode_request(encode(Count(value))) == Count(value)


def test_what_does_not_fit_is_refused_with_the_place():
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.points\[0\]\.x`"):
        operation_of(Draw).decode_request(encode({"where": "a", "points": [{"x": "1"}]}))
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int` >= 1 - at `\$\.width`"):
        operation_of(Draw).decode_request(encode(Draw(Path(), width=0)))
    with pytest.raises(msgspec.ValidationError, match="NUL byte"):
        operation_of(Draw).decode_request(encode({"where": "a\0b"}))


class Lonely:
    pass


class Hostile(msgspec.Struct):
    number: Any


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("\ud800", "text with a lone surrogate, which UTF-8 cannot hold"),
        (Path("\udcff"), "text with a lone surrogate, which UTF-8 cannot hold"),
        (2**64, "a whole number beyond 64 bits"),
        (-(2**63) - 1, "a whole number beyond 64 bits"),
        (Lonely(), "`Lonely` is no type that can be carried"),
        ((each for each in ()), "`generator` is no type that can be carried"),
        (1j, "`complex` is no type that can be carried"),
        (endless(), "nested too deeply, or contains itself"),
        (Count(2**70), "`number`: a whole number beyond 64 bits"),
        (Hostile("\ud800"), "`number`: text with a lone surrogate, which UTF-8 cannot hold"),
        (
            b"0" * (contract.RESULT_LIMIT + 1),
            "it takes 67,108,870 bytes, more than the 67,108,864 that may be sent at once",
        ),
    ],
    ids=range(11),
)
def test_what_cannot_be_carried_is_said_by_its_sender(value: object, why: str):
    with pytest.raises(ContractMistake) as caught:
        encode(value)
    assert str(caught.value) == why


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="no numpy here")
def test_numpy_scalars_are_numbers():
    import numpy as np

    for value in (np.int64(3), np.float64(3.0), np.float32(3.0), np.uint8(3)):
        assert msgspec.msgpack.decode(encode(value)) == 3


# --- contracts


def test_two_classes_of_one_shape_and_name_agree():
    def declared(width: Any, result: Any = int) -> str:
        namespace = {"__annotations__": {"width": width}, "__qualname__": "Resize", "__module__": __name__}
        return Operation(
            dataclass(type("Resize", (Request,), {**namespace, "__orig_bases__": (Request[result],)}))
        ).digest

    assert declared(int) == declared(int)
    differing: list[tuple[Any, ...]] = [
        (int,), (float,), (int, str), (int | None,), (Path,), (Point,), (Shape,), (Tree,), (Colour,), (list[int],),
        (Annotated[int, msgspec.Meta(gt=0)],), (Annotated[int, msgspec.Meta(gt=1)],), (Literal["a"],), (Literal["b"],),
        (Options,),
    ]  # fmt: skip
    assert len({declared(*each) for each in differing}) == len(differing)


def test_defaults_are_no_part_of_a_contract():
    def declared(default: object) -> str:
        namespace = {"__annotations__": {"path": Path}, "path": default, "__qualname__": "Some", "__module__": __name__}
        return Operation(dataclass(type("Some", (Request,), {**namespace, "__orig_bases__": (Request[None],)}))).digest

    assert declared(Path("a")) == declared(Path("b"))


class Silent(Request):  # type: ignore[type-arg]  # what is refused
    pass


@dataclass
class Open(Request[T], Generic[T]):
    pass


class Closed(Open[int]):
    pass


class Undecorated(Request[int]):
    number: int


@dataclass
class Odd(Request[None]):
    number: complex


@dataclass
class Result(Request[complex]):
    pass


@dataclass
class Mixed(Request[None]):
    path: Path | str


@dataclass
class Unknown(Request[None]):
    thing: Nowhere  # type: ignore[name-defined]  # noqa: F821 - what is refused


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (int, "<class 'int'> is no request class: derive it from `Request[TheResult]`"),
        (3, "3 is no request class: derive it from `Request[TheResult]`"),
        (Silent, "`Silent` does not say its result's type: derive it from `Request[TheResult]`"),
        (Closed, "`Open` leaves its result's type open"),
        (Undecorated, "`Undecorated` is no type that can be carried: make it a dataclass or a `msgspec.Struct`"),
        (Odd, "`Odd` cannot be carried between processes: `complex` is no type that can be carried"),
        (
            Result,
            "the result of `Result` cannot be carried between processes: `complex` is no type that can be carried",
        ),
        (Mixed, "may not contain any additional types other than `None`"),
        (Unknown, "name 'Nowhere' is not defined"),
    ],
)
def test_what_is_no_request_class_is_said(kind: Any, why: str):
    with pytest.raises(ContractMistake, match=re.escape(why)) as caught:
        operation_of(kind)
    assert "\n" not in str(caught.value)


async def asynchronous(_request: object) -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: 1, "the handler of `Count` must take the request, by position"),
        (lambda _request, _state: 1, "the handler of `Count` must take the request, by position"),
        (lambda *, request: request, "the handler of `Count` must take the request, by position"),
        (asynchronous, "the handler of `Count` is async: that takes `AsyncHandlers`"),
    ],
)
def test_what_cannot_be_a_handler_is_said(function: Callable[..., int], why: str):
    with pytest.raises(ContractMistake) as caught:
        Handlers().on(Count)(function)
    assert str(caught.value) == why


async def yielding(_request: object) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: 1, "the handler of `Count` must take the request, by position"),
        (yielding, "the handler of `Count` yields: a request has one result"),
    ],
)
def test_what_cannot_be_an_async_handler_is_said(function: Callable[..., Any], why: str):
    with pytest.raises(ContractMistake) as caught:
        AsyncHandlers().on(Count)(function)
    assert str(caught.value) == why


def test_async_handlers_are_functions_of_either_sort():
    handlers = AsyncHandlers()
    assert handlers.on(Count)(asynchronous) is asynchronous
    with pytest.raises(ContractMistake, match="`Count` has two handlers"):
        handlers.on(Count)


def test_a_handler_beside_a_state_takes_both():
    handlers = Handlers(lambda: nullcontext(3))
    with pytest.raises(ContractMistake, match="must take the request and the state, by position"):
        handlers.on(Count)(lambda _request: 1)  # type: ignore[arg-type, misc]
    handlers.on(Count)(lambda _request, _state=None: 1)
    assert handlers.by_name["Count"].operation is operation_of(Count)


def test_a_request_has_one_handler():
    handlers = Handlers()

    @handlers.on(Count)
    def count(request: Count) -> int:
        return int(request.number)

    assert count(Count(3)) == 3  # it is still the function
    with pytest.raises(ContractMistake, match="`Count` has two handlers"):
        handlers.on(Count)
