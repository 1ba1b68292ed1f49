"""The event stream of a run that was refused: its mistakes as diagnostics, and ``run.end``. Writes nothing else."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from taskrun.events import DiagnosticEvent, RunEnd, Stamped, encode
from taskrun.model import Diagnostic, UsageError
from taskrun.report.events_out import open_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.events import AnyEvent


def write_refusal(where: str, run_id: str, message: str, diagnostics: Sequence[Diagnostic], exit_status: int) -> None:
    """Writes the stream to a file, or to stdout for ``"-"``; a stream that cannot be written is nobody's mistake."""
    told = diagnostics or (Diagnostic(code="usage", message=message),)
    facts: list[AnyEvent] = [DiagnosticEvent(diagnostic=diagnostic) for diagnostic in told]
    facts.append(RunEnd(exit_status=exit_status))
    now = time.time()
    data = b"".join(encode(Stamped(seq=number, ts=now, run=run_id, event=fact)) for number, fact in enumerate(facts, 1))
    with contextlib.suppress(OSError, UsageError):
        os.write(open_events(where), data)
