"""The composition root of `taskrun worker`: checks what can be checked before trio is imported, then has it served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.model import TaskrunError
from taskrun.run.worker_setting import WorkerOptions, make_worker_setting

if TYPE_CHECKING:
    from taskrun.host.start import HostStart
    from taskrun.run.options import RunResult
    from taskrun.run.worker import QueueWorker

__all__ = ["WorkerOptions", "serve"]


def serve(options: WorkerOptions, host: HostStart | None = None) -> RunResult:
    """Serves the project's queue until it is told to end, or nothing is left.

    Args:
        options: What the command line asked for.
        host: The supervisor that was forked for it; without one, one is started.

    Raises:
        UsageError, ProjectError, QueueRefused: Nothing was started, or the queue is damaged. The event stream, if one
            was asked for, has been told; so it is if another of these is raised.
        ResourceError: The queue, or a place for locks, cannot be had.
    """
    import time

    from taskrun.record.places import new_run_id

    run_id = new_run_id(time.time())
    worker: QueueWorker | None = None
    try:
        worker = _make_worker(options, run_id, host)
        return _run(worker)
    except TaskrunError as error:
        if options.run.events is not None and not (worker is not None and worker.has_begun):
            from taskrun.events import WorkerEnd
            from taskrun.run.refused import tell_refused

            tell_refused(options.run.events, run_id, error, WorkerEnd)
        raise


def _make_worker(options: WorkerOptions, run_id: str, host: HostStart | None) -> QueueWorker:
    setting = make_worker_setting(options, run_id)
    from taskrun.run import import_trio

    import_trio()
    from taskrun.run.worker import QueueWorker

    return QueueWorker(setting, host)


def _run(worker: QueueWorker) -> RunResult:
    import gc

    import trio

    from taskrun.run.conduct import only_one

    gc.freeze()
    gc.set_threshold(10_000)
    try:
        return trio.run(worker.main)
    except BaseExceptionGroup as group:
        raise only_one(group) from None
