"""What a worker of a run's pool puts back after each task, and what it cannot: then it must not get another.

What was so when the setup had been called is the measure. What a function leaves in modules is not looked at.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # its functions make no enums, which cost in every task
import contextlib
import faulthandler
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from taskrun.worker import leaving, session
from taskrun.worker.stopping import interruption

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(sorted(int(number) for number in _signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))


class Surroundings:
    """Those of one worker; made once, before its first task."""

    def __init__(self) -> None:
        interruption.listen()
        self._environment = _environment()
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._files = _identities()
        self._children = children()
        self._threads = leaving.threads()
        self._recursion = sys.getrecursionlimit()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._signals = [_signal.getsignal(number) for number in _SIGNALS]
        self._blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._timers = tuple(timer for timer in _TIMERS if _signal.getitimer(timer) == (0.0, 0.0))

    def why_spent(self) -> str:
        """Why this worker must not carry out another task; empty: it may. Called when the streams have been flushed."""
        if interruption.signal:
            return "it was asked to stop"
        if _identities() != self._files or any(getattr(stream, "closed", False) for stream in self._streams):
            return "it changed stdout or stderr"
        if left := children() - self._children:
            left = {pid for pid in left if not _has_ended(pid)}
            if left:
                return "it left processes behind"
        if self.threads_left():
            return "it left threads behind"
        return ""

    def threads_left(self) -> list[Any]:
        """Threads that go on, and were not there before."""
        found = leaving.threads()
        return [thread for thread in found if thread not in self._threads] if found else found

    def put_back_streams(self) -> None:
        """What ``sys`` calls stdin, stdout and stderr."""
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            leaving.flush()
            sys.stdin, sys.stdout, sys.stderr = self._streams

    def put_back(self) -> None:
        """All else."""
        os.umask(self._umask)
        for timer in self._timers:
            _signal.setitimer(timer, 0)
        for number, known in zip(_SIGNALS, self._signals, strict=True):
            if _signal.getsignal(number) is not known:
                _put_back_signal(number, known)
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)

    def set_environment(self, differences: Mapping[str, str | None]) -> None:
        """Makes the environment what it was, but for these; ``None`` takes one away.

        Done before a call and not after it: most of what one call needs the next needs too.
        """
        wanted = self._environment.copy()
        for name, value in differences.items():
            if value is None:
                wanted.pop(os.fsencode(name), None)
            else:
                wanted[os.fsencode(name)] = os.fsencode(value)
        now = _environment()
        if now == wanted:
            return
        changed = [name for name in {**now, **wanted} if now.get(name) != wanted.get(name)]
        for key in changed:
            if key in wanted:
                os.environb[key] = wanted[key]
            else:
                del os.environb[key]
        if b"TZ" in changed:
            time.tzset()


def children() -> set[int]:
    """Processes whose parent this one is, the ended ones that nobody has waited for among them."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    found: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                found.update(int(pid) for pid in file.read().split())
    except OSError:  # no Linux, or one that does not tell: there are some
        return {0}
    return found


def _has_ended(pid: int) -> bool:
    """Whether this child has ended: nobody will wait for it any more."""
    try:
        return bool(pid) and os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _environment() -> dict[bytes, bytes]:
    return dict(os.environ._data)  # type: ignore[attr-defined]  # noqa: SLF001 - decoding all of it takes 20 us


def _put_back_signal(number: int, known: Any) -> None:
    if known is None:
        return  # C code's
    with contextlib.suppress(OSError):
        _signal.signal(number, known)
    if number == signal.SIGUSR1:
        faulthandler.register(signal.SIGUSR1, 2, all_threads=True)  # how a worker tells where it is; see ``template``


def _identities() -> tuple[tuple[int, int], ...]:
    """What stdout and stderr are, whatever Python calls so."""
    return session.identity(1), session.identity(2)
