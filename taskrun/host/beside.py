"""What the runner has started itself, at its terminal: the host ends it where the runner can no longer do so.

It is no child of the host's: it is looked for by its mark, its pid and its start time. Nothing else is touched.
"""

from __future__ import annotations

from time import monotonic

from taskrun.host.marks import marks_of
from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import Platform, Seen


class Beside:
    """The runner's interactive task, if it has one, and all that this has started.

    Args:
        platform: Where processes are looked at and signalled.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._mark = b""
        self._pid = 0
        self._start = 0
        self._known: list[Seen] = []  # what was there when it was asked to stop: it may lose its parents by that

    def know(self, mark: str, pid: int, start: int) -> None:
        """There is one, or is about to be.

        Args:
            mark: What their environments carry in TASKRUN_MARK; empty: there is none any more.
            pid: Of its first process; 0: that has not been started.
            start: When it was.
        """
        self._mark, self._pid, self._start = mark.encode(), pid, start

    def stop(self, number: int) -> None:
        """Signals all of it, and continues what is stopped; a taskrun in it stops its tasks itself."""
        self._known = self._all()
        for seen in self._known:
            if not self._is_of_a_run_within(seen):
                self._platform.signal(seen, number)
                self._platform.signal(seen, signal.SIGCONT)

    def alive(self) -> bool:
        """Whether anything of it is."""
        return bool(self._all())

    def kill(self, seconds: float) -> None:
        """Kills all of it, until there is nothing or the time is over."""
        if not self._mark:
            return
        from taskrun.host.orphans import Orphans  # hardly a host ever needs it

        orphans = Orphans(self._platform, set())
        until = monotonic() + seconds
        for seen in self._all():
            self._platform.signal(seen, signal.SIGKILL)
        while orphans.marked_round(self._mark.decode(), {}) and monotonic() < until:
            pass  # a round takes its time

    def _all(self) -> list[Seen]:
        """What is below its first process, and what has its very mark: the host's own tasks have a number behind it."""
        if not self._mark:
            return []
        known = {self._pid: self._start} | {seen.pid: seen.start for seen in self._known}
        there = {pid for pid, start in known.items() if pid and self._is_there(pid, start)}
        below = [seen for seen in self._platform.tree(there) if not seen.dead]
        others = self._platform.everyone(but={seen.pid for seen in below})
        return below + [seen for seen in others if not seen.dead and self._mark in self._marks(seen)]

    def _marks(self, seen: Seen) -> list[bytes]:
        return marks_of(self._platform.environ(seen.pid) or b"")

    def _is_of_a_run_within(self, seen: Seen) -> bool:
        marks = self._marks(seen)
        return self._mark in marks and marks[-1] != self._mark

    def _is_there(self, pid: int, start: int) -> bool:
        seen = self._platform.look(pid)
        return seen is not None and seen.start == start
