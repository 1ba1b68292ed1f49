"""Pools for tests: opened and bounded, watched from outside, and cancelled at every step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio
from support.census import Census, wait_until
from support.duties import TARGET

from taskrun.workers import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskrun.workers import Moved, Request

PATIENCE = 30.0  # seconds after which a test hangs
GRACE = 0.3  # seconds; long enough for a handler that obeys


def run(
    test: Callable[[Pool], Awaitable[None]], target: str = TARGET, *, patience: float = PATIENCE, **settings: Any
) -> None:
    """Runs a test with a pool, within bounds."""

    async def main() -> None:
        with trio.fail_after(patience):
            async with open_pool(target, **{"size": 1, "grace": GRACE, **settings}) as pool:
                await test(pool)

    trio.run(main)


def bounded(test: Callable[[], Awaitable[None]]) -> None:
    """Runs a test that opens its pools itself, within bounds."""

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            await test()

    trio.run(main)


class Sent:
    """A request that was sent in the background.

    Attributes:
        pid: Of the worker, once it has said that it has begun.
    """

    def __init__(self, pool: Pool, request: Request[Any], nursery: trio.Nursery, **how: Any) -> None:
        self.request = request
        self.result: Any = None
        self.failure: Exception | None = None
        self.pid = 0
        self.settled = trio.Event()
        self.scope = trio.CancelScope()
        self._begun = trio.Event()
        nursery.start_soon(self._send, pool, how)

    async def _send(self, pool: Pool, how: dict[str, Any]) -> None:
        try:
            with self.scope:
                self.result = await pool.send(self.request, on_progress=self._moved, **how)
        except Exception as failure:
            self.failure = failure
        finally:
            self.settled.set()

    def _moved(self, moved: Moved) -> None:
        if moved.message.startswith("begun "):
            self.pid = int(moved.message.split()[1])
            self._begun.set()

    async def begun(self) -> int:
        """Waits until its handler says that it has begun; the worker's pid."""
        await self._begun.wait()
        return self.pid


async def workers_of(pool: Pool, count: int = 1) -> None:
    """Waits until so many workers are ready."""
    while pool.statistics.workers < count:  # noqa: ASYNC110 - nothing tells of it
        await trio.sleep(0.005)


async def until(what: Callable[[], object]) -> None:
    """Waits for something that nothing tells of."""
    while not what():  # noqa: ASYNC110 - as above
        await trio.sleep(0.005)


def touch(path: object) -> None:
    """Makes the file that ``Wait`` waits for."""
    with open(str(path), "w", encoding="utf-8"):
        pass


def children() -> list[int]:
    """The live children of this process: the hosts of its pools."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


def gone(*pids: int) -> Census:
    """Remembers processes that are to be gone later."""
    return Census().note(*pids)


__all__ = [
    "GRACE",
    "PATIENCE",
    "Census",
    "Sent",
    "bounded",
    "children",
    "gone",
    "run",
    "touch",
    "until",
    "wait_until",
    "workers_of",
]
