"""Suspends and resumes everything below the host but templates. It decides nothing about when."""

from __future__ import annotations

import time

from taskrun.host.loop import now
from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.host.leader import Leader
    from taskrun.host.platform import Platform, Seen

_BOUND = 0.25  # seconds; the shell's prompt waits for us


class Freezer:
    """Knows what it has stopped, so that it continues nothing else.

    Args:
        platform: Where processes are looked at and signalled.
        templates: The pids of templates, which go on: they are ours, and answer.
    """

    def __init__(self, platform: Platform, templates: Callable[[], set[int]]) -> None:
        self._platform = platform
        self._templates = templates
        self._frozen: dict[tuple[int, int], Seen] = {}
        self.suspended = False

    def suspend(self) -> None:
        """Stops all there is, again and again until nothing new appears."""
        self.suspended = True
        until = now() + _BOUND
        dead: set[int] = set()
        while self._stop_round(dead) and now() < until:
            time.sleep(0.0005)  # a stop takes effect when the process is next scheduled

    def _stop_round(self, dead: set[int]) -> bool:
        """One look; whether something was found that had not been stopped, or known to be dead, before."""
        active = False
        for seen in self._platform.tree(self._platform.children() - self._templates()):
            if seen.state in {"T", "t"} or seen.pid in dead:
                continue
            active = True
            if seen.dead:  # its children may have got another parent since they were listed
                dead.add(seen.pid)
                continue
            if (seen.pid, seen.start) not in self._frozen and self._platform.signal(seen, signal.SIGSTOP):
                self._frozen[seen.pid, seen.start] = seen
        return active

    def began(self) -> None:
        """A leader was born that somebody had asked for before we suspended: it stands still too."""
        if self.suspended:
            self.suspend()

    def forget(self, leader: Leader) -> None:
        """The attempt was signalled, and so continued, or has ended: it is no longer ours to continue."""
        if self._frozen:
            self._frozen.pop((leader.pid, leader.start), None)

    def resume(self) -> None:
        """Continues what we stopped."""
        self.suspended = False
        frozen, self._frozen = self._frozen, {}
        for seen in frozen.values():
            self._platform.signal(seen, signal.SIGCONT)
