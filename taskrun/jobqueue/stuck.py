"""Says of a job why nothing will happen to it by itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.values import JobState

if TYPE_CHECKING:
    from collections.abc import Collection

    from taskrun.jobqueue.values import JobRecord

LONG = 3600.0  # seconds that a job may be ready before somebody should ask why


def why_stuck(
    job: JobRecord, *, tasks: Collection[str] | None, workers: int, after: JobState | None, now: float
) -> str:
    """Why nothing will happen to a job unless somebody does something; empty: it is settled, or its time will come.

    Args:
        job: The job.
        tasks: Those of the file; ``None``: not known.
        workers: How many live.
        after: The state of the job that it comes after; ``None``: it comes after none, or that one is forgotten.
        now: Seconds since the epoch.
    """
    if job.state.settled:
        return ""
    if job.state is JobState.RUNNING:
        return "" if workers else "its worker is gone: the next `taskrun worker` offers it again"
    if tasks is not None and job.task not in tasks:
        return "the file has no such task any more: no worker takes it"
    if job.state is JobState.BLOCKED and after is JobState.DEAD:
        return f"job {job.after} is dead: retry or cancel that one"
    is_due = job.state is JobState.READY or (job.state is JobState.DELAYED and job.due_at <= now)  # as workers will see
    if is_due:
        if not workers:
            return "no worker lives: `taskrun worker` takes it"
        if now - job.due_at > LONG:
            return "due for over an hour, though workers live: they are busy, or take other tasks alone"
    return ""
