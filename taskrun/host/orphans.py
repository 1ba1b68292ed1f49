"""The runner's side of P1: sweeps what a lost host leaves behind. One round at a time; the caller waits in between."""

from __future__ import annotations

import os
from time import monotonic

from taskrun.host.marks import marks_of
from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import Platform, Seen

_BURST = 0.02  # seconds


class Orphans:
    """What came to this process, or went elsewhere, when a host died.

    Args:
        platform: Where processes are looked at and signalled.
        leave_alone: Children of this process that are none of the host's; may change between rounds.
    """

    def __init__(self, platform: Platform, leave_alone: set[int]) -> None:
        self._platform = platform
        self._leave_alone = leave_alone
        self._strangers: set[int] = set()
        self.killed: dict[int, str] = {}

    def adopted_round(self) -> bool:
        """Kills and reaps what has come to us (we are a subreaper); whether anything was left.

        Every process of a host is in another session than ours; our own children are not, or are to be left alone.
        """
        roots = set()
        for pid in self._platform.children() - self._leave_alone:
            seen = self._platform.look(pid)
            if seen is not None and seen.session != os.getsid(0):
                roots.add(pid)
        for seen in self._platform.tree(roots) if roots else []:
            self._kill(seen)
        for pid in roots:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
        return bool(roots)

    def marked_round(self, token: str, leaders: dict[int, int]) -> bool:
        """Kills what has gone elsewhere (we are no subreaper), for a short while; whether anything was left.

        Args:
            token: What the marks of all attempts begin with.
            leaders: Their pids and start times.
        """
        until = monotonic() + _BURST
        while found := self._marked_pass(token.encode(), leaders):
            if monotonic() >= until:
                break
        return found

    def _marked_pass(self, token: bytes, leaders: dict[int, int]) -> bool:
        """One look at all that were not known for strangers: so it is fast enough for what forks all the time."""
        found = False
        for seen in self._platform.everyone(but=self._strangers):
            if seen.dead:
                continue
            environ = self._platform.environ(seen.pid)
            ours = leaders.get(seen.pid) == seen.start or leaders.get(seen.session, seen.start + 1) <= seen.start
            if ours or any(mark.startswith(token) for mark in marks_of(environ or b"")):
                found = self._kill(seen) or found
            elif environ != b"":  # which it may be in the middle of an exec
                self._strangers.add(seen.pid)
        return found

    def _kill(self, seen: Seen) -> bool:
        if seen.dead:
            return False
        if seen.pid not in self.killed and len(self.killed) < 32:
            self.killed[seen.pid] = self._platform.command(seen.pid)
        return self._platform.signal(seen, signal.SIGKILL)
