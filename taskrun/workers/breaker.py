"""When a pool that loses workers as fast as it starts them gives up. It counts, and starts nothing."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from taskrun.workers.errors import WorkerStartFailed

if TYPE_CHECKING:
    from taskrun.workers.settings import Restarts

_FAILED_STARTS = 3  # in a row, after which the pool gives up
_PAUSE = 0.1  # seconds before another start after a failed one, times their number


class Breaker:
    """Counts crashes and failed starts. Times are trio's."""

    def __init__(self, limit: Restarts) -> None:
        self._limit = limit
        self._crashes: deque[float] = deque()
        self._failed_starts = 0
        self._start_after = 0.0

    def crashed(self, now: float) -> WorkerStartFailed | None:
        """A worker has died by itself; why that is one too many, if it is."""
        self._crashes.append(now)
        while self._crashes[0] < now - self._limit.within:
            self._crashes.popleft()
        if len(self._crashes) <= self._limit.most:
            return None
        text = f"more than {self._limit.most} workers have crashed within {self._limit.within:g} s"
        return WorkerStartFailed("restarts", text)

    def start_failed(self, now: float) -> float | None:
        """A worker could not be started; seconds until the next try, ``None``: there should be none."""
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            return None
        pause = _PAUSE * self._failed_starts
        self._start_after = now + pause
        return pause

    def started(self) -> None:
        """A worker is ready."""
        self._failed_starts = 0

    def pauses(self, now: float) -> bool:
        """Whether nothing should be started just now."""
        return now < self._start_after
