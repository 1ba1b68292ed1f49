"""Stamps the facts of a run and hands each to everybody who listens: the tally, the record, the reporters.

Listeners must not raise: what one raises is a bug, and ends the run as one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from taskrun.events import DiagnosticEvent, Stamped, TaskOutput
from taskrun.model import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.events import AnyEvent
    from taskrun.run.status import Tally


class Facts:
    """The one order of a run's events.

    Args:
        tally: Sees every event.
        count_output: Output chunks take numbers of their own, because somebody writes them as events; else they
            would only leave gaps.
    """

    def __init__(self, run_id: str, tally: Tally, *, count_output: bool) -> None:
        self._run_id = run_id
        self._tally = tally
        self._count_output = count_output
        self._seq = 0
        self._record: Callable[[Stamped], None] | None = None
        self._reporters: list[Callable[[Stamped], None]] = []

    def listen(self, record: Callable[[Stamped], None] | None, reporters: list[Callable[[Stamped], None]]) -> None:
        """Who is told from now on; ``record`` gets no output, which has logs of its own."""
        self._record = record
        self._reporters = reporters

    def emit(self, event: AnyEvent) -> None:
        """Tells everybody."""
        is_output = type(event) is TaskOutput
        if not is_output or self._count_output:
            self._seq += 1
        stamped = Stamped(seq=self._seq, ts=time.time(), run=self._run_id, event=event)
        if not is_output:
            self._tally.see(event)
            if self._record is not None:
                self._record(stamped)
        for report in self._reporters:
            report(stamped)

    def warn(self, code: str, message: str) -> None:
        """Something the user should know."""
        self.emit(DiagnosticEvent(diagnostic=Diagnostic(code=code, message=message, level="warning")))
