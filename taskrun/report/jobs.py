"""Reporters of a queue worker: the views of a run, with the tasks of all its jobs side by side. It draws nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.events import (
    DiagnosticEvent,
    RunCancel,
    RunEnd,
    RunResume,
    RunStart,
    RunSuspend,
    Stamped,
    TaskEnd,
    TaskRetry,
    WorkerEnd,
)
from taskrun.report.ci import ANNOTATED, Annotations, folding_for
from taskrun.report.compose import Reporters, read_plain_log, view_for
from taskrun.report.events_out import EventLines
from taskrun.report.output import Outputs
from taskrun.report.screen import Screen
from taskrun.report.tails import Tails
from taskrun.report.words import job_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.model import Clockwork
    from taskrun.report.protocol import AboutTask, ReadLog, Reporter, TaskFacts
    from taskrun.report.settings import Settings
    from taskrun.report.writer import Writer

_REMEMBERED = 500  # warnings of jobs that are not shown again
_OF_ONE_RUN = frozenset({RunStart, RunEnd, RunCancel, RunSuspend, RunResume})  # which the views take for the whole


class JobReporters:
    """What shows a worker, and what writes its events.

    Attributes:
        shown: The views, for which tasks are told apart by their job.
        lines: Writes events as they are; ``None``: nobody wants them.
    """

    def __init__(self, shown: Reporters, lines: EventLines | None) -> None:
        self.shown = shown
        self.lines = lines
        self._warned: set[str] = set()

    def handle(self, stamped: Stamped) -> None:
        """An event of the worker's own."""
        if self.lines is not None:
            self.lines.handle(stamped)
        self.shown.handle(stamped)

    def close(self) -> None:
        """Closes all; twice is harmless."""
        try:
            self.shown.close()
        finally:
            if self.lines is not None:
                self.lines.close()

    def of_job(self, job: int, folder: str) -> Callable[[Stamped], None]:
        """Takes the events of the run of a job, whose record is in ``folder``."""

        def handle(stamped: Stamped) -> None:
            if self.lines is not None:
                self.lines.handle(stamped)
            if type(stamped.event) not in _OF_ONE_RUN and self._is_news(stamped.event):
                self.shown.handle(told_apart(stamped, job, folder))

        return handle

    def _is_news(self, event: Any) -> bool:
        """What a run warns of, of its modules or of where its record is, the next ones would all say again."""
        if type(event) is not DiagnosticEvent:
            return True
        text = event.diagnostic.message
        if text in self._warned:
            return False
        if len(self._warned) >= _REMEMBERED:
            self._warned.clear()
        self._warned.add(text)
        return True


def told_apart(stamped: Stamped, job: int, folder: str) -> Stamped:
    """An event of a job's run as the views get it: with the job in the task's name, and paths that are whole."""
    event: Any = stamped.event
    if not hasattr(event, "task"):
        return stamped
    changes: dict[str, Any] = {"task": job_label(event.task, job)}
    if type(event) is TaskEnd or type(event) is TaskRetry:
        if event.log is not None:
            changes["log"] = os.path.join(folder, event.log)
        if type(event) is TaskEnd and event.cause is not None:
            changes["cause"] = job_label(event.cause, job)
    return msgspec.structs.replace(stamped, event=msgspec.structs.replace(event, **changes))


def make_job_reporters(
    settings: Settings,
    writer: Writer,
    *,
    about: AboutTask,
    read_log: ReadLog = read_plain_log,
    events_fd: int | None = None,
    events_output: bool = False,
    clock: Clockwork,
) -> JobReporters:
    """Makes the reporters that the settings ask for; see ``make_reporters``. ``about`` is asked by tasks' own names."""

    def about_job(label: str) -> TaskFacts:
        return about(label.rpartition("#")[0])

    screen = Screen(writer, settings)
    tails = Tails()
    outputs = Outputs(screen, settings, about_job, read_log, folding_for(settings.ci))
    reporters: list[Reporter] = [tails, view_for(settings, screen, outputs, tails, clock)]
    if settings.ci in ANNOTATED and settings.ui != "none":
        reporters.append(Annotations(screen, settings.ci, about_job))
    lines = None
    if events_fd is not None:
        lines = EventLines(writer, events_fd, with_output=events_output, last=WorkerEnd)
    return JobReporters(Reporters(reporters, screen), lines)
