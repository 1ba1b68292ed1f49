"""What becomes of a job when an attempt at it ends. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.backoff import back_off
from taskrun.jobqueue.values import Cancelled, Dead, Done, JobState, Released, Retry
from taskrun.model import Value

if TYPE_CHECKING:
    import random

    from taskrun.jobqueue.values import JobOutcome

_LONGEST_ERROR = 10_000  # characters of an error that are kept


class Ending(Value, frozen=True, kw_only=True):
    """Where a job stands after an attempt.

    Attributes:
        state: Settled, ``READY`` or ``DELAYED``.
        delay: Seconds until it may be taken again.
        counts: Whether the attempt counts.
        error: ``None``: what was there stays.
        run: The run that carried it out.
    """

    state: JobState
    delay: float = 0.0
    counts: bool = True
    error: str | None = None
    run: str | None = None


def ending(outcome: JobOutcome, attempt: int, most: int, *, cancelling: bool, chance: random.Random) -> Ending:
    """What an outcome leads to.

    Args:
        outcome: Of the attempt.
        attempt: Its number.
        most: How many there may be.
        cancelling: Somebody has cancelled the job.
        chance: For back-offs.
    """
    run = getattr(outcome, "run", None)
    match outcome:
        case Done():
            return Ending(state=JobState.DONE, run=run)
        case Dead(error=error):
            return Ending(state=JobState.DEAD, error=kept(error), run=run)
        case Cancelled(error=error):
            return Ending(state=JobState.CANCELLED, error=kept(error), run=run)
        case Retry() | Released() if cancelling:
            return Ending(state=JobState.CANCELLED, error=kept(getattr(outcome, "error", "cancelled")), run=run)
        case Retry(error=error) if attempt >= most:
            return Ending(state=JobState.DEAD, error=kept(error), run=run)
        case Retry(error=error, delay=delay):
            wait = back_off(attempt, chance) if delay is None else max(delay, 0.0)
            state = JobState.DELAYED if wait > 0 else JobState.READY
            return Ending(state=state, delay=wait, error=kept(error), run=run)
        case Released():
            return Ending(state=JobState.READY, counts=False)


def ending_with_worker(attempt: int, most: int, *, cancelling: bool) -> Ending:
    """What becomes of a job whose worker has died: it is offered again at once, if it has attempts left."""
    error = f"the worker ended during attempt {attempt} of {most}"
    if cancelling:
        return Ending(state=JobState.CANCELLED, error=f"cancelled; {error}")
    return Ending(state=JobState.DEAD if attempt >= most else JobState.READY, error=error)


def kept(error: str) -> str:
    """As much of an error as is kept, without what cannot be: half of a surrogate pair, and zeros."""
    error = error.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "…"
