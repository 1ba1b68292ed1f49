"""How a worker hears that it shall stop: INT, TERM and HUP, and ``Cancelled`` raised at most once in the main thread.

One state per process, since signals are the process's. It raises only between the points that the worker allows, so
that no frame is ever sent or read by half.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # its functions make no enums, which cost in every fork
import os
import signal
from _thread import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TypeVar

    T = TypeVar("T")

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

NUDGE = signal.SIGURG
"""The host sends it a moment after a stop. A signal that comes when Python has just looked for signals, and is about to
wait in a system call, or that a thread of the function's takes, interrupts nothing, and its handler runs when the call
returns, if ever. This one interrupts the call. It is ignored by default, so that a function which has become another
program, or has set its own handlers, never knows."""


class Cancelled(BaseException):
    """The run wants this task to stop: an interrupt, a timeout, another task's failure.

    Raised once in the main thread of a task function, unless the function has called ``taskrun.cancelled()`` before.
    A ``BaseException``, so that ``except Exception`` does not swallow it. Clean up and let it pass; what has not ended
    after the grace period is killed.
    """

    __module__ = "taskrun"


class Interruption:
    """Whether a stop was asked for, and whether it may be raised right now.

    Attributes:
        signal: The signal that asked first; 0: none has.
        asked: The function has called ``cancelled()``, so nothing is raised.
        told: Called when a stop is asked for, in the main thread between any two instructions.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.asked = False
        self.told: Callable[[], None] | None = None
        self._raised = False
        self._waiting = False
        self._depth = 1
        self._main = 0
        self._deaf = 0
        self._mask: set[int] = set()

    def ignore(self) -> None:
        """From now on this process is a template: signals mean nothing to it. Its forks are not meant."""
        self._deaf = os.getpid()

    def install(self) -> None:
        """Takes over the signals. Called in the template: between a fork and the worker's start none is lost."""
        for number in SIGNALS:
            signal.signal(number, self.heard)
        signal.signal(NUDGE, _nudged)
        os.register_at_fork(before=self._forking, after_in_parent=self._has_forked, after_in_child=self._forked)

    def begin(self) -> None:
        """This process is a worker, and this thread its main one; what came since ``hold_back`` comes now."""
        self._main = get_ident()
        _signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    @staticmethod
    def hold_back() -> None:
        """Called before a worker is forked: Python forgets what arrives in a child before its hooks have run."""
        _signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def heard(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler; Python calls it in the main thread, between two instructions."""
        if os.getpid() == self._deaf:
            return
        if not self.signal:
            self.signal = number
        if self.told is not None:
            self.told()
        self._raise_if_due()

    def __enter__(self) -> None:
        """From here to ``__exit__`` nothing is raised in the main thread; other threads are never raised into."""
        if get_ident() == self._main:
            self._depth += 1

    def __exit__(self, *_exception: object) -> None:
        if get_ident() == self._main:
            self._depth -= 1
            if self._waiting:
                self._raise_if_due()

    def allow(self) -> None:
        """The function runs from here on: a stop may be raised; raises at once if one was asked for already."""
        self._depth = 0
        if self.signal:
            self._raise_if_due()

    def forbid(self) -> None:
        """The function has ended: nothing is raised any more."""
        self._depth = 1

    def while_idle(self, wait: Callable[[], T]) -> T | None:
        """What ``wait`` returns, which no function of the user's is concerned by; ``None``: a stop was asked for."""
        try:
            self.allow()
            try:
                return wait()
            finally:
                self.forbid()
        except Cancelled:
            self.forbid()
            return None

    def renew(self) -> None:
        """Another function's turn: it has asked for nothing."""
        self.asked = self._raised = False

    def listen(self) -> None:
        """Whatever was made of the signals is undone."""
        for number in SIGNALS:
            if signal.getsignal(number) != self.heard:
                signal.signal(number, self.heard)
        _signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _raise_if_due(self) -> None:
        if self.asked or self._raised or not self.signal:
            return
        if self._depth:
            self._waiting = True
            return
        self._raised = True
        self._waiting = False
        raise Cancelled(f"stopped by {signal.Signals(self.signal).name}")

    def _forking(self) -> None:
        """The task forks a process."""
        if self._main:  # else a worker is being made
            self._mask = _signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _has_forked(self) -> None:
        if self._main:
            _signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _forked(self) -> None:
        """What the task forked gets the signals' usual meanings: ``Process.terminate()`` must end it, at any moment."""
        if not self._main:
            return
        self._main = 0
        for number in SIGNALS:
            if signal.getsignal(number) == self.heard:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if signal.getsignal(NUDGE) is _nudged:
            signal.signal(NUDGE, signal.SIG_DFL)
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _nudged(_number: int, _frame: FrameType | None) -> None:
    """Does nothing: that the signal has come was enough."""


interruption = Interruption()
