"""A pool as its user sees it: requests go in, results come out."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from taskrun.worker.buffers import Outgoing
from taskrun.worker.contract import ContractMistake, Request, encode, operation_of
from taskrun.workers.errors import HandlerFailed, PoolFull, RequestTimedOut, WorkerStartFailed
from taskrun.workers.mapping import Mapped
from taskrun.workers.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from taskrun.workers.settings import Moved, Settings, Statistics
    from taskrun.workers.staff import Staff

R = TypeVar("R")
Q = TypeVar("Q", bound=Request[Any])


class _Sending:
    """How one request is sent, through all its middleware; ``ticket`` is the last that was made for it."""

    __slots__ = ("on_progress", "priority", "ticket", "waits")

    def __init__(self, priority: int, on_progress: Callable[[Moved], None] | None, *, waits: bool = True) -> None:
        self.priority = priority
        self.on_progress = on_progress
        self.waits = waits
        self.ticket: Ticket | None = None


class Pool:
    """Workers that carry out requests; made by ``open_pool``."""

    def __init__(self, target: str, nursery: trio.Nursery, settings: Settings, staff: Staff) -> None:
        self._target = target
        self._nursery = nursery
        self._staff = staff
        self._timeouts = settings.timeouts
        self._middleware = settings.middleware
        self._ahead = 2 * settings.size * settings.prefetch
        self._number = 0
        self._token = trio.lowlevel.current_trio_token()

    # --- requests

    async def send(
        self,
        request: Request[R],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of waiting and work, which is ended; not of this call alone
        priority: int = 0,
        on_progress: Callable[[Moved], None] | None = None,
    ) -> R:
        """Has a request carried out, and returns its result.

        Cancelled, it has the work ended before it returns.

        Args:
            request: Of a class that the workers handle.
            timeout: Seconds of waiting in the queue and of work together; the limits of work alone are the pool's.
            priority: The higher, the sooner; equal ones in the order in which they came.
            on_progress: Called with what the handler says by ``taskrun.progress`` and ``taskrun.status``.

        Raises:
            WorkersError: One of the six ways to fail.
            ContractMistake: It is no request, or cannot be carried between processes.
            RuntimeError: This is another thread, or another ``trio.run``, than the pool's.
        """
        sending = _Sending(priority, on_progress)
        if timeout is None and not self._middleware:
            result: R = await self._carry_out(request, sending)
            return result
        if timeout is None:
            return await self._through_middleware(request, sending)
        with trio.move_on_after(timeout):
            return await self._through_middleware(request, sending)
        ticket = sending.ticket
        if ticket is None or ticket.timeout is None:
            self._staff.counts["timed_out"] += 1
        raise RequestTimedOut(operation_of(type(request)).name, timeout, "" if ticket is None else ticket.stack)

    async def send_nowait(
        self, request: Request[R], *, priority: int = 0, on_progress: Callable[[Moved], None] | None = None
    ) -> R:
        """As ``send``, but where the queue is full it fails at once.

        Raises:
            PoolFull: It is.
        """
        return await self._through_middleware(request, _Sending(priority, on_progress, waits=False))

    def map(self, wanted: Iterable[Q] | AsyncIterable[Q], *, ahead: int | None = None, priority: int = 0) -> Mapped[Q]:
        """Has many requests carried out; gives a ``Done`` for each, in order, and raises for none of them.

        Args:
            wanted: Requests; taken from it only as they are needed.
            ahead: How many are under way at most; ``None``: what keeps all workers busy.
            priority: As of ``send``.
        """
        self._refuse_strangers()
        if ahead is None:
            ahead = self._ahead
        return Mapped(wanted, max(1, ahead), self._nursery, lambda request: self.send(request, priority=priority))

    async def _through_middleware(self, request: Request[R], sending: _Sending) -> R:
        result: R
        if not self._middleware:
            result = await self._carry_out(request, sending)
            return result

        async def innermost(request: Request[Any]) -> Any:
            return await self._carry_out(request, sending)

        call: Callable[[Request[Any]], Awaitable[Any]] = innermost
        for layer in reversed(self._middleware):
            call = _within(layer, call)
        result = await call(request)
        return result

    async def _carry_out(self, request: Request[Any], sending: _Sending) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()  # a worker that has got it would have to die
        self._refuse_strangers()
        self._staff.refuse_if_over()
        ticket = sending.ticket = self._ticket(request, sending)
        if sending.waits:
            await self._staff.admit()
        elif self._staff.queue.is_full:
            raise PoolFull(f"{len(self._staff.queue)} requests are waiting, as many as may")
        self._staff.submit(ticket)
        await ticket.wait(self._staff.withdraw)
        try:
            result = ticket.result()
        except HandlerFailed:
            self._staff.counts["failed"] += 1
            raise
        self._staff.counts["completed"] += 1
        return result

    def _ticket(self, request: Request[Any], sending: _Sending) -> Ticket:
        operation = operation_of(type(request))
        known = self._staff.operations
        assert known is not None
        digest = known.get(operation.name)
        if digest is None:
            names = ", ".join(f"`{name}`" for name in known) or "nothing"
            text = f"`{self._target}` has no handler of `{operation.name}`: it handles {names}"
            raise WorkerStartFailed("contract", text)
        if digest != operation.digest:
            text = f"`{operation.name}` or its result is another class in the workers of `{self._target}` than here"
            raise WorkerStartFailed("contract", text)
        try:
            outgoing = Outgoing() if operation.large else None
            body = encode(request, outgoing)
        except ContractMistake as mistake:
            raise ContractMistake(f"this `{operation.name}` cannot be sent: {mistake}") from None
        self._number += 1
        return Ticket(
            self._number,
            operation,
            body,
            outgoing,
            priority=sending.priority,
            limit=self._timeouts.of(type(request)),
            on_progress=sending.on_progress,
        )

    async def close(self, finish: float | None = None) -> None:
        """Takes nothing new, finishes what was accepted, and ends the workers; returns when they are gone.

        Args:
            finish: Seconds for what was accepted; what is not finished then is ended, and fails with ``PoolClosed``.
                0: at once, without the grace period. ``None``: as long as it takes.
        """
        self._refuse_strangers()
        await self._staff.close(finish)

    def _refuse_strangers(self) -> None:
        """Whoever waits is woken by the loop that reads from workers: in another one that would break both.

        Raises:
            RuntimeError: This is another thread, or another ``trio.run``, than the pool's.
        """
        if trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError("a pool is used in the `trio.run` that opened it: `trio.from_thread.run` leads there")

    @property
    def statistics(self) -> Statistics:
        """The pool as it is now."""
        return self._staff.statistics


def _within(
    layer: Callable[..., Any], call: Callable[[Request[Any]], Awaitable[Any]]
) -> Callable[[Request[Any]], Awaitable[Any]]:
    """One layer of middleware, which may be sync or async."""

    async def within(request: Request[Any]) -> Any:
        value = layer(request, call)
        return await value if isawaitable(value) else value

    return within
