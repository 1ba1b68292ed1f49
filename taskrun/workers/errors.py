"""How a request can fail: six exceptions and no more. Nothing in them was ever unpickled."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.host.ending import signal_name

if TYPE_CHECKING:
    from taskrun.link import Usage


class WorkersError(Exception):
    """The common base of the six; never raised itself."""


class WorkerStartFailed(WorkersError):  # noqa: N818 - reads as what happened
    """A worker could not be started, and why.

    Attributes:
        kind: ``"import"`` (the handlers' module), ``"state"`` (it could not be made), ``"contract"`` (the two sides
            do not agree on a request), ``"timeout"``, ``"spawn"`` (no process), ``"crash"`` (it died before its hello)
            or ``"restarts"`` (workers end as fast as they are started).
        traceback: The worker's own, where there is one.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.traceback = traceback
        if traceback:
            self.add_note(f"in the worker:\n{traceback.rstrip()}")


class RequestTimedOut(WorkersError):  # noqa: N818 - reads as what happened
    """A request took too long; its work has been ended.

    Attributes:
        after: Seconds: of work, or of waiting and work together where ``send`` was given a ``timeout``.
        stack: Where the handler was when it was killed; empty where it ended by itself when asked to.
    """

    def __init__(self, operation: str, after: float, stack: str = "") -> None:
        super().__init__(f"`{operation}` timed out after {after:g} s")
        self.operation = operation
        self.after = after
        self.stack = stack
        if stack:
            self.add_note(f"the worker was in:\n{stack.rstrip()}")


class HandlerFailed(WorkersError):  # noqa: N818 - reads as what happened
    """A handler raised, or what it returned could not be carried back.

    Attributes:
        type_name: The exception's class.
        message: Its text.
        traceback: The worker's, without frames of ours.
        notes: What ``add_note`` had added.
    """

    def __init__(
        self, operation: str, type_name: str, message: str, traceback: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"the handler of `{operation}` raised {type_name}: {message}")
        self.operation = operation
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.notes = notes
        if traceback:
            self.add_note(f"in the worker:\n{traceback.rstrip()}")


class WorkerCrashed(WorkersError):  # noqa: N818 - reads as what happened
    """The worker died with the request in its hands.

    Attributes:
        exit_code: ``None`` where a signal ended it.
        signal: ``None`` where it exited. Both are ``None`` where nobody knows: the supervisor was lost too.
        attempt: How often the request had been tried, from 1.
        cpu: Seconds of CPU time of the worker's whole life.
        max_rss: Bytes.
        stderr: The last lines that it wrote there, a crash's stack included.
    """

    def __init__(
        self,
        operation: str,
        *,
        exit_code: int | None,
        signal: int | None,
        attempt: int,
        cpu: float = 0.0,
        max_rss: int = 0,
        stderr: str = "",
    ) -> None:
        how = _clause(exit_code if signal is None else -signal)
        again = f" (attempt {attempt})" if attempt > 1 else ""
        super().__init__(f"the worker {how} while it handled `{operation}`{again}")
        self.operation = operation
        self.exit_code = exit_code
        self.signal = signal
        self.attempt = attempt
        self.cpu = cpu
        self.max_rss = max_rss
        self.stderr = stderr
        if stderr:
            self.add_note(f"its last lines of stderr:\n{stderr.rstrip()}")


class PoolClosed(WorkersError):  # noqa: N818 - reads as what happened
    """The request came after the pool was closed, or the pool was closed before it could be carried out."""


class PoolFull(WorkersError):  # noqa: N818 - reads as what happened
    """``send_nowait`` found as many requests waiting as may."""


def exit_of(usage: Usage | None) -> int | None:
    """The exit status of a worker, below 0 the signal that killed it; ``None``: nobody knows."""
    return None if usage is None or usage.status is None else os.waitstatus_to_exitcode(usage.status)


def how_it_ended(usage: Usage | None) -> str:
    """How a worker ended, as a clause."""
    return _clause(exit_of(usage))


def _clause(code: int | None) -> str:
    if code is None:
        return "was lost"
    return f"exited with {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
