"""The end of a worker: what Python does at the end of a program, without waiting for anything."""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING

from taskrun.worker import failures, system
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


def flush() -> None:
    """Writes out what Python's own streams hold."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue  # closed, replaced or full: nothing can be said there
