"""What every engine asks of a job before it stores it: that it is well-formed and can be written. No more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from taskrun.jobqueue.values import MOST_BYTES
from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.jobqueue.values import NewJob

LARGEST = 2**63 - 1  # number that can be stored
FAR = 1e12  # seconds; 30,000 years


def checked(jobs: Sequence[NewJob]) -> list[tuple[NewJob, bytes]]:
    """The jobs with their arguments as JSON.

    Raises:
        UsageError: One is not well-formed.
    """
    return [(job, check_form(job)) for job in jobs]


def check_form(job: NewJob) -> bytes:
    """The arguments as JSON of a job that can be stored, whatever else there is.

    Raises:
        UsageError: It is not well-formed.
    """
    if not job.task:
        raise UsageError("a job needs the name of its task")
    if not 1 <= job.max_attempts <= LARGEST:
        raise UsageError(f"a job is tried at least once, not {job.max_attempts} times")
    if not -LARGEST <= job.priority <= LARGEST:
        raise UsageError(f"the priority {job.priority} is beyond 64 bits")
    if not 0 <= job.delay < FAR or not -FAR < (job.at or 0.0) < FAR:  # a NaN is not either
        raise UsageError("a job's delay or time is not a number of seconds that can be waited for")
    if not isinstance(job.args, dict):
        raise UsageError(f"the arguments of a job are a dict, not {type(job.args).__name__}")
    try:
        for text in (job.task, job.unique or ""):
            text.encode()
        args = msgspec.json.encode(job.args)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"what is to be stored for a job of {job.task!r} cannot be written as JSON: {error}") from None
    if len(args) > MOST_BYTES:
        raise UsageError(
            f"the arguments of a job of {job.task!r} have {len(args):,} bytes, and may have {MOST_BYTES:,}"
        )
    return args
