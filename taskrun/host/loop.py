"""The host's event loop: descriptors, timers and SIGCHLD, in one thread. It knows nothing of tasks."""

from __future__ import annotations

import heapq
import os
import select
import time

from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

now = time.monotonic
_NEVER = float("inf")


class Alarm:
    """Calls ``ready`` once, at the soonest of the times that were asked for since it last did."""

    def __init__(self, loop: Loop, ready: Callable[[], None]) -> None:
        self._loop = loop
        self._ready = ready
        self._at = _NEVER

    def within(self, delay: float) -> None:
        """In so many seconds at the latest."""
        at = now() + delay
        if at < self._at:
            self._at = at
            self._loop.after(delay, lambda: self._ring(at))

    def _ring(self, at: float) -> None:
        if at == self._at:  # else a sooner one has taken its place
            self._at = _NEVER
            self._ready()


class Loop:
    """Calls back when a descriptor is readable, when a time has come, and when a child may have changed."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._wake = -1

    def watch(self, fd: int, ready: Callable[[], None], *, write: bool = False) -> None:
        """Calls ``ready`` whenever ``fd`` can be read (or has hung up); with ``write`` also when it can be written."""
        self._readers[fd] = ready
        self._poll.register(fd, select.POLLIN | (select.POLLOUT if write else 0))

    def unwatch(self, fd: int) -> None:
        """Forgets ``fd``; must come before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def watch_children(self, ready: Callable[[], None]) -> None:
        """Calls ``ready`` after each SIGCHLD, several of which may be one call."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

        def drain() -> None:
            try:
                os.read(reading, 4096)
            except BlockingIOError:
                return
            ready()

        self.watch(reading, drain)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # the default would write nothing to the pipe
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def after(self, delay: float, ready: Callable[[], None]) -> None:
        """Calls ``ready`` once, ``delay`` seconds from now. What it asked for may have become moot: it must look."""
        self._order += 1
        heapq.heappush(self._timers, (now() + delay, self._order, ready))

    def step(self) -> None:
        """Waits for the next thing to do, and does what is due."""
        for fd, _events in self._poll.poll(self._wait()):
            ready = self._readers.get(fd)
            if ready is not None:  # an earlier callback of this round may have closed it
                ready()
        due = now()  # what is set, and comes due, while these are called has to wait: requests come first
        while self._timers and self._timers[0][0] <= due:
            heapq.heappop(self._timers)[2]()

    def _wait(self) -> int | None:
        """Milliseconds until the next timer; ``None``: none is set."""
        if not self._timers:
            return None
        return max(0, int((self._timers[0][0] - now()) * 1000 + 0.999))
