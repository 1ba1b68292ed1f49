"""The composition root: puts host, scheduler, record, reporters and signals together for one run.

``run`` checks the file before it imports trio, so that a mistake is told at once and nothing has been started.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from taskrun.model import TaskrunError
from taskrun.run.options import RunOptions, RunResult

if TYPE_CHECKING:
    from taskrun.host.start import HostStart

__all__ = ["RunOptions", "RunResult", "run"]


def run(options: RunOptions, host: HostStart | None = None) -> RunResult:
    """Carries out one run and returns how it ended.

    Args:
        options: What the command line asked for.
        host: The supervisor that was forked for it; without one, one is started when it is needed.

    Raises:
        UsageError, ProjectError, NothingMatched: Nothing was started. The event stream, if one was asked for, has been
            told.
        ResourceError: There is no place for the record, or no room for a process that checks the file.
    """
    import time

    from taskrun.record.places import new_run_id

    run_id = new_run_id(time.time())
    try:
        # Typing-only names are imported where they are used: the heavy half of the program comes after the checks.
        from taskrun.run.setting import make_setting

        setting = make_setting(options, run_id, os.environ)
        import_trio()
        from taskrun.run.conduct import conduct

        return conduct(setting, host)
    except TaskrunError as error:
        if options.events is not None:
            from taskrun.run.refused import tell_refused

            tell_refused(options.events, run_id, error)
        raise


def import_trio() -> None:
    """Imports trio without its search for pthread, by which it would name its threads.

    The search starts `ldconfig` (or a compiler, where there is none), and takes 6 ms of every start. With the C library
    itself it comes to the same since glibc 2.34, and elsewhere the threads go without names.
    """
    if sys.platform != "linux":
        return
    import ctypes.util  # trio does too

    search = ctypes.util.find_library
    ctypes.util.find_library = lambda name: "libc.so.6" if name == "pthread" else search(name)
    try:
        import trio  # noqa: F401 - only now, and only for its import
    finally:
        ctypes.util.find_library = search
