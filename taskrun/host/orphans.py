"""The runner's side of P1: sweeps what a lost host leaves behind. One round at a time; the caller waits in between."""

from __future__ import annotations

import os
from time import monotonic

from taskrun.host.marks import marks_of
from taskrun.host.signals import signal
from taskrun.host.sweep import NAMED, kill_child, reap, with_rest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import LeftOver, Platform, Seen

_BURST = 0.02  # seconds
_DOUBT = 0.3  # seconds without a find after which nothing is left, though some were too quick to be looked at
_NEWEST = 64  # processes
_YOUNG = 0.05  # seconds; an exec shows an empty environment for microseconds, so after this an empty one is meant


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
        self._dead: set[int] = set()
        self._empty: dict[int, float] = {}  # who shows no environment: until when it may be in the middle of an exec
        self._found_at = monotonic()
        self._named: dict[int, LeftOver] = {}
        self._more: set[int] = set()

    @property
    def killed(self) -> list[LeftOver]:
        """What was killed so far."""
        return with_rest(list(self._named.values()), len(self._more))

    def adopted_round(self) -> bool:
        """Kills and reaps what has come to us (we are a subreaper), for a short while; whether anything was left.

        Every process of a host is in another session than ours; our own children are not, or are to be left alone.
        """
        until = monotonic() + _BURST
        own_session = os.getsid(0)
        spared: set[int] = set()
        hit: set[int] = set()
        while children := self._platform.children() - self._leave_alone - spared:
            new = children - hit
            for pid in new:
                seen = self._platform.look(pid)
                if seen is None or seen.session == own_session:
                    spared.add(pid)
                else:
                    self._name(seen)
                    if not kill_child(pid):  # at once, and safely
                        self._named.pop(pid, None)
                    hit.add(pid)
            hit = {pid for pid in hit if not reap(pid)}
            if monotonic() >= until or not new:
                self._kill_below(hit)
                return True
        return False

    def _kill_below(self, pids: set[int]) -> None:
        """Kills what is below children that do not die."""
        for seen in self._platform.tree(pids) if pids else []:
            self._kill(seen)

    def marked_round(self, token: str, leaders: dict[int, int]) -> bool:
        """Kills what has gone elsewhere (we are no subreaper), for a short while; whether anything was left.

        Args:
            token: What the marks of all attempts begin with.
            leaders: Their pids and start times.
        """
        until = monotonic() + _BURST
        while True:
            found, unsure = self._marked_pass(token.encode(), leaders)
            if self._snipe(token.encode()) or found:
                self._found_at = monotonic()
            elif not unsure or monotonic() >= self._found_at + _DOUBT:
                return False
            if monotonic() >= until:
                return True

    def _marked_pass(self, token: bytes, leaders: dict[int, int]) -> tuple[bool, bool]:
        """One look at all that were not known for strangers: so it is fast enough for what forks all the time.

        Returns:
            Whether something was killed; and whether something may have been missed, since who is found dead may have
            left a child after the list was made.
        """
        found = unsure = False
        for seen in self._platform.everyone(but=self._strangers):
            if seen.dead:
                unsure = unsure or seen.pid not in self._dead
                self._dead.add(seen.pid)
                continue
            environ = self._platform.environ(seen.pid)
            ours = leaders.get(seen.pid) == seen.start or leaders.get(seen.session, seen.start + 1) <= seen.start
            if ours or any(mark.startswith(token) for mark in marks_of(environ or b"")):
                hit = self._kill(seen)
                found, unsure = found or hit, unsure or not hit
            elif environ == b"" and monotonic() < self._empty.setdefault(seen.pid, monotonic() + _YOUNG):
                unsure = True
            else:
                self._strangers.add(seen.pid)
        return found, unsure

    def _snipe(self, token: bytes) -> bool:
        """Kills those of ours that are born now, for a short while; whether there was one.

        Processes that fork and exit all the time live shorter than a look at all of them takes, and always have the
        newest numbers.
        """
        found = False
        until = monotonic() + _BURST
        last = self._platform.latest()
        while last and monotonic() < until:
            newest = self._platform.latest()
            for pid in range(max(last + 1, newest - _NEWEST), newest + 1):
                if any(mark.startswith(token) for mark in marks_of(self._platform.environ(pid) or b"")):
                    seen = self._platform.look(pid)
                    found = (seen is not None and self._kill(seen)) or found
            last = newest
        return found

    def _kill(self, seen: Seen) -> bool:
        if seen.dead:
            return False
        known = seen.pid in self._named
        self._name(seen)
        hit = self._platform.signal(seen, signal.SIGKILL)
        if not hit and not known:  # it was faster, or is another user's
            self._named.pop(seen.pid, None)
        return hit

    def _name(self, seen: Seen) -> None:
        if seen.dead or seen.pid in self._named:
            return
        if len(self._named) < NAMED:
            self._named[seen.pid] = (seen.pid, self._platform.command(seen.pid), "", 1)
        else:
            self._more.add(seen.pid)
