"""The end of a worker: what Python does at the end of a program, without waiting for anything."""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING, Any

from taskrun.worker import failures, system, wire
from taskrun.worker.session import complain

if TYPE_CHECKING:
    from collections.abc import Callable


def leave() -> None:
    """What Python does at the end of a program, but for waiting: for threads, or for children of multiprocessing."""
    pools = sys.modules.get("multiprocessing.util")
    steps: list[Callable[[], object]] = [atexit._run_exitfuncs, flush, system.flush_c_streams]  # noqa: SLF001 - no other way
    if pools is not None:
        # Its own exit function would join children: the host sees to those. What it keeps are pools and managers.
        atexit.unregister(getattr(pools, "_exit_function", None))  # type: ignore[arg-type]  # None matches nothing
        steps.insert(0, lambda: pools._run_finalizers(0))  # noqa: SLF001 - a failure is told below
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - one that fails must not keep the others from running
            complain(failures.describe(error).traceback)


def threads() -> list[Any]:
    """Threads that go on and that Python would wait for, beside the one that asks."""
    threading = sys.modules.get("threading")  # not imported by us: with it each fork costs a third more
    if threading is None or threading.active_count() == 1:
        return []
    return [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()
    ]


def warning_of(left: list[Any]) -> wire.Message:
    """Threads are not waited for: says that they die with the worker."""
    names = ", ".join(thread.name for thread in left[:5]) + (", ..." if len(left) > 5 else "")
    return wire.Message(level="warning", text=f"{len(left)} thread{'s' * (len(left) != 1)} still running: {names}")


def flush() -> None:
    """Writes out what Python's own streams hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue  # closed, replaced or full: nothing can be said there
