"""Handlers of large values, and their requests; opened as ``support.buffers_worker:handlers``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator  # noqa: TC003 - read at run time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray  # noqa: TC002 - likewise

import taskrun
from taskrun.worker import memory
from taskrun.workers import AsyncHandlers, Buffer, Handlers, Request, SharedBuffer

TARGET = f"{__name__}:handlers"
if os.environ.get("WITHOUT_MEMFD"):
    memory.make = memory.make_unlinked


@dataclass(frozen=True)
class Sum(Request[float]):
    """The sum of the array, after what ``how`` says."""

    array: NDArray[np.float64]
    how: str = ""


@dataclass(frozen=True)
class Same(Request[np.ndarray]):
    """Gives the array back."""

    array: np.ndarray


@dataclass(frozen=True)
class Many:
    arrays: list[np.ndarray]
    buffers: dict[str, Buffer]
    none: np.ndarray | None
    anything: Any


@dataclass(frozen=True)
class SameMany(Request[Many]):
    many: Many


@dataclass(frozen=True)
class Reverse(Request[Buffer]):
    """Gives the bytes back, reversed."""

    buffer: Buffer


@dataclass(frozen=True)
class Keep(Request[int]):
    """Keeps a view of the array; how many it has."""

    array: np.ndarray


@dataclass(frozen=True)
class Kept(Request[list[float]]):
    """The first and the last value of each array that it has kept."""


@dataclass(frozen=True)
class Own(Request[np.ndarray]):
    """An array that the worker has, and changes at each call: all of it is the number of the call."""

    size: int


@dataclass(frozen=True)
class Usage(Request[tuple[int, int]]):
    """The worker's descriptors, and the bytes that it has mapped."""


@dataclass
class State:
    kept: list[np.ndarray] = field(default_factory=list)
    own: np.ndarray | None = None


@contextmanager
def open_state() -> Iterator[State]:
    yield State()


def usage() -> tuple[int, int]:
    """This process's descriptors, and the bytes that it has mapped."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return len(os.listdir("/proc/self/fd")), int(file.read().split()[0]) * 4096


handlers = Handlers(state=open_state)


@handlers.on(Sum)
def sum_up(request: Sum, state: State) -> float:
    taskrun.status(f"begun {os.getpid()}")
    if request.how.startswith("die unless "):
        path = request.how.removeprefix("die unless ")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8"):
                os.kill(os.getpid(), signal.SIGKILL)
    elif request.how == "wait":
        signal.pause()
    elif request.how == "raise":
        raise ValueError(float(request.array[-1]))
    return float(request.array.sum())


@handlers.on(Same)
def same(request: Same, state: State) -> np.ndarray:
    assert not request.array.flags.writeable
    return request.array


@handlers.on(SameMany)
def same_many(request: SameMany, state: State) -> Many:
    return request.many


@handlers.on(Reverse)
def reverse(request: Reverse, state: State) -> Buffer:
    assert request.buffer.view.readonly
    return Buffer(request.buffer.view[::-1])


@handlers.on(Keep)
def keep(request: Keep, state: State) -> int:
    state.kept.append(request.array[1:])
    return len(state.kept)


@handlers.on(Kept)
def kept(request: Kept, state: State) -> list[float]:
    return [float(array[at]) for array in state.kept for at in (0, -1)]


@handlers.on(Own)
def own(request: Own, state: State) -> np.ndarray:
    if state.own is None or len(state.own) != request.size:
        state.own = np.zeros(request.size)
    state.own += 1
    return state.own


@handlers.on(Usage)
def usage_here(request: Usage, state: State) -> tuple[int, int]:
    return usage()


@dataclass(frozen=True)
class Add(Request[int]):
    """Adds 1 so many times to the counter at 0, and notes in the one at ``mine`` how often it has; the last sum."""

    shared: SharedBuffer
    times: int
    mine: int = 8


@dataclass(frozen=True)
class Hold(Request[SharedBuffer]):
    """Keeps the buffer and writes to it; gives it back."""

    shared: SharedBuffer
    text: bytes


@dataclass(frozen=True)
class Held(Request[bytes]):
    """What is at the beginning of the buffer that it keeps."""


@dataclass(frozen=True)
class MakeShared(Request[SharedBuffer]):
    """Makes one in the worker, which cannot be sent."""


_held: list[SharedBuffer] = []


@handlers.on(Add)
def add(request: Add, state: State) -> int:
    total, mine = request.shared.counter(), request.shared.counter(request.mine)
    taskrun.status(f"begun {os.getpid()}")
    last = 0
    one, noted = total.add, mine.store
    if request.times > 10_000:
        for _ in range(request.times):
            last = one(1)
        return last
    for number in range(request.times):
        last = one(1)
        noted(number + 1)
    return last


@handlers.on(Hold)
def hold(request: Hold, state: State) -> SharedBuffer:
    _held.append(request.shared)
    request.shared.view[: len(request.text)] = request.text
    return request.shared


@handlers.on(Held)
def held(request: Held, state: State) -> bytes:
    return bytes(_held[-1].view[:8])


@handlers.on(MakeShared)
def make_shared(request: MakeShared, state: State) -> SharedBuffer:
    return SharedBuffer(8)


waiting = AsyncHandlers(state=open_state)


@waiting.on(Keep)
async def keep_later(request: Keep, state: State) -> int:
    import trio

    await trio.lowlevel.checkpoint()
    return keep(request, state)


@waiting.on(Kept)
def kept_later(request: Kept, state: State) -> list[float]:
    return kept(request, state)


@waiting.on(Same)
async def same_later(request: Same, state: State) -> np.ndarray:
    import trio

    await trio.lowlevel.checkpoint()
    return request.array
