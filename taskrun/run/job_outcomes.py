"""What the end of a job's run, or its refusal, means for the job. Pure; what the queue makes of it is the engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.jobqueue.values import Cancelled, Dead, Done, Job, JobOutcome, Released, Retry
from taskrun.model import CancelKind, State

if TYPE_CHECKING:
    from taskrun.model import Diagnostic, ProjectError
    from taskrun.report.tails import Tails
    from taskrun.run.work import Work

# What a job is refused for in one moment, and perhaps not in the next: the file is the same, and the machine is not.
_OF_THE_MOMENT = frozenset({"shell-source", "lines", "dotenv", "missing-folder", "python"})
_GOOD = frozenset({State.SUCCEEDED.value, State.SKIPPED.value})


def refused(error: ProjectError) -> JobOutcome:
    """What the file makes impossible stays so; what the machine does, may pass."""
    text = "\n".join(_told(each) for each in error.diagnostics) or str(error)
    if all(each.code in _OF_THE_MOMENT for each in error.diagnostics):
        return Retry(error=text)
    return Dead(error=text)


def _told(diagnostic: Diagnostic) -> str:
    place = ""
    if diagnostic.file is not None:
        place = f"{diagnostic.file}:"
        if diagnostic.span is not None:
            place += f"{diagnostic.span.line}:{diagnostic.span.column}:"
        place += " "
    return f"{place}{diagnostic.message}"


def outcome_of(work: Work, tails: Tails) -> JobOutcome:
    """What the end of a run means for its job."""
    run = work.setting.run_id
    reason = work.cancelled
    is_done = work.tally.counts.keys() <= _GOOD  # then what was to stop it came too late
    if reason is not None and not is_done:
        match reason.kind:
            case CancelKind.JOB:
                return Cancelled(run=run)
            case CancelKind.HOST:
                return Retry(error=str(reason), run=run)
            case _:
                return Released()
    if work.tally.failed or work.tally.timed_out or not (is_done or work.scheduler.cancelled is None):
        return Retry(error=_why(work, tails), run=run)
    return Done(result=_result(work), run=run)


def _why(work: Work, tails: Tails) -> str:
    """The first cause, and the last lines that it wrote."""
    cause = work.plan.first_cause
    end = None if cause is None else work.tally.ends.get(cause)
    if cause is None or end is None:
        return str(work.scheduler.cancelled or "it failed")
    reason = end.reason or end.state
    named = reason if cause in work.selection.requested else f"{cause}: {reason}"
    tail = tails.of_failed(cause)
    lines = list(tail.lines) if tail is not None else []
    detail = end.detail.rstrip("\n").split("\n") if end.detail else []
    return "\n".join([named, *lines, *detail])


def _result(work: Work) -> Any:
    """What the one task returned that was asked for."""
    if len(work.selection.requested) != 1:
        return None
    end = work.tally.ends.get(work.selection.requested[0])
    return None if end is None or end.state != State.SUCCEEDED.value else end.result


def name_of(outcome: JobOutcome, job: Job, *, cancelled: bool) -> str:
    """What the engine will make of it; so as the stream of events says it."""
    match outcome:
        case Done():
            return "done"
        case Dead():
            return "dead"
        case Cancelled():
            return "cancelled"
        case Retry() | Released() if cancelled:
            return "cancelled"
        case Retry():
            return "retry" if job.attempt < job.max_attempts else "dead"
        case Released():
            return "released"
