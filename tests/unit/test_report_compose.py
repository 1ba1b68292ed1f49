"""The reporters of a run together: what they import, in which order they get events, and that all of them close."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from support.reporting import Stage

from taskrun.events import RunEnd, RunStart, TaskEnd, TaskOutput, TaskStart
from taskrun.report import Options, Reporters, Settings, Writer, decide, make_reporters
from taskrun.report.compose import read_plain_log
from taskrun.report.protocol import Reporter

SCRIPT = """
    import sys
    from taskrun.events import *
    from taskrun.report import *

    writer = Writer()
    settings = decide(Options(ui={ui!r}, output="stream"), {{"TERM": "xterm"}}, stderr_tty={ui!r} == "live")
    reporters = make_reporters(settings, writer)
    for number, event in enumerate([
        RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=("one",)),
        TaskStart(task="one", attempt=1, argv=("x",)),
        TaskOutput(task="one", attempt=1, stream="stdout", data=b"hello\\n"),
        TaskEnd(task="one", attempt=1, state="failed", reason="exit 1"),
        RunEnd(exit_status=1),
    ]):
        reporters.handle(Stamped(seq=number, ts=0.0, run="r", event=event))
    reporters.close()
    writer.close()
    heavy = {{name.partition(".")[0] for name in sys.modules}} & {{"rich", "trio", "click", "asyncio", "subprocess"}}
    sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""


@pytest.mark.parametrize("ui", ["plain", "live", "none"])
def test_showing_a_run_imports_nothing_heavy(ui):
    path = ":".join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT.format(ui=ui))],
        capture_output=True,
        timeout=60,
        env={"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"hello\n" in done.stdout


def test_one_reporter_that_fails_to_close_keeps_no_other_from_it():
    closed = []

    class Failing(Reporter):
        def close(self):
            raise ZeroDivisionError

    class Fine(Reporter):
        def close(self):
            closed.append(True)

    reporters = Reporters([Failing(), Fine()], screen=None)
    with pytest.raises(ZeroDivisionError):
        reporters.close()
    assert closed == [True]


def test_a_log_of_which_nothing_is_known_is_stdout(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000)
    assert [(stream, len(data)) for stream, data in read_plain_log(str(log))] == [("stdout", 65536), ("stdout", 34464)]
    with pytest.raises(FileNotFoundError):
        list(read_plain_log(str(tmp_path / "none")))


def test_the_output_of_a_task_comes_below_the_line_that_says_how_it_ended(tmp_path):
    stage = Stage(tmp_path, Settings(ui="plain", output="group"))
    stage.emit(
        RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=("one",), folder=str(stage.folder)),
        TaskStart(task="one", attempt=1, argv=("x",)),
        TaskOutput(task="one", attempt=1, stream="stderr", data=b"from one"),
        TaskEnd(task="one", attempt=1, state="succeeded", elapsed=1, log=stage.log("one")),
        RunEnd(exit_status=0),
    )
    assert stage.sheet.text(2).split("\n")[1:3] == ["      OK  [   1.000s] one", "from one"]


def test_success_is_silent_where_that_was_asked_for_and_failure_is_not(tmp_path):
    for status, said in ((0, False), (1, True)):
        stage = Stage(tmp_path / str(status), decide(Options(quiet=True), {}))
        stage.emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=("one",)))
        state = "failed" if status else "succeeded"
        stage.emit(TaskStart(task="one", attempt=1, argv=("x",)), TaskEnd(task="one", attempt=1, state=state))
        stage.emit(RunEnd(exit_status=status))
        assert bool(stage.sheet.written) is said


def test_a_real_writer_carries_it_all(tmp_path, capfdbinary):
    writer = Writer()
    reporters = make_reporters(Settings(ui="none", output="stream"), writer)
    stage = Stage(tmp_path)
    stage.reporters = reporters
    stage.emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=1, tasks=("one",)))
    for number in range(1000):
        stage.emit(TaskOutput(task="one", attempt=1, stream="stdout", data=b"%d\n" % number))
    reporters.close()
    assert writer.close(30)
    assert capfdbinary.readouterr().out == b"".join(b"one | %d\n" % number for number in range(1000))
