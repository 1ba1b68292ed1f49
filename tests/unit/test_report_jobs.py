"""What of the runs of jobs reaches the views, and what the stream of events."""

from __future__ import annotations

from typing import Any

import pytest
from support.reporting import Sheet

from taskrun.events import DiagnosticEvent, RunStart, Stamped, TaskEnd, WorkerEnd
from taskrun.model import Diagnostic, Leftover
from taskrun.report import Options, decide
from taskrun.report import jobs as module
from taskrun.report.jobs import JobReporters, make_job_reporters
from taskrun.report.protocol import TaskFacts


class Heard:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed = 0

    def handle(self, stamped: Stamped) -> None:
        self.events.append(stamped.event)

    def close(self) -> None:
        self.closed += 1


def heard() -> tuple[JobReporters, Heard, Heard]:
    shown: Any = Heard()
    lines: Any = Heard()
    return JobReporters(shown, lines), shown, lines


def tell(reporters: JobReporters, job: int, event: Any) -> None:
    reporters.of_job(job, "/runs/x")(Stamped(seq=1, ts=0.0, run="r", event=event))


def warning(text: str) -> DiagnosticEvent:
    return DiagnosticEvent(diagnostic=Diagnostic(code="record", message=text, level="warning"))


def test_what_jobs_all_warn_of_is_shown_once_and_in_the_events_of_each(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    reporters, shown, lines = heard()
    for job, text in enumerate(("a", "a", "b", "a", "c", "d")):  # at the third text it forgets the others
        tell(reporters, job, warning(text))
    assert [event.diagnostic.message for event in shown.events] == ["a", "b", "c", "d"]
    assert len(lines.events) == 6


def test_views_tell_the_tasks_of_jobs_apart_and_hear_of_no_single_run():
    reporters, shown, lines = heard()
    start = RunStart(taskrun="1", file="f", argv=(), cwd="/", jobs=1, tasks=("a",), folder="/runs/x")
    end = TaskEnd(task="a", attempt=1, state="failed", cause="b", log="logs/a.1.log")
    for event in (start, end):
        tell(reporters, 7, event)
    assert lines.events == [start, end]
    (seen,) = shown.events
    assert (seen.task, seen.cause, seen.log) == ("a#7", "b#7", "/runs/x/logs/a.1.log")


def test_all_are_closed_also_where_a_view_has_a_bug():
    reporters, shown, lines = heard()
    shown.close = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        reporters.close()
    assert lines.closed == 1


def test_what_jobs_have_left_behind_is_named_at_the_workers_end():
    sheet: Any = Sheet()
    reporters = make_job_reporters(decide(Options(), {}), sheet, about=lambda _task: TaskFacts(), clock=lambda: 0.0)
    left = Leftover(pid=7, command="sleep 301", killed=True)
    reporters.handle(Stamped(seq=1, ts=0.0, run="r", event=WorkerEnd(exit_status=0, jobs={"done": 2}, leaked=(left,))))
    assert sheet.text(2).splitlines() == [
        "  leaked  the jobs left 1 process behind (sleep 301), killed",
        "taskrun: jobs: 2 done · 0.0s",
    ]
