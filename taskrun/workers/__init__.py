"""Typed worker processes for trio programs: a contract, a pool that replaces its dead, and six ways to fail.

The module that declares handlers imports this too, in every worker: so trio is imported by the names that need it, when
they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskrun.worker.async_contract import AsyncHandlers
    from taskrun.worker.buffers import Buffer
    from taskrun.worker.contract import ContractMistake, Handlers, Request
    from taskrun.worker.shared import SharedBuffer
    from taskrun.workers.calling import CallTimedOut, Unreadable, WorkerDied
    from taskrun.workers.errors import (
        HandlerFailed,
        PoolClosed,
        PoolFull,
        RequestTimedOut,
        WorkerCrashed,
        WorkersError,
        WorkerStartFailed,
    )
    from taskrun.workers.executor import Executor
    from taskrun.workers.mapping import Done
    from taskrun.workers.opening import open_pool, open_worker
    from taskrun.workers.pool import Pool
    from taskrun.workers.settings import Moved, Restarts, RetryOnCrash, Statistics, Timeouts

_HOMES = {
    "worker.async_contract": ("AsyncHandlers",),
    "worker.buffers": ("Buffer",),
    "worker.shared": ("SharedBuffer",),
    "worker.contract": ("ContractMistake", "Handlers", "Request"),
    "workers.errors": (
        "HandlerFailed",
        "PoolClosed",
        "PoolFull",
        "RequestTimedOut",
        "WorkerCrashed",
        "WorkerStartFailed",
        "WorkersError",
    ),
    "workers.calling": ("CallTimedOut", "Unreadable", "WorkerDied"),
    "workers.executor": ("Executor",),
    "workers.mapping": ("Done",),
    "workers.opening": ("open_pool", "open_worker"),
    "workers.pool": ("Pool",),
    "workers.settings": ("Moved", "Restarts", "RetryOnCrash", "Statistics", "Timeouts"),
}

__all__ = [
    "AsyncHandlers",
    "Buffer",
    "CallTimedOut",
    "ContractMistake",
    "Done",
    "Executor",
    "HandlerFailed",
    "Handlers",
    "Moved",
    "Pool",
    "PoolClosed",
    "PoolFull",
    "Request",
    "RequestTimedOut",
    "Restarts",
    "RetryOnCrash",
    "SharedBuffer",
    "Statistics",
    "Timeouts",
    "Unreadable",
    "WorkerCrashed",
    "WorkerDied",
    "WorkerStartFailed",
    "WorkersError",
    "open_pool",
    "open_worker",
]


def __getattr__(name: str) -> object:
    """Finds a public name where it is defined, and keeps it."""
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(importlib.import_module(f"taskrun.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
