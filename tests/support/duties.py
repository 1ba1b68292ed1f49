"""Handlers for pools under test, and their requests; imported by the test and by its workers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import taskrun
from taskrun.workers import Handlers, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = f"{__name__}:handlers"


@dataclass(frozen=True)
class Echo(Request[str]):
    """Gives back its text."""

    text: str = ""


@dataclass(frozen=True)
class Long(Request[str]):
    """Text that only the worker makes."""

    times: int
    text: str


@dataclass(frozen=True)
class WhoAreYou(Request[int]):
    """The worker's pid."""


@dataclass(frozen=True)
class Count(Request[int]):
    """How often this worker was asked so."""


@dataclass(frozen=True)
class Wait(Request[int]):
    """Says that it has begun, and waits for a file; ends when asked to. The worker's pid."""

    path: str
    number: int = 0


@dataclass(frozen=True)
class Resist(Request[None]):
    """Says that it has begun, and spins for ever, whatever it is asked."""


@dataclass(frozen=True)
class Nap(Request[int]):
    """Sleeps through everything but a kill. The worker's pid."""

    seconds: float


@dataclass(frozen=True)
class Die(Request[None]):
    """Ends its worker."""

    how: str = "kill"


@dataclass(frozen=True)
class DieOnce(Request[int]):
    """Ends its worker unless the file is there, which it makes. The worker's pid."""

    path: str


@dataclass(frozen=True)
class Raise(Request[None]):
    """Raises an exception of that kind."""

    what: str


@dataclass(frozen=True)
class Return(Request[int]):
    """Returns something that its contract does not know."""

    what: str


@dataclass(frozen=True)
class Report(Request[str]):
    """Says how far it is."""

    steps: int


@dataclass(frozen=True)
class Say(Request[None]):
    """Writes to its stdout and its stderr."""

    text: str


@dataclass(frozen=True)
class Grow(Request[int]):
    """Keeps so many mebibytes. The worker's pid."""

    mebibytes: int


@dataclass(frozen=True)
class Note(Request[None]):
    """Adds a line to a file."""

    path: str
    line: str


@dataclass(frozen=True)
class Fork(Request[int]):
    """Forks; the child comes out of the handler too, or sleeps on. The worker's pid."""

    stays: bool


@dataclass(frozen=True)
class Loaded(Request[bool]):
    """Whether the worker has imported a module."""

    module: str


@dataclass(frozen=True)
class Unhandled(Request[None]):
    """Nobody handles it."""


class State:
    """What a worker keeps."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[bytearray] = []


@contextlib.contextmanager
def open_state() -> Iterator[State]:
    """Says in a file, where one is named, that it was entered and left."""
    _note("entered")
    yield State()
    _note("left")


def _note(what: str) -> None:
    path = os.environ.get("DUTIES_NOTES")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{what} {os.getpid()}\n")


handlers = Handlers(state=open_state)


@handlers.on(Echo)
def echo(request: Echo, _state: State) -> str:
    return request.text


@handlers.on(Long)
def long(request: Long, _state: State) -> str:
    return request.text * request.times


@handlers.on(WhoAreYou)
def who_are_you(_request: WhoAreYou, _state: State) -> int:
    return os.getpid()


@handlers.on(Count)
def count(_request: Count, state: State) -> int:
    state.count += 1
    return state.count


@handlers.on(Wait)
def wait(request: Wait, _state: State) -> int:
    taskrun.status(f"begun {os.getpid()}")
    while not os.path.exists(request.path):
        time.sleep(0.005)
    return os.getpid()


@handlers.on(Resist)
def resist(_request: Resist, _state: State) -> None:
    taskrun.status(f"begun {os.getpid()}")
    while True:
        with contextlib.suppress(taskrun.Cancelled):
            while True:
                pass


@handlers.on(Nap)
def nap(request: Nap, _state: State) -> int:
    taskrun.status(f"begun {os.getpid()}")
    until = time.monotonic() + request.seconds
    while time.monotonic() < until:
        with contextlib.suppress(taskrun.Cancelled):
            time.sleep(0.01)
    return os.getpid()


@handlers.on(Die)
def die(request: Die, _state: State) -> None:
    match request.how:
        case "segv":
            ctypes.string_at(0)
        case "exit":
            print("these are its last words", file=sys.stderr, flush=True)
            os._exit(7)
        case "abort":
            os.abort()
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


@handlers.on(DieOnce)
def die_once(request: DieOnce, _state: State) -> int:
    if not os.path.exists(request.path):
        with open(request.path, "w", encoding="utf-8"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


class TwoArguments(Exception):  # noqa: N818 - what it has
    """Cannot be unpickled."""

    def __init__(self, first: int, _second: int) -> None:
        super().__init__(first)


class Unshowable(Exception):  # noqa: N818 - what it is
    """Raises when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@handlers.on(Raise)
def raise_(request: Raise, _state: State) -> None:
    match request.what:
        case "ValueError":
            error = ValueError("it is wrong")
            error.add_note("and this is why")
            raise error
        case "TwoArguments":
            raise TwoArguments(1, 2)
        case "Unshowable":
            raise Unshowable
        case "BaseException":
            raise BaseException("the base of all")  # noqa: TRY002 - that is the point
        case "GeneratorExit":
            raise GeneratorExit
        case "SystemExit":
            sys.exit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "StopIteration":
            raise StopIteration("over")
        case "RecursionError":
            endless(0)
        case "ExceptionGroup":
            raise ExceptionGroup("both", [ValueError("one"), TypeError("two")])
        case "Huge":
            raise ValueError("x" * 5_000_000)
        case "Surrogate":
            raise ValueError("\ud800")
        case "NoException":
            raise request.what  # type: ignore[misc]
        case _:
            raise LookupError(request.what)


def endless(depth: int) -> int:
    return endless(depth + 1) + 1


@handlers.on(Return)
def return_(request: Return, _state: State) -> int:
    values: dict[str, object] = {
        "function": return_,
        "text": "no number",
        "huge": 1 << 80,
        "surrogate": "\ud800",
        "nested": _nested(),
    }
    return values[request.what]  # type: ignore[return-value]


def _nested() -> object:
    value: list[object] = []
    value.append(value)
    return value


@handlers.on(Report)
def report(request: Report, _state: State) -> str:
    taskrun.status("counting")
    for done in range(1, request.steps + 1):
        taskrun.progress(done, request.steps, f"step {done}")
    return "reported"


@handlers.on(Say)
def say(request: Say, _state: State) -> None:
    print(request.text)
    print(request.text, file=sys.stderr)


@handlers.on(Grow)
def grow(request: Grow, state: State) -> int:
    state.kept.append(bytearray(b"x" * (request.mebibytes << 20)))
    return os.getpid()


@handlers.on(Note)
def note(request: Note, _state: State) -> None:
    with open(request.path, "a", encoding="utf-8") as file:
        file.write(request.line + "\n")


@handlers.on(Fork)
def fork(request: Fork, _state: State) -> int:
    if os.fork() == 0 and request.stays:
        os.setsid()
        time.sleep(600)
    return os.getpid()


@handlers.on(Loaded)
def loaded(request: Loaded, _state: State) -> bool:
    return request.module in sys.modules
