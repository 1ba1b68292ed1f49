"""Many requests, their results in order: the look-ahead of ``Pool.map``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

from taskrun.worker.contract import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator

R = TypeVar("R")
Q = TypeVar("Q", bound=Request[Any])
Q_co = TypeVar("Q_co", bound=Request[Any], covariant=True)


class Done(Generic[Q_co]):
    """One request of ``map``, and what came of it.

    Attributes:
        request: As it was given.
        failure: ``None`` where there is a result; one of the six, a ``ContractMistake``, or what a middleware raised.
    """

    __slots__ = ("_result", "failure", "request")

    def __init__(self, request: Q_co) -> None:
        self.request = request
        self.failure: Exception | None = None
        self._result: Any = None

    @property
    def result(self: Done[Request[R]]) -> R:
        """The result.

        Raises:
            Exception: There is none; the failure.
        """
        if self.failure is not None:
            raise self.failure
        result: R = self._result
        return result


class _Slot(Generic[Q]):
    __slots__ = ("done", "scope", "settled")

    def __init__(self, request: Q) -> None:
        self.done: Done[Q] = Done(request)
        self.settled = trio.Event()
        self.scope = trio.CancelScope()

    @enable_ki_protection
    async def carry_out(self, send: Callable[[Q], Awaitable[Any]]) -> None:
        try:
            with self.scope:
                self.done._result = await send(self.done.request)  # noqa: SLF001 - it is being made here
        except Exception as failure:  # noqa: BLE001 - a middleware's, say: it is this request's and nobody else's
            self.done.failure = failure
        finally:
            self.settled.set()


class Mapped(Generic[Q]):
    """An async iterator of ``Done``.

    Cancelled while it is waited for, it has the work under way ended. Left early, that runs on to its end, or to the
    pool's.
    """

    def __init__(
        self,
        wanted: Iterable[Q] | AsyncIterable[Q],
        ahead: int,
        nursery: trio.Nursery,
        send: Callable[[Q], Awaitable[Any]],
    ) -> None:
        self._source: Iterator[Q] | AsyncIterator[Q]
        self._source = wanted.__aiter__() if hasattr(wanted, "__aiter__") else iter(wanted)
        self._ahead = ahead
        self._nursery = nursery
        self._send = send
        self._slots: deque[_Slot[Q]] = deque()
        self._exhausted = False

    def __aiter__(self) -> Mapped[Q]:
        return self

    async def __anext__(self) -> Done[Q]:
        try:
            while not self._exhausted and len(self._slots) < self._ahead:
                request = await self._next()
                if request is not None:
                    await self._begin(_Slot(request))
            if not self._slots:
                raise StopAsyncIteration
            await self._slots[0].settled.wait()
        except trio.Cancelled:
            self._exhausted = True
            for slot in self._slots:
                slot.scope.cancel()
            self._slots.clear()
            raise
        return self._slots.popleft().done

    async def _begin(self, slot: _Slot[Q]) -> None:
        self._slots.append(slot)
        try:
            self._nursery.start_soon(slot.carry_out, self._send)
        except RuntimeError:  # the pool has ended, and its nursery with it: it says so
            await slot.carry_out(self._send)

    async def _next(self) -> Q | None:
        source = self._source
        try:
            if hasattr(source, "__anext__"):
                return await source.__anext__()
            return next(source)
        except (StopIteration, StopAsyncIteration):
            self._exhausted = True
            return None
