"""What a pool can be told, and what it tells of itself: values only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping  # noqa: TC003 - msgspec reads the annotations
from typing import Any

from taskrun.model import Value
from taskrun.worker.contract import Request  # noqa: TC001 - likewise


class Timeouts(Value, frozen=True, kw_only=True):
    """Limits in seconds; ``None``: none.

    Attributes:
        startup: From the wish for a worker to its hello: imports and state.
        message: Of work on one request, from when its handler starts.
        per_message: By request class, in place of ``message``.
    """

    startup: float | None = 60.0
    message: float | None = None
    per_message: Mapping[type[Request[Any]], float | None] = {}

    def of(self, kind: type[Request[Any]]) -> float | None:
        """The limit of one request class."""
        return self.per_message.get(kind, self.message) if self.per_message else self.message


class RetryOnCrash(Value, frozen=True, kw_only=True):
    """A request whose worker crashed is given to another one.

    Attributes:
        attempts: How often it is tried in all. One that has killed two workers is poison: it is not tried again,
            whatever this says.
    """

    attempts: int = 2


class Restarts(Value, frozen=True, kw_only=True):
    """How many workers may crash within how many seconds before the pool gives up."""

    most: int = 20
    within: float = 60.0


class Moved(Value, frozen=True, kw_only=True):
    """How far a handler says it is.

    Attributes:
        done: In any unit; ``None``: it only says what it does.
        total: In the same unit; ``None``: not known.
        message: What it is doing; may be empty.
    """

    done: float | None
    total: float | None
    message: str


class Statistics(Value, frozen=True, kw_only=True):
    """A pool at one moment.

    Attributes:
        workers: That have said hello and live.
        busy: Of these, with a request in hand.
        starting: Workers that have not said hello.
        queued: Requests that no worker has.
        completed: Requests that were answered with a result.
        failed: Whose handler raised.
        timed_out: Whose time was over.
        crashed: That failed because their worker died.
        started: Workers that were ever started.
        crashes: Workers that died by themselves.
        recycled: Workers that were replaced because of ``max_requests``, ``max_memory`` or ``idle_timeout``.
        arena: Bytes of memory that large values of requests travel in, used or not.
    """

    workers: int
    busy: int
    starting: int
    queued: int
    completed: int
    failed: int
    timed_out: int
    crashed: int
    started: int
    crashes: int
    recycled: int
    arena: int = 0


_ANY_NUMBER = Restarts(most=sys.maxsize)
"""Where each crash costs a call or a task its attempt, they do not go on for ever."""


class Settings(Value, frozen=True, kw_only=True):
    """What ``open_pool`` was told; see there. A pool of ours that leaves a setting out does without."""

    size: int
    timeouts: Timeouts
    middleware: tuple[Callable[..., Any], ...] = ()
    on_crash: RetryOnCrash | Mapping[type[Request[Any]], RetryOnCrash] | None = None
    max_queue: int | None = None
    prefetch: int = 1
    max_requests: int | None = None
    max_memory: int | None = None
    idle_timeout: float | None = None
    spares: int = 0
    grace: float
    restarts: Restarts = _ANY_NUMBER
    on_demand: bool = False  # a worker is started only when a request waits for one

    def crash_policy(self, kind: type[Request[Any]]) -> RetryOnCrash | None:
        """What becomes of a request of this class whose worker died; ``None``: it fails."""
        policy = self.on_crash
        return policy if policy is None or isinstance(policy, RetryOnCrash) else policy.get(kind)
