"""Many requests, their results in order: the look-ahead of ``Pool.map``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from taskrun.workers.errors import WorkersError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from taskrun.worker.contract import Request

R = TypeVar("R")


class Done(Generic[R]):
    """One request of ``map``, and what came of it.

    Attributes:
        request: As it was given.
        failure: ``None`` where there is a result.
    """

    __slots__ = ("_result", "failure", "request")

    def __init__(self, request: Request[R]) -> None:
        self.request = request
        self.failure: WorkersError | None = None
        self._result: list[R] = []

    @property
    def result(self) -> R:
        """The result.

        Raises:
            WorkersError: There is none; the failure.
        """
        if self.failure is not None:
            raise self.failure
        return self._result[0]


class _Slot(Generic[R]):
    __slots__ = ("done", "settled")

    def __init__(self, request: Request[R]) -> None:
        self.done: Done[R] = Done(request)
        self.settled = trio.Event()

    async def carry_out(self, send: Callable[[Request[R]], Awaitable[R]]) -> None:
        try:
            self.done._result.append(await send(self.done.request))  # noqa: SLF001 - it is being made here
        except WorkersError as failure:
            self.done.failure = failure
        finally:
            self.settled.set()


class Mapped(Generic[R]):
    """An async iterator of ``Done``. Left early, what is under way runs on to its end, or to the pool's."""

    def __init__(
        self,
        wanted: Iterable[Request[R]] | AsyncIterable[Request[R]],
        ahead: int,
        nursery: trio.Nursery,
        send: Callable[[Request[R]], Awaitable[R]],
    ) -> None:
        self._source: Iterator[Request[R]] | AsyncIterator[Request[R]]
        self._source = wanted.__aiter__() if hasattr(wanted, "__aiter__") else iter(wanted)
        self._ahead = ahead
        self._nursery = nursery
        self._send = send
        self._slots: deque[_Slot[R]] = deque()
        self._exhausted = False

    def __aiter__(self) -> Mapped[R]:
        return self

    async def __anext__(self) -> Done[R]:
        while not self._exhausted and len(self._slots) < self._ahead:
            request = await self._next()
            if request is not None:
                slot = _Slot(request)
                self._slots.append(slot)
                self._nursery.start_soon(slot.carry_out, self._send)
        if not self._slots:
            raise StopAsyncIteration
        await self._slots[0].settled.wait()
        return self._slots.popleft().done

    async def _next(self) -> Request[R] | None:
        source = self._source
        try:
            if hasattr(source, "__anext__"):
                return await source.__anext__()
            return next(source)
        except (StopIteration, StopAsyncIteration):
            self._exhausted = True
            return None
