"""One run in every mode, golden to the character; and that the modes differ only in what they should.

UPDATE_GOLDEN=1 writes the files anew.
"""

from __future__ import annotations

import re

import pytest
from support.reporting import Stage, check_golden

from taskrun.events import (
    DiagnosticEvent,
    RunCancel,
    RunEnd,
    RunStart,
    TaskEnd,
    TaskMessage,
    TaskOutput,
    TaskProgress,
    TaskQueued,
    TaskRetry,
    TaskStart,
)
from taskrun.model import Diagnostic, Leftover
from taskrun.report import Options, Settings, TaskFacts, decide
from taskrun.report import ci as ci_module

PLACES = {
    "encode[clip=a.mov]": 14,
    "encode[clip=c.mov]": 14,
    "probe": 3,
    "lint": 30,
}


def about(task):
    line = PLACES.get(task)
    return TaskFacts(place=None if line is None else ("tasks.toml", line))


def story(stage):
    """A run with something of everything."""
    start = RunStart(
        taskrun="0.1", file="tasks.toml", argv=("run", "site"), cwd=stage.cwd, jobs=4, folder=str(stage.folder),
        tasks=("probe", "lint", "encode[clip=a.mov]", "encode[clip=b.mov]", "encode[clip=c.mov]", "pack", "upload",
               "docs", "site"),
    )  # fmt: skip
    stage.emit(start)
    stage.emit(DiagnosticEvent(diagnostic=Diagnostic(code="slow", message="no history of durations", level="warning")))
    stage.emit(TaskStart(task="probe", attempt=1, target="media:probe", cwd=stage.cwd))
    stage.emit(TaskStart(task="lint", attempt=1, shell="ruff check .\nmypy .", cwd=stage.cwd))
    stage.emit(TaskQueued(task="encode[clip=c.mov]"))
    stage.now += 1
    stage.emit(TaskOutput(task="lint", attempt=1, stream="stdout", data=b"a.py:1:1 E501\n::error file=a.py::E501\n"))
    stage.emit(TaskRetry(task="probe", attempt=1, why="exit 75", delay=0.5, elapsed=0.25))
    stage.now += 1
    stage.emit(TaskStart(task="probe", attempt=2, target="media:probe", cwd=stage.cwd))
    stage.emit(
        TaskEnd(
            task="lint", attempt=1, state="failed", exit_code=1, reason="exit 1", elapsed=1.5, allowed=True,
            log=stage.log("lint"),
        )
    )  # fmt: skip
    stage.emit(
        TaskEnd(
            task="probe", attempt=2, state="succeeded", elapsed=0.75,
            leaked=(Leftover(pid=7, command="sleep 50"),),
        )
    )  # fmt: skip
    for name in ("a", "b", "c"):
        argv = ("ffmpeg", "-i", f"in/{name} 1.mov", "-c:v", "libx265", f"out/{name}.mp4")
        stage.emit(TaskStart(task=f"encode[clip={name}.mov]", attempt=1, argv=argv, cwd=f"{stage.cwd}/media"))
    for step in range(1, 5):
        stage.now += 1.5
        for name, pace in (("a", 0.25), ("b", 0.03)):
            stage.emit(
                TaskProgress(
                    task=f"encode[clip={name}.mov]", attempt=1, fraction=step * pace, eta=6 - step, message="2.6x"
                )
            )
    stage.emit(TaskMessage(task="encode[clip=b.mov]", attempt=1, level="warning", text="colour space guessed"))
    noise = b"".join(b"frame=%d\r" % frame for frame in range(0, 100, 9)) + b"\n"
    stage.emit(TaskOutput(task="encode[clip=a.mov]", attempt=1, stream="stderr", data=noise))
    stage.emit(TaskOutput(task="encode[clip=a.mov]", attempt=1, stream="stdout", data=b"a: done, 100% of it"))
    stage.emit(
        TaskEnd(
            task="encode[clip=a.mov]", attempt=1, state="succeeded", elapsed=61.213, log=stage.log("encode[clip=a.mov]")
        )
    )
    lines = b"".join(b"line %d\n" % number for number in range(22))
    stage.emit(TaskOutput(task="encode[clip=c.mov]", attempt=1, stream="stderr", data=lines[:70]))
    stage.emit(TaskOutput(task="encode[clip=c.mov]", attempt=1, stream="stderr", data=lines[70:]))
    stage.emit(
        TaskOutput(
            task="encode[clip=c.mov]", attempt=1, stream="stderr",
            data=b"\x1b[31m[libx265] unknown profile <main99>\x1b[0m\n::error::from the tool\nConversion failed!\n",
        )
    )  # fmt: skip
    stage.emit(
        TaskEnd(
            task="encode[clip=c.mov]", attempt=1, state="failed", exit_code=1, reason="exit 1", elapsed=3.02,
            log=stage.log("encode[clip=c.mov]"),
        )
    )  # fmt: skip
    stage.emit(RunCancel(reason="encode[clip=c.mov] failed"))
    stage.emit(
        TaskEnd(
            task="encode[clip=b.mov]", attempt=1, state="cancelled", signal=15, elapsed=4.1,
            cause="encode[clip=c.mov]", reason="encode[clip=c.mov] failed",
        )
    )  # fmt: skip
    stage.emit(TaskStart(task="pack", attempt=1, argv=("tar", "-cf", "x.tar", "out"), cwd=stage.cwd))
    stage.emit(
        TaskEnd(
            task="pack", attempt=1, state="timed-out", signal=15, reason="timed out after 10s", elapsed=10.01,
            detail='Traceback (most recent call last):\n  File "media.py", line 3, in pack\nTimeoutError',
        )
    )  # fmt: skip
    stage.emit(TaskEnd(task="docs", attempt=0, state="skipped", reason="`when` rules it out: no docs/"))
    stage.emit(TaskEnd(task="upload", attempt=0, state="skipped", cause="encode[clip=c.mov]"))
    stage.emit(TaskEnd(task="site", attempt=0, state="not-started", cause="encode[clip=c.mov]"))
    stage.emit(
        RunEnd(
            exit_status=1, elapsed=74.25, counts={"failed": 2}, first_cause="encode[clip=c.mov]",
            leaked=(Leftover(pid=9, command="daemon", killed=False),), folder=str(stage.folder),
        )
    )  # fmt: skip
    stage.reporters.close()


def perform(tmp_path, settings, **more):
    stage = Stage(tmp_path, settings, about=about, **more)
    story(stage)
    return stage


def hide_folder(text, tmp_path):
    return text.replace(str(tmp_path), "/project")


GITHUB = {"CI": "true", "GITHUB_ACTIONS": "true", "NO_COLOR": "1"}
MODES = {
    "plain-stream": Settings(ui="plain", output="stream"),
    "plain-group": Settings(ui="plain", output="group"),
    "plain-failed": Settings(ui="plain", output="failed"),
    "plain-verbose": Settings(ui="plain", output="none", verbose=1),
    "plain-coloured": Settings(ui="plain", output="failed", colour_stdout=True, colour_stderr=True),
    "plain-ascii": decide(Options(output="none"), {"LANG": "C", "TERM": "dumb", "NO_COLOR": "", "COLUMNS": "1"}),
    "none-failed": Settings(ui="none", output="failed"),
    "quiet": decide(Options(quiet=True, output="none"), {}),
    "named": Settings(ui="plain", output="failed", named="encode[clip=a.mov]", exact=True, stdout_fd=2),
    "github": decide(Options(), GITHUB),
    "github-stream": decide(Options(output="stream"), GITHUB),
    "github-coloured": decide(Options(), {"CI": "true", "GITHUB_ACTIONS": "true"}),
    "gitlab": decide(Options(color="never"), {"CI": "true", "GITLAB_CI": "true"}),
    "buildkite": decide(Options(color="never"), {"CI": "true", "BUILDKITE": "true"}),
    "azure": decide(Options(color="never"), {"TF_BUILD": "True"}),
    "teamcity": decide(Options(color="never"), {"TEAMCITY_VERSION": "2026.1"}),
    "jenkins": decide(Options(), {"JENKINS_URL": "http://ci"}),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_shown_as_agreed(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(ci_module.time, "time", lambda: 1_700_000_000.0)
    monkeypatch.setattr(ci_module.GitLabFolding.__init__, "__defaults__", (lambda: 1_700_000_000.0,))
    stage = perform(tmp_path, MODES[mode])
    check_golden(mode, hide_folder(stage.sheet.transcript(), tmp_path))


def ending(stage):
    """The failure blocks and what follows, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", stage.sheet.both.decode())
    return text[text.index("──────") :]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "plain-ascii"])
def test_the_end_is_the_same_text_in_every_mode(tmp_path, mode):
    reference = perform(tmp_path / "1", MODES["plain-stream"])
    stage = perform(tmp_path / "2", MODES[mode])
    assert ending(stage).replace("/2", "/1") == ending(reference).replace("/2", "/1")


@pytest.mark.parametrize("mode", [mode for mode, settings in MODES.items() if not settings.colour_stdout])
def test_nothing_that_a_terminal_obeys_goes_where_none_is(tmp_path, mode):
    stage = perform(tmp_path, MODES[mode])
    both = stage.sheet.both.replace(b"\x1b[0K", b"").replace(b"\r", b"") if mode == "gitlab" else stage.sheet.both
    if mode == "named":
        both = both.replace(b"".join(b"frame=%d\r" % frame for frame in range(0, 100, 9)), b"")
    assert b"\x1b" not in both
    assert b"\r" not in both


def test_colours_change_no_character_of_the_text(tmp_path):
    coloured = perform(tmp_path / "1", MODES["plain-coloured"]).sheet.both
    plain = perform(tmp_path / "2", MODES["plain-failed"]).sheet.both.replace(b"/2", b"/1")
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured).replace(b"/2", b"/1") == plain


def test_in_ci_everything_is_on_one_stream(tmp_path):
    for mode in ("github", "azure", "teamcity", "gitlab", "buildkite", "jenkins"):
        assert perform(tmp_path / mode, MODES[mode]).sheet.bytes(2) == b""


def test_a_run_that_was_interrupted_says_so(tmp_path):
    stage = Stage(tmp_path, Settings(ui="plain", output="group"), about=about)
    tasks = tuple(f"encode[clip={number}]" for number in range(10))
    stage.emit(
        RunStart(
            taskrun="0.1", file="tasks.toml", argv=("run",), cwd=stage.cwd, jobs=3, tasks=tasks,
            folder=str(stage.folder),
        )
    )  # fmt: skip
    for task in tasks[:3]:
        stage.emit(TaskStart(task=task, attempt=1, argv=("ffmpeg",), cwd=stage.cwd))
        stage.emit(TaskOutput(task=task, attempt=1, stream="stdout", data=b"started\n"))
    stage.emit(RunCancel(reason="SIGINT"), RunCancel(reason="SIGINT", killing=True))
    for task in tasks[:3]:
        stage.emit(
            TaskEnd(
                task=task, attempt=1, state="cancelled", signal=9, reason="SIGINT, killed", elapsed=2,
                log=stage.log(task),
            )
        )  # fmt: skip
    for task in tasks[3:]:
        stage.emit(TaskEnd(task=task, attempt=0, state="not-started", reason="SIGINT"))
    stage.emit(RunEnd(exit_status=130, signal=2, elapsed=2.5, counts={}))
    check_golden("interrupted", hide_folder(stage.sheet.transcript(), tmp_path))


def test_ten_thousand_tasks_have_an_end_that_can_be_read(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="none"))
    tasks = tuple(f"t{number}" for number in range(10_000))
    stage.emit(RunStart(taskrun="0.1", file="tasks.toml", argv=("run",), cwd=stage.cwd, jobs=3, tasks=tasks))
    for number, task in enumerate(tasks[:3000]):
        stage.emit(TaskStart(task=task, attempt=1, argv=("work", task), cwd=stage.cwd))
        failing = number % 50 == 7
        if failing:
            stage.emit(TaskOutput(task=task, attempt=1, stream="stderr", data=f"{task} is broken\n".encode()))
        stage.emit(
            TaskEnd(
                task=task, attempt=1 + (number % 100 == 1), state="failed" if failing else "succeeded", elapsed=1,
                reason="exit 1" if failing else "",
            )
        )  # fmt: skip
    for task in tasks[3000:9000]:
        stage.emit(TaskEnd(task=task, attempt=0, state="skipped", cause="t7"))
    for task in tasks[9000:]:
        stage.emit(TaskEnd(task=task, attempt=0, state="not-started", reason="t7 failed"))
    stage.emit(RunEnd(exit_status=1, elapsed=4000, first_cause="t7"))
    text = hide_folder(stage.sheet.transcript(), tmp_path)
    check_golden("ten-thousand", text)
    assert text.count("\n") < 90
    assert text.index("FAIL  t57 ") < text.index("FAIL  t7 ") < text.index("not run")


def test_github_shows_no_more_errors_than_it_takes(tmp_path):
    stage = Stage(tmp_path, decide(Options(output="none"), GITHUB), about=lambda _task: TaskFacts(place=("t.toml", 3)))
    stage.emit(RunStart(taskrun="0.1", file="t.toml", argv=("run",), cwd="/", jobs=3, tasks=()))
    for number in range(14):
        stage.emit(TaskEnd(task=f"t{number}", attempt=1, state="failed", reason="exit 1"))
    stage.emit(RunEnd(exit_status=1))
    errors = [line for line in stage.sheet.text(1).split("\n") if line.startswith("::error")]
    assert len(errors) == 10
    assert errors[0] == "::error file=t.toml,line=3,title=Task 't0' failed::exit 1"
    assert errors[9].endswith("::exit 1 (and 4 more tasks failed)")
