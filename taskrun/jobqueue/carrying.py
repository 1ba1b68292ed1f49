"""From a claim to how it ended, for the workers of all engines: it calls who carries jobs out, and answers for him.

Whatever that one raises or returns, there is an outcome that can be recorded. It knows no store.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import msgspec

from taskrun.jobqueue.values import MOST_BYTES, Dead, Done, Job, JobOutcome, Retry
from taskrun.model import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.jobqueue.values import Handle, Lease


class Claim(Value, frozen=True, kw_only=True):
    """A job in the hands of a worker; ``number`` and the worker's name are what settling it needs."""

    id: int
    task: str
    payload: bytes
    attempt: int
    max_attempts: int
    priority: int
    enqueued_at: float
    number: int


class Settlement(Value, frozen=True, kw_only=True):
    """How a claim ended; ``result`` is what the outcome says, as JSON."""

    id: int
    number: int
    outcome: JobOutcome
    result: bytes | None = None


class Turn(Value, frozen=True, kw_only=True):
    """What a turn at the store has brought.

    Attributes:
        claims: Jobs that are this worker's now.
        cancelled: Jobs of this worker that are to be stopped.
        fenced: Jobs whose outcome was refused, since they are not this worker's any more.
        lost: Jobs that the worker carries out and that are not its own any more, as far as that is known.
        due: Seconds until the next delayed job; ``None``: there is none.
    """

    claims: list[Claim] = []
    cancelled: list[int] = []
    fenced: list[int] = []
    lost: list[int] = []
    due: float | None = None


async def carry(claim: Claim, handle: Handle, lease: Lease, trouble: Callable[[str], None]) -> Settlement:
    """Has a job carried out. It raises nothing but a cancellation.

    Args:
        claim: The job.
        handle: Carries it out.
        lease: What ``handle`` is given with it.
        trouble: Told what ``handle`` raised.
    """
    result = None
    try:
        outcome = await _attempt(claim, handle, lease)
        if isinstance(outcome, Done) and outcome.result is not None:
            result, outcome = _encoded(outcome)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
        outcome = Retry(error="".join(traceback.format_exception_only(error)).strip())
        trouble(f"job {claim.id} was carried out wrongly:\n{traceback.format_exc()}")
    return Settlement(id=claim.id, number=claim.number, outcome=outcome, result=result)


async def _attempt(claim: Claim, handle: Handle, lease: Lease) -> JobOutcome:
    try:
        args = msgspec.json.decode(claim.payload, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Dead(error=f"its arguments are no JSON object: {error}")
    job = Job(
        id=claim.id,
        task=claim.task,
        args=args,
        attempt=claim.attempt,
        max_attempts=claim.max_attempts,
        priority=claim.priority,
        enqueued_at=claim.enqueued_at,
    )
    outcome = await handle(job, lease)
    if not isinstance(outcome, JobOutcome):
        raise TypeError(f"a job ends with an outcome, and not with {outcome!r}")
    return outcome


def _encoded(outcome: Done) -> tuple[bytes | None, JobOutcome]:
    try:
        result = msgspec.json.encode(outcome.result)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        return None, Dead(error=f"its result cannot be written as JSON: {error}")
    if len(result) > MOST_BYTES:
        return None, Dead(error=f"its result has {len(result):,} bytes, and may have {MOST_BYTES:,}")
    return result, outcome
