"""The last lines of tasks: right, whole, and kept for little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.events import Stamped, TaskEnd, TaskOutput, TaskRetry, TaskStart
from taskrun.report.tails import LINES, Tails


def feed(tails, *events):
    for event in events:
        tails.handle(Stamped(seq=1, ts=0.0, run="r", event=event))


def out(data, stream="stdout", task="one", attempt=1):
    return TaskOutput(task=task, attempt=attempt, stream=stream, data=data)


def failed(task="one", attempt=1):
    return TaskEnd(task=task, attempt=attempt, state="failed")


@given(st.lists(st.text(alphabet="abé ", max_size=8), max_size=30), st.integers(1, 9), st.booleans())
def test_the_last_lines_are_those_of_the_output(lines, size, ended):
    data = "\n".join(lines).encode() + (b"\n" if ended and lines else b"")
    tails = Tails()
    feed(tails, *(out(data[at : at + size]) for at in range(0, len(data), size)), failed())
    whole = data.decode().split("\n")
    if whole[-1] == "":
        whole.pop()
    tail = tails.of_failed("one")
    assert list(tail.lines) == whole[-LINES:]
    assert (tail.total, tail.counted) == (len(whole), True)


def test_lines_of_both_streams_stay_whole():
    tails = Tails()
    feed(tails, out(b"out 1\nout"), out(b"err 1\nerr", "stderr"), out(b" 2\n"), out(b" 2\n", "stderr"), failed())
    assert tails.of_failed("one").lines == ("out 1", "err 1", "out 2", "err 2")


def test_what_came_before_the_start_was_told_is_not_lost():
    tails = Tails()
    feed(tails, out(b"early\n"), TaskStart(task="one", attempt=1), out(b"late\n"), failed())
    assert tails.of_failed("one").lines == ("early", "late")


def test_each_attempt_has_a_tail_of_its_own():
    tails = Tails()
    feed(tails, out(b"first\n"), TaskRetry(task="one", attempt=1, why="exit 1", delay=0))
    feed(tails, out(b"second\n", attempt=2), failed(attempt=2))
    assert tails.of_failed("one").lines == ("second",)


def test_gigabytes_are_not_kept_and_not_counted():
    tails = Tails()
    data = b"x" * 65535 + b"\n"
    tracemalloc.start()
    try:
        for number in range(1000):
            feed(tails, out(data + b"%d" % number))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    feed(tails, failed())
    tail = tails.of_failed("one")
    assert tail.total < 100
    assert not tail.counted
    assert tail.lines[0].startswith("…")
    assert tail.lines[-1] == "999"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ""),
        (b"one\ntwo\n", "two"),
        (b"done\n\n  \n", "done"),
        (b"10%\r20%\r", "20%"),
        (b"\x1b[31mred\x1b[0m \x1b[K", "red"),
        (b"bad \xff", "bad \ufffd"),
        (b"x" * 5000, "x" * 2048),
    ],
)
def test_the_last_line_of_a_running_task(data, expected):
    tails = Tails()
    feed(tails, out(data))
    assert tails.last_line("one") == expected
    assert tails.last_line("unknown") == ""


def test_only_so_many_failures_keep_their_tail():
    tails = Tails()
    for number in range(1000):
        feed(tails, out(b"x\n", task=f"t{number}"), failed(f"t{number}"))
    assert tails.of_failed("t0") is not None
    assert tails.of_failed("t999") is None
    assert len(tails._failed) < 20
    assert tails._running == {}


def test_a_traceback_that_is_told_by_itself_is_not_among_the_last_lines():
    traceback = "Traceback (most recent call last):\n" + "".join(f"  line {number}\n" for number in range(20))
    tails = Tails()
    end = TaskEnd(task="one", attempt=1, state="failed", detail=traceback)
    feed(tails, out(b"before\nhalf"), out(traceback.encode(), "stderr"), end)
    tail = tails.of_failed("one")
    assert (tail.lines, tail.total) == (("before", "half"), 2)


def test_a_traceback_that_the_program_printed_itself_stays():
    tails = Tails()
    feed(tails, out(b"Traceback\n", "stderr"), TaskEnd(task="one", attempt=1, state="failed"))
    assert tails.of_failed("one").lines == ("Traceback",)


def test_of_a_workers_stack_only_the_users_part_is_shown():
    stack = b"""printed
Fatal Python error: Segmentation fault

Current thread 0x00007f1c8a7b1740 (most recent call first):
  File "/p/m.py", line 7 in segv
  File "/p/taskrun/worker/work.py", line 120 in _carry_out
  File "/venv/bin/taskrun", line 8 in <module>

  File "/p/taskrun/host/mine.py", line 1 in theirs
Extension modules: msgspec._core (total: 1)
"""
    tails = Tails()
    feed(tails, *(out(line, "stderr") for line in stack.splitlines(keepends=True)), failed())
    tail = tails.of_failed("one")
    assert "\n".join(tail.lines).encode() + b"\n" == stack.replace(
        b"""  File "/p/taskrun/worker/work.py", line 120 in _carry_out\n  File "/venv/bin/taskrun", line 8 in <module>\n""",
        b"",
    )
    assert tail.total == 8
