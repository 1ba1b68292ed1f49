"""Says of a job that waits why it might wait for ever. Pure."""

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
    if job.state.settled or job.state is JobState.RUNNING:
        return ""
    if tasks is not None and job.task not in tasks:
        return "the file has no such task any more: no worker takes it"
    if job.state is JobState.BLOCKED and after is JobState.DEAD:
        return f"job {job.after} is dead: retry or cancel that one"
    if job.state is JobState.READY:
        if not workers:
            return "no worker lives: `taskrun worker` takes it"
        if now - job.due_at > LONG:
            return "ready for over an hour, though workers live: they are busy, or take other tasks alone"
    return ""
