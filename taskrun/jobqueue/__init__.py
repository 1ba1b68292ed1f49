"""The durable queue: jobs that outlive the process that stored them, and the engines that keep them.

For programs: ``enqueue`` stores a job for the workers of a project, ``enqueue_many`` many, ``wake`` tells the workers
after a commit of one's own. Names resolve on first use: whoever stores a job need not load what serves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskrun.jobqueue.programs import enqueue, enqueue_many, wake
    from taskrun.jobqueue.values import (
        Duplicate,
        NewJob,
        NoSuchJob,
        QueueBusy,
        QueueRefused,
        QueueUnwritable,
        Stored,
    )

_OF_PROGRAMS = frozenset({"enqueue", "enqueue_many", "wake"})

__all__ = [
    "Duplicate",
    "NewJob",
    "NoSuchJob",
    "QueueBusy",
    "QueueRefused",
    "QueueUnwritable",
    "Stored",
    "enqueue",
    "enqueue_many",
    "wake",
]


def __getattr__(name: str) -> Any:
    """Imports a public name's module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{'programs' if name in _OF_PROGRAMS else 'values'}")
    value = globals()[name] = getattr(module, name)
    return value
