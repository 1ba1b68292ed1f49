"""``Project`` and what was asked for to a ``Selection``, and an instance with results to an ``Attempt``.

Reads the file system and the caller's environment, starts nothing itself: a ``{ shell }`` source is read by a function
that the caller hands in.
"""

from __future__ import annotations

from taskrun.resolve.resolver import Resolver
from taskrun.resolve.values import (
    CallSite,
    Instance,
    LookUpError,
    NothingAsked,
    Request,
    Selection,
    ShellFailed,
    TaskView,
)

__all__ = [
    "CallSite",
    "Instance",
    "LookUpError",
    "NothingAsked",
    "Request",
    "Resolver",
    "Selection",
    "ShellFailed",
    "TaskView",
]
