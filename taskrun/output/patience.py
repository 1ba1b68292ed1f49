"""A bound on the CPU time of what runs in C and asks for signals now and then, as Python's regular expressions do.

It uses the process's virtual timer and SIGVTALRM, which nothing else here does. Outside the main thread there is no
bound, since signals are handled in that alone.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType


class OutOfPatience(Exception):  # noqa: N818 - reads as what happened
    """It has taken too long."""


class Patience:
    """``with Patience(0.2): ...`` raises ``OutOfPatience`` in the block when it has used so many seconds of CPU time.

    It costs a microsecond. Blocks must not be nested.
    """

    __slots__ = ("_armed", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGVTALRM, self._over)
            self._armed = True
            signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._armed:
            self._armed = False  # first: one that is on its way raises nothing
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _over(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            raise OutOfPatience
