"""What tasks write, in every mode: each line once, whole and in order, whatever the pieces; bounded in memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.reporting import Stage

from taskrun.events import RunEnd, RunStart, TaskEnd, TaskOutput, TaskRetry, TaskStart
from taskrun.report import Settings, TaskFacts
from taskrun.report.kept import Reads, Spool


def out(task, data, stream="stdout", attempt=1):
    return TaskOutput(task=task, attempt=attempt, stream=stream, data=data)


def begin(stage, *tasks, folder=True):
    stage.emit(
        RunStart(
            taskrun="0.1", file="tasks.toml", argv=("run",), cwd=stage.cwd, jobs=2, tasks=tasks,
            folder=str(stage.folder) if folder else None,
        )
    )  # fmt: skip


def end(stage, task, state="succeeded", attempt=1, *, log=True, **more):
    stage.emit(TaskEnd(task=task, attempt=attempt, state=state, log=stage.log(task, attempt) if log else None, **more))


def finish(stage):
    stage.emit(RunEnd(exit_status=0))
    stage.reporters.close()


line = st.one_of(
    st.binary(max_size=30).map(lambda data: data.translate(None, b"\n\r\b\x1b")),
    st.text(alphabet="aé日\u0301 |", max_size=10).map(str.encode),
    st.sampled_from([b"", b"\x1b[31mred\x1b[0m", b"10%\r20%", b"dos\r", b"\xff\xfe", b"::error::x", b"x" * 3000]),
)


@st.composite
def stories(draw):
    """Lines of several tasks' streams, and a random interleaving of their pieces."""
    streams = {}
    for task in ("one", "two[x=é]", "three"):
        for stream in ("stdout", "stderr"):
            lines = draw(st.lists(line, max_size=6))
            data = b"".join(
                b"%s%s%d:%s\n" % (task[0].encode(), stream[3:4].encode(), n, x) for n, x in enumerate(lines)
            )
            if data and draw(st.booleans()):
                data = data[:-1]
            streams[task, stream] = data
    rest = dict(streams)
    pieces = []
    while any(rest.values()):
        key = draw(st.sampled_from([key for key, data in rest.items() if data]))
        size = draw(st.integers(1, 40))
        pieces.append((*key, rest[key][:size]))
        rest[key] = rest[key][size:]
    return streams, pieces


def expected_lines(data: bytes) -> list[str]:
    """By the line, the slow way, what should be shown."""
    lines = data.decode(errors="replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    shown = [one.rstrip("\r").rsplit("\r", 1)[-1].replace("\x1b[31m", "").replace("\x1b[0m", "") for one in lines]
    return [one for one in shown if not one.startswith("::taskrun ")]


def play(stage, pieces, states):
    begin(stage, *states)
    for task in states:
        stage.emit(TaskStart(task=task, attempt=1))
    for task, stream, data in pieces:
        stage.emit(out(task, data, stream))
    for task, state in states.items():
        wrote = any(one == task for one, _stream, _data in pieces)
        end(stage, task, state, log=wrote)
    finish(stage)


@given(stories())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_labelled_lines_are_whole_and_in_order_per_stream(story):
    streams, pieces = story
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), Settings(ui="none", output="stream"))
        play(stage, pieces, dict.fromkeys(("one", "two[x=é]", "three"), "succeeded"))
        for fd, stream in ((1, "stdout"), (2, "stderr")):
            text = stage.sheet.text(fd)
            assert not text or text.endswith("\n")
            lines = text.split("\n")[:-1]
            for task in ("one", "two[x=é]", "three"):
                mark = f"{task} | "
                own = [one.removeprefix(mark) for one in lines if one.startswith(mark)]
                assert own == expected_lines(streams[task, stream])
            assert all(one.startswith(("one | ", "two[x=é] | ", "three | ")) for one in lines)


@given(stories(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_groups_are_in_one_piece_and_whole(story, logged):
    streams, pieces = story
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), Settings(ui="none", output="group"), about=lambda _task: TaskFacts(logged=logged))
        play(stage, pieces, dict.fromkeys(("one", "two[x=é]", "three"), "succeeded"))
        for fd, stream in ((1, "stdout"), (2, "stderr")):
            expected = [one for task in ("one", "two[x=é]", "three") for one in expected_lines(streams[task, stream])]
            assert stage.sheet.text(fd).split("\n")[:-1] == expected


@given(stories())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_only_failed_tasks_output_is_shown_where_that_is_asked_for(story):
    streams, pieces = story
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), Settings(ui="none", output="failed", status_fd=2, stderr_fd=1))
        play(stage, pieces, {"one": "succeeded", "two[x=é]": "timed-out", "three": "cancelled"})
        lines = stage.sheet.text(1).split("\n")[:-1]
        for stream in ("stdout", "stderr"):
            own = [one for one in lines if one.startswith(f"t{stream[3]}")]
            assert own == [one for one in expected_lines(streams["two[x=é]", stream]) if one.startswith("t")]
        assert not [one for one in lines if one.startswith(("oo", "oe"))]


@given(st.lists(st.binary(max_size=50), max_size=20), st.lists(st.binary(max_size=50), max_size=5))
@settings(deadline=None)
def test_the_one_task_named_is_passed_byte_for_byte(stdout, stderr):
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), Settings(ui="none", output="failed", named="one", exact=True, stdout_fd=2))
        begin(stage, "one")
        stage.emit(TaskStart(task="one", attempt=1))
        for data in stdout:
            stage.emit(out("one", data))
        for data in stderr:
            stage.emit(out("one", data, "stderr"))
        end(stage, "one")
        finish(stage)
        assert stage.sheet.bytes(1) == b"".join(stdout)
        assert stage.sheet.bytes(2) == b"".join(stderr)


def test_the_named_tasks_stderr_and_status_lines_do_not_tear_each_other(tmp_path):
    stage = Stage(tmp_path, Settings(ui="plain", output="failed", named="one", exact=True, stdout_fd=2))
    begin(stage, "one", "two")
    stage.emit(TaskStart(task="one", attempt=1, argv=("gen",)))
    stage.emit(out("one", b"data without end"))
    stage.emit(out("one", b"warning: par", "stderr"))
    stage.emit(TaskStart(task="two", attempt=1, argv=("x",)))
    stage.emit(out("one", b"tial\nrest", "stderr"))
    end(stage, "one", elapsed=1.0)
    finish(stage)
    assert stage.sheet.bytes(1) == b"data without end"
    assert stage.sheet.text(2).split("\n") == [
        "   START  one  gen",
        "   START  two  x",
        "warning: partial",
        "rest",
        "      OK  [   1.000s] one",
        " Summary  [     0.0s] 1 task: 1 ok",
        "",
    ]


def test_what_the_named_task_needs_goes_to_stderr_if_it_fails(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="failed", named="one", exact=True, stdout_fd=2))
    begin(stage, "dep", "bad", "one")
    for task in ("dep", "bad"):
        stage.emit(TaskStart(task=task, attempt=1))
        stage.emit(out(task, f"{task} says\n".encode()))
    end(stage, "dep")
    end(stage, "bad", "failed", reason="exit 1")
    assert stage.sheet.bytes(1) == b""
    assert stage.sheet.bytes(2) == b"bad says\n"


def test_a_tasks_own_mode_holds_unless_the_user_says_otherwise(tmp_path):
    facts = {"loud": "stream", "shy": "none", "all": "group"}
    for forced, expected in ((False, ["loud | x", "x"]), (True, [])):
        stage = Stage(
            tmp_path / str(forced),
            Settings(ui="none", output="none" if forced else "failed", forced=forced),
            about=lambda task: TaskFacts(output=facts.get(task)),
        )
        begin(stage, *facts, "plain")
        for task in (*facts, "plain"):
            stage.emit(TaskStart(task=task, attempt=1), out(task, b"x\n"))
            end(stage, task)
        assert stage.sheet.text(1).split("\n")[:-1] == expected


def test_attempts_that_are_retried_are_groups_but_no_failures(tmp_path):
    for mode, expected in (("group", "first\nsecond\n"), ("failed", "second\n")):
        stage = Stage(tmp_path / mode, Settings(ui="none", output=mode))
        begin(stage, "one")
        stage.emit(TaskStart(task="one", attempt=1), out("one", b"first\n"))
        stage.emit(TaskRetry(task="one", attempt=1, why="exit 75", delay=1.0, log=stage.log("one", 1)))
        stage.emit(TaskStart(task="one", attempt=2), out("one", b"second\n", attempt=2))
        end(stage, "one", "failed", attempt=2)
        assert stage.sheet.text(1) == expected


def test_what_was_held_back_is_shown_when_the_run_ends_early(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="stream"))
    begin(stage, "one", "two")
    stage.emit(TaskStart(task="one", attempt=1), out("one", b"half a line"))
    stage.emit(RunEnd(exit_status=130, signal=2))
    assert stage.sheet.text(1) == "one | half a line\n"
    stage = Stage(tmp_path, Settings(ui="none", output="group"), about=lambda _task: TaskFacts(logged=False))
    begin(stage, "one")
    stage.emit(TaskStart(task="one", attempt=1), out("one", b"spooled"))
    stage.emit(RunEnd(exit_status=130, signal=2))
    assert stage.sheet.text(1) == "spooled\n"


def test_a_run_without_a_record_still_has_its_groups(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="group"))
    begin(stage, "one", folder=False)
    stage.emit(TaskStart(task="one", attempt=1), out("one", b"kept\n"))
    end(stage, "one", log=False)
    assert stage.sheet.text(1) == "kept\n"


def test_a_log_that_is_gone_is_told_and_nothing_else_happens(tmp_path):
    stage = Stage(tmp_path, Settings(ui="none", output="group"))
    begin(stage, "one", "two")
    stage.emit(TaskStart(task="one", attempt=1), out("one", b"x\n"))
    os.unlink(stage.folder / stage.log("one"))
    end(stage, "one")
    stage.emit(TaskStart(task="two", attempt=1), out("two", b"y\n"))
    end(stage, "two", log=False)
    assert stage.sheet.text(2).split("\n")[:-1] == [
        "taskrun: warning: the output of one cannot be shown: No such file or directory",
        "taskrun: warning: the output of two cannot be shown: nothing of it was kept",
    ]


def test_a_capped_log_is_read_by_whoever_knows_its_form(tmp_path):
    asked = []

    def read_log(path):
        asked.append(path)
        yield "stdout", b"head\n"
        yield "stderr", b"tail\n"

    stage = Stage(tmp_path, Settings(ui="none", output="group"), read_log=read_log)
    begin(stage, "one")
    stage.emit(TaskStart(task="one", attempt=1), out("one", b"head\n" * 1000))
    (stage.folder / stage.log("one")).write_bytes(b"head\n(4,000 bytes left out)\ntail\n")
    end(stage, "one")
    assert asked == [str(stage.folder / stage.log("one"))]
    assert (stage.sheet.text(1), stage.sheet.text(2)) == ("head\n", "tail\n")


@pytest.mark.parametrize("mode", ["stream", "group", "failed", "none"])
def test_memory_stays_bounded_whatever_is_written(tmp_path, mode):
    stage = Stage(tmp_path, Settings(ui="none", output=mode))
    # What is written is not kept, as with the real writer once it has written.
    stage.sheet.write = lambda fd, *pieces: None
    begin(stage, "one")
    stage.emit(TaskStart(task="one", attempt=1))
    data = b"x" * 65536
    tracemalloc.start()
    try:
        for number in range(400):
            stage.emit(out("one", data, "stderr" if number % 2 else "stdout"))
        end(stage, "one", "failed", reason="exit 1")
        finish(stage)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [Reads, Spool])
def test_streams_that_take_turns_for_ever_take_no_memory_for_ever(tmp_path, kind):
    log = tmp_path / "log"
    kept = kind()
    expected = {"stdout": b"", "stderr": b""}
    with log.open("wb") as file:
        for number in range(30_000):
            stream = "stderr" if number % 2 else "stdout"
            data = b"%d\n" % (number % 10)
            kept.add(stream, data)
            file.write(data)
            expected[stream] += data
    if kind is Reads:
        assert len(kept._lengths) <= 8192
    read = {"stdout": bytearray(), "stderr": bytearray()}
    for stream, data in kept.pieces(str(log), lambda _path: pytest.fail("it knows the streams itself")):
        read[stream] += data
    assert read == expected
