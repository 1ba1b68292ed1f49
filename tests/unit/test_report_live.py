"""The live view: what it draws, that it leaves the terminal as it was, and that it tears no line, on a real pty too."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import textwrap
import time

import pytest
from support.reporting import Stage

from taskrun.events import (
    RunCancel,
    RunEnd,
    RunStart,
    TaskEnd,
    TaskOutput,
    TaskProgress,
    TaskQueued,
    TaskStart,
)
from taskrun.report import Settings
from taskrun.report.live import fit
from taskrun.report.text import Ink, cells

PATIENCE = 30.0
LIVE = Settings(ui="live", output="failed", stdout_tty=True, stderr_tty=True, columns=60, width=60)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal as far as the live view uses one: rows of text, and a cursor that may be hidden."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0
        self.visible = True
        self.hides = 0

    def feed(self, text: str) -> None:
        for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", text):
            if part.startswith("\x1b["):
                self._obey(part[2:])
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
                self.column = 0
                if self.row == len(self.rows):
                    self.rows.append("")
            elif part:
                assert cells(part) + self.column <= self.columns, f"wrapped: {part!r}"
                row = self.rows[self.row]
                self.rows[self.row] = row[: self.column].ljust(self.column) + part + row[self.column + len(part) :]
                self.column += len(part)

    def _obey(self, sequence: str) -> None:
        match sequence:
            case "?25l":
                self.visible = False
                self.hides += 1
            case "?25h":
                self.visible = True
            case "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "J":
                assert self.column == 0
                del self.rows[self.row :]
                self.rows.append("")
            case _ if sequence.endswith("A"):
                self.row -= int(sequence[:-1])
                assert self.row >= 0, "moved above the first row"
            case _:
                assert sequence.endswith("m"), f"unexpected sequence {sequence!r}"

    @property
    def text(self) -> list[str]:
        return [row.rstrip() for row in self.rows]


def shown(stage, columns=60):
    terminal = Terminal(columns)
    for _fd, data in stage.sheet.written:
        terminal.feed(data.decode())
    return terminal


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path, LIVE)
    start(stage)
    return stage


def start(stage, tasks=12):
    names = tuple(f"task{number}" for number in range(tasks))
    stage.emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=4, tasks=names, folder=str(stage.folder)))


def test_nothing_is_drawn_for_the_first_half_second(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(0.49)
    assert stage.sheet.written == []
    stage.tick(0.02)
    assert stage.sheet.written != []


def test_the_area_shows_who_runs_how_far_and_the_counts(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.emit(TaskStart(task="task1", attempt=1, argv=("x",)))
    stage.emit(TaskQueued(task="task2"))
    stage.emit(TaskProgress(task="task0", attempt=1, fraction=0.61, eta=21, message="frame=1093 2.6x"))
    stage.emit(TaskOutput(task="task1", attempt=1, stream="stderr", data=b"old\nPUT part 4\r\x1b[1mPUT part 5"))
    stage.tick(12)
    terminal = shown(stage)
    assert terminal.text == [
        " running  task0  ━━━━━━────  61%     12s  eta 0:21  frame=…",
        " running  task1                      12s  PUT part 5",
        " [0/12] 2 running · 1 queued · 12s",
        "",
    ]
    assert terminal.visible
    assert terminal.hides == 1
    assert (terminal.row, terminal.column) == (3, 0)


def test_the_end_leaves_lines_and_a_cursor_and_nothing_else(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(1)
    stage.emit(TaskEnd(task="task0", attempt=1, state="succeeded", elapsed=1.0))
    stage.emit(RunEnd(exit_status=0, elapsed=1.0))
    stage.reporters.close()
    stage.reporters.close()
    terminal = shown(stage)
    assert terminal.text == ["      OK  [   1.000s] task0", " Summary  [     1.0s] 1 task: 1 ok", ""]
    assert terminal.visible


def test_it_is_drawn_ten_times_a_second_at_most_and_only_when_it_changed(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(1)
    for step in range(1000):  # ten seconds of very eager progress
        stage.now += 0.01
        stage.emit(TaskProgress(task="task0", attempt=1, fraction=step / 1000))
    assert len(stage.sheet.written) <= 102
    stage.sheet.written.clear()
    for _ in range(100):
        stage.tick(0.01)
    assert len(stage.sheet.written) <= 2  # the seconds have changed


def test_lines_go_above_the_area_and_wait_for_the_next_frame(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)), TaskStart(task="task1", attempt=1, argv=("x",)))
    stage.tick(1)
    frames = len(stage.sheet.written)
    stage.emit(TaskEnd(task="task1", attempt=1, state="succeeded", elapsed=0.5))
    assert len(stage.sheet.written) == frames
    stage.tick(0.1)
    assert shown(stage).text == [
        "      OK  [   0.500s] task1",
        " running  task0                       1s",
        " [1/12] 1 running · 1s",
        "",
    ]


def test_a_flood_of_lines_does_not_wait(tmp_path):
    stage = Stage(tmp_path, Settings(ui="live", output="stream", stdout_tty=True, stderr_tty=True, columns=100))
    start(stage)
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(1)
    for number in range(100):
        stage.emit(TaskOutput(task="task0", attempt=1, stream="stdout", data=b"%d\n" % number * 1000))
        assert stage.reporters.screen._waiting_bytes <= 64 << 10
    stage.emit(RunEnd(exit_status=0))
    lines = shown(stage, 100).text[:-2]
    assert lines == [f"task0 | {number}" for number in range(100) for _ in range(1000)]


def test_at_most_eight_tasks_have_a_row_and_fewer_on_a_low_terminal(stage):
    for number in range(12):
        stage.emit(TaskStart(task=f"task{number}", attempt=1, argv=("x",)))
    stage.tick(1)
    text = shown(stage).text
    assert [row.split()[1] for row in text[:8]] == [f"task{number}" for number in range(8)]
    assert text[8:] == ["          … and 4 more", " [0/12] 12 running · 1s", ""]
    view = next(one for one in stage.reporters._reporters if hasattr(one, "rows"))
    assert len(view.rows(stage.now, 60, 6)) == 3 + 1 + 1
    assert view.rows(stage.now, 60, 2) == [" [0/12] 12 running · 1s"]


def test_a_reader_that_is_behind_gets_no_frames(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.sheet.behind = True
    stage.tick(5)
    assert stage.sheet.written == []
    stage.sheet.behind = False
    stage.tick(0.1)
    assert stage.sheet.written != []


def test_suspending_gives_the_terminal_away_and_resuming_takes_it_back(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(1)
    stage.reporters.suspend()
    assert stage.sheet.held
    assert shown(stage).text == [""]
    assert shown(stage).visible
    written = len(stage.sheet.written)
    for _ in range(10):
        stage.tick(1)
    assert len(stage.sheet.written) == written
    stage.reporters.resume()
    stage.tick(1)
    assert not stage.sheet.held
    assert " running  task0" in shown(stage).text[0]


@pytest.mark.parametrize("end", ["suspend", "close"])
def test_whoever_gets_the_terminal_gets_a_cursor_and_no_colour(stage, end):
    """A key that sends a signal makes a terminal forget what it has not shown yet: here the second half of a frame."""
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(0.6)
    fd, frame = stage.sheet.written.pop()
    assert frame.startswith(b"\x1b[?25l\r running")
    stage.sheet.written.append((fd, frame[:18]))
    getattr(stage.reporters, end)()
    text = b"".join(data for _fd, data in stage.sheet.written)
    assert text.endswith(b"\x1b[0m\x1b[?25h")


def test_a_cancel_is_told_in_a_line_and_in_the_counts(stage):
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.tick(1)
    stage.emit(RunCancel(reason="SIGINT"))
    stage.tick(1)
    text = shown(stage).text
    assert text[0] == "Interrupted: stopping 1 task (Ctrl+C again to kill)"
    assert text[2].endswith("stopping")


def test_names_of_any_script_stay_in_their_row(tmp_path):
    stage = Stage(tmp_path, LIVE)
    start(stage)
    for name in ("日本語" * 20, "e\u0301" * 50, "x\x1b[2Jy\nz", "😀" * 40):
        stage.emit(TaskStart(task=name, attempt=1, argv=("x",)))
        stage.emit(TaskProgress(task=name, attempt=1, fraction=0.5, message="日本語のメッセージ" * 9))
    stage.tick(1)
    view = next(one for one in stage.reporters._reporters if hasattr(one, "rows"))
    for columns in range(20, 200):
        for row in view.rows(stage.now, columns, 24):
            assert cells(ESCAPES.sub("", row)) < columns
            assert ESCAPES.sub("", row).isprintable()


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_jobs_of_one_task_are_told_apart_on_any_terminal(tmp_path, columns):
    stage = Stage(tmp_path, LIVE)
    start(stage)
    for job in (8, 11):
        stage.emit(
            TaskStart(task=f"make-the-thumbnails-of-all-pictures-of-an-album-again#{job}", attempt=1, argv=("x",))
        )
    stage.tick(1)
    view = next(one for one in stage.reporters._reporters if hasattr(one, "rows"))
    first, second, *_ = (ESCAPES.sub("", row) for row in view.rows(stage.now, columns, 24))
    assert "#8" in first
    assert "#11" in second


def test_a_terminal_that_becomes_narrower_keeps_no_rest_of_the_area(tmp_path):
    size = [60]
    settings = Settings(ui="live", output="failed", stderr_tty=True, width=60)
    stage = Stage(tmp_path, settings)
    view = next(one for one in stage.reporters._reporters if hasattr(one, "rows"))
    view._size = lambda: (size[0], 24)
    start(stage)
    stage.emit(TaskStart(task="task0", attempt=1, argv=("x",)))
    stage.emit(TaskProgress(task="task0", attempt=1, fraction=0.5, message="m" * 80))
    stage.tick(1)
    stage.sheet.written.clear()
    size[0] = 30
    stage.tick(1)
    # The first row was 59 cells wide and takes two rows of 30 now, the counts one.
    assert stage.sheet.written[0][1] == b"\r\x1b[3A\x1b[J"
    size[0] = 10
    stage.tick(1)
    assert not stage.reporters.screen._area
    size[0] = 60
    stage.tick(1)
    assert stage.reporters.screen._area


def test_rows_are_cut_with_their_colours_closed():
    ink = Ink(colour=True, unicode=True)
    assert fit([("good", "abc"), ("", "def"), ("bad", "ghi")], 7, ink) == "\x1b[32mabc\x1b[0mdef\x1b[1;31m…\x1b[0m"
    assert fit([("good", "abc"), ("bad", "ghi")], 3, ink) == "\x1b[32mabc\x1b[0m"


# --- on a real pseudo-terminal

DRIVER = """
    import os, sys, time
    from taskrun.events import *
    from taskrun.report import *

    writer = Writer()
    settings = decide(
        Options(output="stream"), {**os.environ, "TERM": "xterm"}, stdout_tty=True, stderr_tty=True,
        terminal_width=os.get_terminal_size(2).columns,
    )
    reporters = make_reporters(settings, writer)
    seq = 0
    def emit(event):
        global seq
        seq += 1
        reporters.handle(Stamped(seq=seq, ts=1.0, run="r", event=event))
    names = tuple(f"task{n}" for n in range(6))
    emit(RunStart(taskrun="0", file="f", argv=(), cwd="/", jobs=4, tasks=names, folder=None))
    for name in names:
        emit(TaskStart(task=name, attempt=1, argv=("x",)))
    for step in range(1, 121):
        for name in names:
            emit(TaskProgress(task=name, attempt=1, fraction=min(1.0, step / 150), message="m" * (step % 90)))
        reporters.tick(time.monotonic())
        if step == 60:
            reporters.suspend()
            writer.flush(5)
            os.write(2, b"SOMEBODY ELSE\\n")
            reporters.resume()
        if step % 40 == 0:
            emit(TaskOutput(task="task5", attempt=1, stream="stdout", data=b"0123456789" * 3 + b"\\x1b[2J\\n"))
        time.sleep(0.012)
    for name in names:
        emit(TaskEnd(task=name, attempt=1, state="failed" if name == "task5" else "succeeded", elapsed=1.5))
    emit(RunEnd(exit_status=1, elapsed=1.5, first_cause="task5"))
    reporters.close()
    assert writer.close(25)
"""


def run_driver(columns, *, resize=False, environ=None):
    """Runs the driver in a pseudo-terminal and returns what it wrote."""
    main, other = os.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    before = termios.tcgetattr(other)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environ or {})},
    )
    written = bytearray()
    deadline = time.monotonic() + PATIENCE
    sizes = 0
    try:
        while process.poll() is None or select.select([main], [], [], 0)[0]:
            assert time.monotonic() < deadline, "the driver hangs"
            if resize and sizes < 100:
                sizes += 1
                width = columns if sizes == 100 else 25 + sizes * 7 % 100
                fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            if select.select([main], [], [], 0.01)[0]:
                try:
                    written += os.read(main, 65536)
                except OSError:  # EIO: nobody has it open any more
                    break
        assert process.wait(PATIENCE) == 0, written.decode()
        assert termios.tcgetattr(other) == before
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(main)
        os.close(other)
    return written.decode().replace("\r\n", "\n")


def check_driver_output(text):
    assert text.rfind("\x1b[?25l") <= text.rfind("\x1b[?25h")
    assert "\x1b[2J" not in text
    assert "\x1b[?1049" not in text
    plain = ESCAPES.sub("", text).replace("\r", "")
    assert plain.endswith("6 tasks: 5 ok, 1 failed\n")
    assert len(re.findall(r"^SOMEBODY ELSE$", plain, re.MULTILINE)) == 1
    whole = [line for line in plain.split("\n") if "0123456789" in line and not line.startswith(" running")]
    assert len(whole) >= 2
    assert set(whole) <= {"task5 | " + "0123456789" * 3, "          | " + "0123456789" * 3}


def test_a_real_terminal_is_left_as_it_was():
    text = run_driver(80)
    check_driver_output(text)
    assert 5 <= text.count("\x1b[?25l") <= 121
    terminal = Terminal(80)
    terminal.feed(text)
    assert terminal.visible
    assert [row for row in terminal.text if not row.startswith("task5 | ")][:2] == [
        "SOMEBODY ELSE",
        "      OK  [   1.500s] task0",
    ]
    assert "running" not in "\n".join(terminal.text)


def test_a_storm_of_new_sizes_tears_no_line():
    check_driver_output(run_driver(80, resize=True))


def test_a_terminal_of_one_column_gets_plain_lines():
    text = run_driver(80, environ={"COLUMNS": "1"})
    check_driver_output(text)
    assert "\x1b[?25l" not in text
    assert "\x1b[J" not in text
    assert " START" in ESCAPES.sub("", text)
