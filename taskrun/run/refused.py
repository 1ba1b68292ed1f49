"""The event stream of a run, or a worker, that was refused: its mistakes as diagnostics, and its end. Nothing else."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from taskrun.events import DiagnosticEvent, RunEnd, Stamped, WorkerEnd, encode
from taskrun.model import Diagnostic, NothingMatched, ProjectError, ResourceError, TaskrunError, UsageError
from taskrun.report.events_out import open_events
from taskrun.run.status import BUG, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.events import AnyEvent


def tell_refused(where: str, run_id: str, error: TaskrunError, end: type[RunEnd | WorkerEnd] = RunEnd) -> None:
    """Ends the event stream of what never began: its reader must not wait for ever."""
    diagnostics = error.diagnostics if isinstance(error, ProjectError) else ()
    write_refusal(where, run_id, str(error), diagnostics, status_of(error), end=end)


def status_of(error: Exception) -> int:
    """The exit status of who ends with this error."""
    match error:
        case NothingMatched():
            return 4
        case ResourceError():
            return RESOURCES
        case TaskrunError():
            return 2
        case _:
            return BUG


def write_refusal(
    where: str,
    run_id: str,
    message: str,
    diagnostics: Sequence[Diagnostic],
    exit_status: int,
    *,
    end: type[RunEnd | WorkerEnd] = RunEnd,
) -> None:
    """Writes the stream to a file, or to stdout for ``"-"``; a stream that cannot be written is nobody's mistake."""
    told = diagnostics or (Diagnostic(code="usage", message=message),)
    facts: list[AnyEvent] = [DiagnosticEvent(diagnostic=diagnostic) for diagnostic in told]
    facts.append(end(exit_status=exit_status))
    now = time.time()
    data = b"".join(encode(Stamped(seq=number, ts=now, run=run_id, event=fact)) for number, fact in enumerate(facts, 1))
    with contextlib.suppress(OSError, UsageError):
        os.write(open_events(where), data)
