"""Handlers that are async, for pools under test, and their requests; imported by the test and by its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

import taskrun
from taskrun.workers import AsyncHandlers, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

TARGET = f"{__name__}:handlers"


@dataclass(frozen=True)
class Double(Request[int]):
    """Twice the number, from a task of its own."""

    number: int


@dataclass(frozen=True)
class Plain(Request[int]):
    """The worker's pid, from a handler that is not async."""


@dataclass(frozen=True)
class Wait(Request[str]):
    """Says that it has begun, and waits for ever; notes its end, for which it takes a while, in a file."""

    notes: str
    how: str = ""


@dataclass(frozen=True)
class Doze(Request[None]):
    """A handler that is not async, and is to be stopped."""

    notes: str


@dataclass(frozen=True)
class Fail(Request[None]):
    """Raises from a nested function, or a task."""

    how: str = ""


@dataclass(frozen=True)
class Report(Request[float | None]):
    """Says how far it is, from tasks and a thread. Its time left."""

    steps: int


@dataclass(frozen=True)
class Die(Request[None]):
    """Ends its worker, by itself or by its state's own task."""

    how: str


@dataclass(frozen=True)
class Beats(Request[int]):
    """Waits for so many beats of the state's own task; how many there have been."""

    more: int


@dataclass(frozen=True)
class Fork(Request[int]):
    """Forks; the child comes out of the handler too. The worker's pid."""


@dataclass(frozen=True)
class Odd(Request[int]):
    """Returns what its contract does not know."""


class State:
    """What a worker keeps.

    Attributes:
        beats: How often its own task has run.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.beats = 0
        self.nursery = nursery

    async def beat(self) -> None:
        while True:
            self.beats += 1
            await trio.sleep(0.001)


@contextlib.asynccontextmanager
async def open_state() -> AsyncIterator[State]:
    """Says in a file, where one is named, that it was entered and left."""
    await trio.lowlevel.checkpoint()
    note(os.environ.get("DUTIES_NOTES", ""), "entered")
    async with trio.open_nursery() as nursery:
        state = State(nursery)
        nursery.start_soon(state.beat)
        yield state
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint()
    note(os.environ.get("DUTIES_NOTES", ""), "left")


def note(path: str, what: str) -> None:
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{what}\n")


async def add_one(request: Any, go_on: Callable[[Any], Awaitable[Any]]) -> Any:
    await trio.lowlevel.checkpoint()
    result = await go_on(Double(request.number + 1) if isinstance(request, Double) else request)
    return result + 100 if isinstance(request, Double) else result


def straight_on(request: Any, go_on: Callable[[Any], Awaitable[Any]]) -> Awaitable[Any]:
    return go_on(request)


handlers = AsyncHandlers(state=open_state)
layered = AsyncHandlers(middleware=(add_one, straight_on))


@contextlib.asynccontextmanager
async def open_nothing() -> AsyncIterator[None]:
    await trio.lowlevel.checkpoint()
    raise LookupError("there is no state to open")
    yield


broken = AsyncHandlers(state=open_nothing)


@contextlib.contextmanager
def open_number() -> Iterator[int]:
    yield 5


plainly = AsyncHandlers(state=open_number)


@layered.on(Double)
async def double_alone(request: Double) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * request.number


@layered.on(Plain)
def plain_alone(_request: Plain) -> int:
    return os.getpid()


@plainly.on(Double)
async def double_and_number(request: Double, number: int) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * request.number + number


@handlers.on(Double)
async def double(request: Double, _state: State) -> int:
    found = []

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        found.append(2 * request.number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
    return found[0]


@handlers.on(Plain)
def plain(_request: Plain, _state: State) -> int:
    return os.getpid()


@handlers.on(Wait)
async def wait(request: Wait, _state: State) -> str:
    taskrun.status(f"begun {os.getpid()}")
    match request.how:
        case "asks":
            while not taskrun.cancelled():  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.005)
            return "asked"
        case "resists":
            await resist()
        case "spins":
            spin()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
            note(request.notes, "cleaned up")
    return "never"


async def resist() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


def spin() -> None:
    while True:
        pass


@handlers.on(Doze)
def doze(request: Doze, _state: State) -> None:
    try:
        taskrun.status(f"begun {os.getpid()}")
        time.sleep(600)
    finally:
        note(request.notes, "woken up")


@handlers.on(Fail)
async def fail(request: Fail, _state: State) -> None:
    await trio.lowlevel.checkpoint()
    match request.how:
        case "group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(raise_later)
        case "exit":
            sys.exit(3)
        case "cancelled":
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            raise TimeoutError("its own scope was cancelled")
    await raise_later()


async def raise_later() -> None:
    await trio.lowlevel.checkpoint()
    error = ValueError("it is wrong")
    error.add_note("and this is why")
    raise error


@handlers.on(Report)
async def report(request: Report, _state: State) -> float | None:
    taskrun.status("counting")

    async def count() -> None:
        for done in taskrun.track(range(request.steps)):
            await trio.lowlevel.checkpoint()
            assert done < request.steps

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
    await trio.to_thread.run_sync(taskrun.progress, request.steps, request.steps, "from a thread")
    return taskrun.time_left()


@handlers.on(Die)
async def die(request: Die, state: State) -> None:
    await trio.lowlevel.checkpoint()
    if request.how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    state.nursery.start_soon(raise_later)
    await trio.sleep_forever()


@handlers.on(Beats)
async def beats(request: Beats, state: State) -> int:
    wanted = state.beats + request.more
    while state.beats < wanted:  # noqa: ASYNC110 - likewise
        await trio.sleep(0.001)
    return state.beats


@handlers.on(Fork)
async def fork(_request: Fork, _state: State) -> int:
    await trio.lowlevel.checkpoint()
    child = os.fork()
    if child:
        await trio.to_thread.run_sync(os.waitpid, child, 0)
    return os.getpid()


@handlers.on(Odd)
async def odd(_request: Odd, _state: State) -> int:
    await trio.lowlevel.checkpoint()
    return odd  # type: ignore[return-value]
