"""One request on its way: who waits for it, and what has become of it. It knows neither queue nor worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from taskrun.worker import requests
from taskrun.workers.errors import HandlerFailed, PoolClosed, RequestTimedOut, WorkerCrashed, exit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.link import Usage
    from taskrun.worker.buffers import Incoming, Outgoing
    from taskrun.worker.contract import Operation, Request
    from taskrun.worker.wire import Failure
    from taskrun.workers.settings import Moved, RetryOnCrash
    from taskrun.workers.stderr import Stderr


_NOTHING: Any = object()

AGAIN = "again"
"""It is to be given to another worker."""
_POISON = 2  # workers that one request may kill


class Ended:
    """How a worker ended that had work in hand.

    Attributes:
        usage: ``None``: nobody knows.
        stack: Where it was when it had to be killed.
        stderr: Its last lines.
        closing: The pool is being closed, and wanted it.
        policy: What becomes of requests of a class whose worker died.
    """

    __slots__ = ("closing", "policy", "stack", "stderr", "usage")

    def __init__(
        self,
        usage: Usage | None,
        *,
        stack: str,
        stderr: Stderr,
        closing: bool,
        policy: Callable[[type[Request[Any]]], RetryOnCrash | None],
    ) -> None:
        self.usage = usage
        self.stack = stack
        self.stderr = stderr
        self.closing = closing
        self.policy = policy


class Turn:
    """What a worker is given to do: its place in the queue, and how it fares there.

    Attributes:
        id: Its number in the pool.
        order: Its place in the queue: the lower, the sooner.
        limit: Seconds of work; ``None``: no limit.
        attempt: How often a worker got it.
        crashes: How many workers died with it in hand.
        unwanted: Nobody waits for it any more; it settles when its work has been ended.
        timeout: Seconds, once its time is over.
        stack: Where its worker was when it had to be killed for it.
    """

    __slots__ = ("attempt", "crashes", "id", "limit", "order", "stack", "timeout", "unwanted")

    def __init__(self, number: int, *, priority: int, limit: float | None) -> None:
        self.id = number
        self.order = (-priority, number)
        self.limit = limit
        self.attempt = 0
        self.crashes = 0
        self.unwanted = False
        self.timeout: float | None = None
        self.stack = ""

    def __lt__(self, other: Turn) -> bool:
        return self.order < other.order

    def frame(self) -> bytes:
        """What the worker gets."""
        raise NotImplementedError

    def fail(self, failure: Exception) -> None:
        """No worker will carry it out."""
        raise NotImplementedError

    def lost(self, end: Ended) -> str:
        """Its worker has ended with it in hand.

        Returns:
            What it counts as in the statistics, or ``AGAIN``; empty: nothing.
        """
        raise NotImplementedError


class Ticket(Turn):
    """A request that was accepted.

    Attributes:
        body: The encoded request.
        outgoing: What goes beside it; ``None``: nothing may.
        segment: Where that lies for the worker that has it; 0: nowhere.
        settled: It has an answer, or a failure.
        spoiled: What ``on_progress`` raised; its work is being ended for it.
    """

    __slots__ = (
        "_answer",
        "_failure",
        "_task",
        "_value",
        "body",
        "on_progress",
        "operation",
        "outgoing",
        "segment",
        "settled",
        "spoiled",
    )

    def __init__(
        self,
        number: int,
        operation: Operation,
        body: bytes,
        outgoing: Outgoing | None = None,
        *,
        priority: int,
        limit: float | None,
        on_progress: Callable[[Moved], None] | None,
    ) -> None:
        super().__init__(number, priority=priority, limit=limit)
        self.operation = operation
        self.body = body
        self.outgoing = outgoing
        self.segment = 0
        self.on_progress = on_progress
        self.settled = False
        self.spoiled: Exception | None = None
        self._task: Task | None = None
        self._answer: msgspec.Raw | None = None
        self._value: Any = _NOTHING
        self._failure: Exception | None = None

    def answer(self, body: msgspec.Raw, incoming: Incoming | None = None) -> None:
        """Its handler returned.

        Args:
            body: The encoded result.
            incoming: What came beside it, which is there for this moment only.
        """
        self._answer = body
        if incoming is not None and not self.unwanted:
            try:
                self._value = self._decoded(incoming)
            except (HandlerFailed, MemoryError) as failure:
                self._failure = failure
        self._settle()

    def fail(self, failure: Exception) -> None:
        """It will have no result."""
        self._failure = failure
        self._settle()

    def refuse(self, failure: Failure) -> None:
        """Its handler raised, or could not be called."""
        unnamed = "BaseException" if failure.kind == "exception" else "TypeError"
        kind = failure.type_names[0] if failure.type_names else unnamed
        self.fail(HandlerFailed(self.operation.name, kind, failure.message, failure.traceback, failure.notes))

    def lost(self, end: Ended) -> str:
        """See ``Turn``."""
        self.stack = end.stack
        if self.spoiled is not None:
            self.fail(self.spoiled)
        elif self.timeout is not None:
            self.fail(RequestTimedOut(self.operation.name, self.timeout, end.stack))
            return "timed_out"
        elif self.unwanted or end.closing:
            self.fail(PoolClosed("the pool was closed before it was carried out"))
        else:
            self.crashes += 1
            policy = end.policy(self.operation.kind)
            if policy is not None and self.attempt < policy.attempts and self.crashes < _POISON:
                return AGAIN
            self.fail(self.crash(end.usage, str(end.stderr)))
            return "crashed"
        return ""

    def crash(self, usage: Usage | None, stderr: str) -> WorkerCrashed:
        """The failure that it is if its worker has died like this; ``None``: nobody knows how."""
        code = exit_of(usage)
        return WorkerCrashed(
            self.operation.name,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            attempt=self.attempt,
            cpu=0.0 if usage is None else usage.cpu,
            max_rss=0 if usage is None else usage.max_rss,
            stderr=stderr,
        )

    def frame(self) -> bytes:
        """What the worker gets."""
        body, name = msgspec.Raw(self.body), self.operation.name
        ask = requests.Ask(id=self.id, operation=name, body=body, time_left=self.limit, segment=self.segment)
        return requests.encode(ask)

    def _settle(self) -> None:
        if self.settled:
            return
        self.settled = True
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    async def wait(self, withdraw: Callable[[Ticket], bool]) -> None:
        """Waits until it is settled.

        Args:
            withdraw: Called when the waiting is cancelled; whether that settles it at once. If not, its work is being
                ended, and the waiting goes on until that is done.
        """
        if self.settled:
            await trio.lowlevel.checkpoint()
            return
        self._task = current_task()

        def abort(_raise_cancel: Any) -> Abort:
            self.unwanted = True
            if withdraw(self):
                self.settled = True
                self._task = None
                return Abort.SUCCEEDED
            return Abort.FAILED

        await wait_task_rescheduled(abort)
        if self.unwanted:
            await trio.lowlevel.checkpoint_if_cancelled()

    def result(self) -> Any:
        """What came of it.

        Raises:
            WorkersError: It failed.
        """
        if self._failure is not None:
            raise self._failure
        return self._decoded() if self._value is _NOTHING else self._value

    def _decoded(self, incoming: Incoming | None = None) -> Any:
        assert self._answer is not None
        try:
            return self.operation.decode_result(self._answer, incoming)
        except msgspec.MsgspecError as error:
            why = f"it returned something else than the contract says: {error}"
            raise HandlerFailed(self.operation.name, type(error).__name__, why) from None
