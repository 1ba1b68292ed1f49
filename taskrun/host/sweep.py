"""The last sweep: kills and reaps whatever is below the host. How one is killed, and named. It knows no attempts."""

from __future__ import annotations

import os
from time import monotonic, sleep

from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import LeftOver, Platform, Seen

NAMED = 32  # left-over processes that are named per attempt, and at the end of the run


def name_all(platform: Platform, left: list[Seen], *, stuck: bool = False) -> list[LeftOver]:
    """What is said of processes that were left.

    Args:
        platform: Where they are looked at.
        left: The processes.
        stuck: They could not be killed, and their state says why.
    """
    named: list[LeftOver] = []
    for seen in left[:NAMED]:
        latest = platform.look(seen.pid) if stuck else None
        named.append((seen.pid, platform.command(seen.pid), latest.state if latest else "", 1))
    return with_rest(named, len(left) - len(named))


def with_rest(named: list[LeftOver], more: int) -> list[LeftOver]:
    """The last one named stands for ``more`` others too."""
    if named and more > 0:
        pid, command, state, count = named[-1]
        named[-1] = (pid, command, state, count + more)
    return named


def kill_child(pid: int) -> bool:
    """Kills a child of ours, whose pid is pinned; False: it is another user's now, as what sudo runs."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def signal_group(pid: int, number: int) -> None:
    """Signals a leader's group; and, while a worker has not made its own yet, the worker."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        try:
            os.kill(pid, number)
        except OSError:
            return
    except PermissionError:  # all of the group run as another user (or macOS: it is but a zombie)
        return


def reap(pid: int) -> bool:
    """Reaps one child if it has ended; True: there is no such child now."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


class Sweep:
    """Kills and reaps everything below this process, until there is nothing or the time is over.

    Attributes:
        killed: What was.
        stuck: What could not be.

    Args:
        platform: Where processes are looked at and signalled.
        skip: Children that are ours by nature (templates): killed, but not named.
        hopeless: Pids and start times of those that were tried for long before: they are not waited for.
    """

    def __init__(self, platform: Platform, skip: set[int], hopeless: dict[int, int]) -> None:
        self.killed: list[LeftOver] = []
        self.stuck: list[LeftOver] = []
        self._platform = platform
        self._skip = skip
        self._hopeless = hopeless
        self._named: dict[int, LeftOver] = {}
        self._more = 0

    def run(self, seconds: float) -> None:
        """Tries so long."""
        until = monotonic() + seconds
        before: set[int] = set()
        delay = 0.0002
        alive: list[Seen] = []
        while children := self._platform.children():
            self._kill_new(children - before)
            gone = {pid for pid in children if reap(pid)}
            if not children - before:  # nothing new: look deeper, in case one of them cannot be killed
                alive = [seen for seen in self._platform.tree(children - gone) if not seen.dead]
                for seen in alive:
                    self._platform.signal(seen, signal.SIGKILL)
                if monotonic() >= until or (
                    alive and all(self._hopeless.get(seen.pid) == seen.start for seen in alive)
                ):
                    break
                sleep(delay)
                delay = min(2 * delay, 0.05)
            else:
                delay = 0.0002
            before = children - gone
        else:
            alive = []
        self.stuck = name_all(self._platform, alive, stuck=True)
        still = {seen.pid for seen in alive}
        self.killed = with_rest([one for pid, one in self._named.items() if pid not in still], self._more)

    def _kill_new(self, pids: set[int]) -> None:
        """At once, since some fork and exit all the time; they fall to us."""
        for pid in pids:
            if pid not in self._skip and not self._platform.exited(pid):
                if len(self._named) < NAMED:
                    self._named[pid] = (pid, self._platform.command(pid), "", 1)
                else:
                    self._more += 1
            kill_child(pid)
