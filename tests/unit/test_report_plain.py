"""The plain view: progress now and then, a sign of life after a silence, and nothing more."""

from __future__ import annotations

import pytest
from support.reporting import Stage

from taskrun.events import (
    DiagnosticEvent,
    RunCancel,
    RunEnd,
    RunResume,
    RunStart,
    RunSuspend,
    TaskEnd,
    TaskOutput,
    TaskProgress,
    TaskStart,
)
from taskrun.model import Diagnostic, Span
from taskrun.report import Settings


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path, Settings(ui="plain", output="none"))
    stage.emit(RunStart(taskrun="0", file="tasks.toml", argv=(), cwd="/", jobs=1, tasks=("one", "two")))
    return stage


def lines(stage):
    return stage.sheet.text(2).split("\n")[:-1]


def progress(stage, fraction, task="one", **more):
    stage.emit(TaskProgress(task=task, attempt=1, fraction=fraction, **more))


def test_progress_is_told_every_five_percent_or_five_seconds(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    for step in range(1001):  # a fast task: 20 lines
        progress(stage, step / 1000)
    assert [line.split()[0] for line in lines(stage)[1:]] == [f"{number}%" for number in range(5, 101, 5)]


def test_slow_progress_is_told_when_the_percent_has_changed(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    for step in range(7200):  # two hours, a sample a second
        stage.now += 1
        progress(stage, step / 7200)
    told = [line.split()[0] for line in lines(stage)[1:]]
    assert told == [f"{number}%" for number in range(1, 100)]


def test_progress_of_unknown_size_is_not_told(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    for _ in range(50):
        stage.now += 3
        progress(stage, None, message="working")
    assert len(lines(stage)) == 1


def test_a_new_attempt_begins_anew(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    progress(stage, 0.9)
    stage.emit(TaskStart(task="one", attempt=2, argv=("x",)))
    progress(stage, 0.05)
    assert lines(stage)[1::2] == ["     90%  one", "      5%  one"]


def test_a_silence_is_broken_by_naming_the_oldest(stage):
    for number in range(5):
        stage.emit(TaskStart(task=f"t{number}", attempt=1, argv=("x",)))
        stage.tick(1)
    before = len(lines(stage))
    progress(stage, 0.04, task="t1")
    for _ in range(59):
        stage.tick(1)
    stage.emit(TaskOutput(task="t0", attempt=1, stream="stdout", data=b"not shown"))
    for _ in range(2):
        stage.tick(1)
    assert lines(stage)[before:] == [" RUNNING  t0 (1m05s, last output 1s ago), t1 (1m04s, 4%), t2 (1m03s), and 2 more"]
    for _ in range(60):
        stage.tick(1)
    assert len(lines(stage)) == before + 2


def test_what_is_said_is_no_silence_and_nobody_is_missed_when_nothing_runs(stage):
    for _ in range(200):
        stage.tick(1)
    assert lines(stage) == []
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    for step in range(1, 6):
        for _ in range(50):
            stage.tick(1)
        progress(stage, step / 10)
    assert not [line for line in lines(stage) if "RUNNING" in line]


def test_a_task_that_prints_breaks_the_silence_itself(tmp_path):
    stage = Stage(tmp_path, Settings(ui="plain", output="stream"))
    stage.emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=("one",)))
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    for _ in range(5):
        for _ in range(50):
            stage.tick(1)
        stage.emit(TaskOutput(task="one", attempt=1, stream="stdout", data=b"alive\n"))
    assert "RUNNING" not in stage.sheet.text(2)


def test_names_and_reasons_cannot_reach_the_terminal(stage):
    evil = "x\x1b[2J\n::error::y"
    stage.emit(TaskStart(task=evil, attempt=1, argv=("a\nb", "\x1b]0;t\x07")))
    stage.emit(TaskEnd(task=evil, attempt=1, state="failed", reason="bad\nthing", elapsed=1, cause="\x1b"))
    text = stage.sheet.text(2)
    assert "\x1b" not in text
    assert text.count("\n") == 2
    assert "x\\x1b[2J\\n::error::y  bad\\nthing" in text


def test_undecodable_names_are_shown_somehow(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("ls", "\udcff.mov")))
    assert "ls '\\udcff.mov'" in stage.sheet.text(2)


def test_diagnostics_are_one_line_each_and_mistakes_before_the_run_are_told_by_others(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="none"))
    span = Span(line=7, column=1, end_line=7, end_column=8)
    mistake = Diagnostic(code="c", message="unknown key", file="tasks.toml", span=span, label="did you mean `x`?")
    warning = Diagnostic(code="w", message="the record is elsewhere", level="warning")
    stage.emit(DiagnosticEvent(diagnostic=mistake), DiagnosticEvent(diagnostic=warning))
    assert lines(stage) == ["taskrun: warning: the record is elsewhere"]
    stage.emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=()))
    stage.emit(DiagnosticEvent(diagnostic=mistake))
    assert lines(stage)[1:] == ["taskrun: error: tasks.toml:7:1: unknown key (did you mean `x`?)"]


def test_a_refused_run_has_no_summary(tmp_path):
    for ui in ("plain", "none"):
        stage = Stage(tmp_path / ui, Settings(ui=ui))
        stage.emit(RunEnd(exit_status=2))
        assert stage.sheet.written == []


@pytest.mark.parametrize(
    ("reason", "killing", "expected"),
    [
        ("SIGINT", False, "Interrupted: stopping 2 tasks (Ctrl+C again to kill)"),
        ("SIGINT", True, "Killing 2 tasks"),
        ("SIGTERM", False, "Stopping 2 tasks: SIGTERM"),
        ("the run's deadline of 30m came", False, "Stopping 2 tasks: the run's deadline of 30m came"),
    ],
)
def test_a_cancel_says_what_happens(stage, reason, killing, expected):
    for task in ("one", "two"):
        stage.emit(TaskStart(task=task, attempt=1, argv=("x",)))
    stage.emit(RunCancel(reason=reason, killing=killing))
    assert lines(stage)[-1] == expected


def test_a_cancel_while_nothing_runs_stops_nothing(stage):
    stage.emit(RunCancel(reason="SIGINT"), RunCancel(reason="SIGTERM"))
    assert lines(stage) == ["Interrupted", "Stopping: SIGTERM"]


def test_while_the_run_is_suspended_everything_is_held_back(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)), RunSuspend())
    stage.reporters.suspend()
    assert stage.sheet.held
    stage.reporters.resume(draw=False)
    assert not stage.sheet.held
    stage.emit(RunResume(paused=100.0))
    for _ in range(59):
        stage.tick(1)
    assert len(lines(stage)) == 1


def test_nothing_is_said_once_a_reader_has_gone_away(stage):
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    stage.sheet.broken = True
    stage.emit(RunCancel(reason="stdout was closed"))
    stage.emit(TaskEnd(task="one", attempt=1, state="cancelled", reason="stdout was closed"))
    stage.emit(RunEnd(exit_status=141, signal=13))
    assert lines(stage) == ["   START  one  x"]


def test_groups_have_no_line_of_their_own(stage):
    stage.emit(TaskEnd(task="all", attempt=0, state="succeeded"))
    assert lines(stage) == []
    stage.emit(TaskEnd(task="look", attempt=0, state="failed", reason="`tasks.x.result` has no key `y`"))
    assert lines(stage) == ["    FAIL  look  `tasks.x.result` has no key `y`"]
