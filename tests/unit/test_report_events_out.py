"""The stream of events: whole lines of JSON, numbered, decoded piece by piece, and always ended by run.end."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reporting import Sheet, Stage

from taskrun.events import DiagnosticEvent, RunEnd, RunStart, Stamped, TaskEnd, TaskOutput, TaskStart
from taskrun.model import Diagnostic, UsageError
from taskrun.report import Options, Writer, decide, open_events
from taskrun.report.events_out import EventLines


def stamped(event, seq=1):
    return Stamped(seq=seq, ts=1_700_000_000.25, run="r1", event=event)


def read(sheet, fd=1):
    return [json.loads(line) for line in sheet.bytes(fd).split(b"\n")[:-1]]


def test_every_line_is_one_write_and_one_object(tmp_path):
    settings = decide(Options(events="-", ui="plain"), {})
    stage = Stage(tmp_path, settings, events_fd=1)
    stage.emit(RunStart(taskrun="0", file="f", argv=("run",), cwd="/", jobs=1, tasks=("one",)))
    stage.emit(TaskStart(task="one", attempt=1, argv=("x",)))
    stage.emit(TaskOutput(task="one", attempt=1, stream="stdout", data=b"to stderr\n"))
    stage.emit(TaskEnd(task="one", attempt=1, state="failed", reason="exit 1"))
    stage.emit(RunEnd(exit_status=1))
    stage.reporters.close()
    assert all(data.count(b"\n") == 1 and data.endswith(b"\n") for fd, data in stage.sheet.written if fd == 1)
    events = read(stage.sheet)
    assert [event["event"] for event in events] == ["run.start", "task.start", "task.end", "run.end"]
    assert events[0] | {"v": 1, "seq": 1, "ts": "2023-11-14T22:13:20.000Z", "run": "r1"} == events[0]
    assert "one | to stderr" in stage.sheet.text(2)


def test_a_refused_file_has_its_mistakes_and_its_end():
    sheet = Sheet()
    lines = EventLines(sheet, 1)
    lines.handle(stamped(DiagnosticEvent(diagnostic=Diagnostic(code="c", message="m"))))
    lines.handle(stamped(RunEnd(exit_status=2), 2))
    lines.close()
    assert [event["event"] for event in read(sheet)] == ["diagnostic", "run.end"]


def test_nothing_comes_after_the_end():
    sheet = Sheet()
    lines = EventLines(sheet, 1, with_output=True)
    lines.handle(stamped(RunEnd(exit_status=0)))
    lines.handle(stamped(TaskStart(task="late", attempt=1), 2))
    lines.handle(stamped(TaskOutput(task="late", attempt=1, stream="stdout", data=b"x"), 3))
    assert len(read(sheet)) == 1


@given(st.binary(max_size=60), st.integers(1, 5))
def test_output_is_decoded_however_it_was_cut(data, size):
    sheet = Sheet()
    lines = EventLines(sheet, 1, with_output=True)
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        for stream in ("stdout", "stderr"):
            lines.handle(stamped(TaskOutput(task="one", attempt=1, stream=stream, data=piece)))
    events = read(sheet)
    whole = data.decode(errors="replace")
    for stream in ("stdout", "stderr"):
        text = "".join(event["text"] for event in events if event["stream"] == stream)
        # A character cut short by the end of the stream is not waited for.
        assert whole.startswith(text)
        assert len(whole) - len(text) <= 3
    assert len(events) == 2 * len(range(0, len(data), size))


def test_a_new_attempt_has_decoders_of_its_own():
    sheet = Sheet()
    lines = EventLines(sheet, 1, with_output=True)
    lines.handle(stamped(TaskOutput(task="one", attempt=1, stream="stdout", data=b"\xc3")))
    lines.handle(stamped(TaskEnd(task="one", attempt=1, state="failed")))
    lines.handle(stamped(TaskOutput(task="one", attempt=2, stream="stdout", data=b"\xa9")))
    assert [event["text"] for event in read(sheet) if event["event"] == "task.output"] == ["", "\ufffd"]


def test_it_opens_what_it_is_told_to(tmp_path):
    assert open_events("-") == 1
    path = tmp_path / "events.jsonl"
    path.write_text("old")
    fd = open_events(str(path))
    assert not os.get_inheritable(fd)
    writer = Writer()
    lines = EventLines(writer, fd)
    lines.handle(stamped(RunEnd(exit_status=0)))
    lines.close()
    lines.close()
    assert writer.close(20)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert json.loads(path.read_text())["event"] == "run.end"


def test_a_descriptor_is_taken_if_it_was_inherited_and_can_be_written():
    read_end, write_end = os.pipe()
    with pytest.raises(UsageError, match="Bad file descriptor"):
        open_events(f"fd:{write_end}")  # one that was opened in this process, as the socket to the host is
    os.set_inheritable(read_end, True)
    with pytest.raises(UsageError, match="Bad file descriptor"):
        open_events(f"fd:{read_end}")
    os.set_inheritable(write_end, True)
    assert open_events(f"fd:{write_end}") == write_end
    assert not os.get_inheritable(write_end)
    assert open_events(f"fd:{write_end}") == write_end  # the stream of a run that is refused later
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize("target", ["/no/such/folder/x", "/", "fd:x", "fd:9999", "fd:99999999999999999999", "fd:-1"])
def test_what_cannot_be_written_is_a_mistake_of_usage(target):
    with pytest.raises(UsageError, match=f"--events {target}: "):
        open_events(target)
