"""The composition root of `taskrun worker`: checks what can be checked before trio is imported, then has it served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.run.worker_setting import WorkerOptions, make_worker_setting

if TYPE_CHECKING:
    from taskrun.host.start import HostStart
    from taskrun.run.options import RunResult

__all__ = ["WorkerOptions", "serve"]


def serve(options: WorkerOptions, host: HostStart | None = None) -> RunResult:
    """Serves the project's queue until it is told to end, or nothing is left.

    Args:
        options: What the command line asked for.
        host: The supervisor that was forked for it; without one, one is started.

    Raises:
        UsageError, ProjectError, QueueRefused: Nothing was started, or the queue is damaged.
        ResourceError: The queue, or a place for locks, cannot be had.
    """
    setting = make_worker_setting(options)
    from taskrun.run import import_trio

    import_trio()
    import gc

    import trio

    from taskrun.run.conduct import only_one
    from taskrun.run.worker import QueueWorker

    gc.freeze()
    gc.set_threshold(10_000)
    try:
        return trio.run(QueueWorker(setting, host).main)
    except BaseExceptionGroup as group:
        raise only_one(group) from None
