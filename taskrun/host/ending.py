"""Wait statuses in words, for messages."""

from __future__ import annotations

import os

from taskrun.host.signals import signal


def how_it_ended(status: int | None) -> str:
    """A wait status as a clause; ``None``: nobody knows."""
    if status is None:
        return "it did not answer"
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else f"killed by {signal_name(-code)}"


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; ``signal 40`` where there is no name."""
    names = [
        name for name, value in vars(signal).items() if value == number and name.startswith("SIG") and name[3] != "_"
    ]
    return min(names, default=f"signal {number}")  # of two the usual one: SIGABRT, SIGCHLD
