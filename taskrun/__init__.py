"""taskrun: runs programs and Python functions from one TOML file, with limits, clocks and real progress.

This module imports nothing of its own: the calls that a task function makes resolve on first use, so that neither the
command line nor a user's module pays for what it does not use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers take it; ``typing`` would double the host's start
if TYPE_CHECKING:
    from taskrun.worker.calls import (
        Cancelled,
        Fail,
        Retry,
        cancelled,
        checkpoint,
        progress,
        restored,
        status,
        time_left,
        track,
    )

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Fail",
    "Retry",
    "__version__",
    "cancelled",
    "checkpoint",
    "progress",
    "restored",
    "status",
    "time_left",
    "track",
]


def __getattr__(name: str) -> object:
    """Finds a public name where it is defined, and keeps it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taskrun.worker import calls

    value: object = getattr(calls, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
