"""Numbers, names and widths as people read them."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.report import text


@pytest.mark.parametrize(
    ("seconds", "short", "watch"),
    [
        (0, "0.0s", "[   0.000s]"),
        (0.0004, "0.0s", "[   0.000s]"),
        (3.02, "3.0s", "[   3.020s]"),
        (41.213, "41.2s", "[  41.213s]"),
        (59.96, "1m00.0s", "[  59.960s]"),
        (62.4, "1m02.4s", "[  1m02.4s]"),
        (3599.96, "1h00m00s", "[ 1h00m00s]"),
        (7384, "2h03m04s", "[ 2h03m04s]"),
    ],
)
def test_times(seconds, short, watch):
    assert text.short_time(seconds) == short
    assert text.stopwatch(seconds) == watch


def test_rough_and_remaining_times():
    assert [text.rough_time(s) for s in (0, 59.9, 60, 3599, 3660)] == ["0s", "59s", "1m00s", "59m59s", "1h01m"]
    assert [text.clock_time(s) for s in (-1, 0, 20.6, 61, 3723)] == ["0:00", "0:00", "0:21", "1:01", "1:02:03"]


def test_percent_never_says_more_than_there_is():
    assert [text.percent(f) for f in (0, 0.29, 0.999, 1)] == ["0%", "29%", "99%", "100%"]


def test_counts():
    assert text.count(1, "task") == "1 task"
    assert text.count(10_000, "task") == "10,000 tasks"
    assert text.count(2, "process", "processes") == "2 processes"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("build", "taskrun run build"),
        ("encode[clip=in/a.mov]", "taskrun run encode clip=in/a.mov"),
        ("encode[clip=in/a b.mov,size=3]", "taskrun run encode clip='in/a b.mov' size=3"),
        ("t[x=a,b]", "taskrun run 't[x=a,b]'"),
        ("t[x=*.mov]", "taskrun run t x='[*].mov'"),
        ("t[x=a=b]", "taskrun run t x=a=b"),
    ],
)
def test_the_command_that_runs_a_task_again(task, expected):
    assert text.rerun_command(task) == expected


@given(st.text())
def test_what_is_visible_holds_nothing_that_a_terminal_obeys(any_text):
    shown = text.visible(any_text)
    assert shown.isprintable()
    assert any_text.isprintable() <= (shown == any_text)


@pytest.mark.parametrize(
    ("label", "room", "short"),
    [
        ("transcode#12", 12, "transcode#12"),
        ("transcode#12", 11, "transco…#12"),
        ("transcode[clip=a#1]#12", 14, "transcode[…#12"),
        ("transcode#12", 4, "tra…"),
        ("transcode[clip=a#1]", 10, "transcode…"),
        ("transcode", 6, "trans…"),
    ],
)
def test_of_a_task_of_a_job_the_jobs_number_stays(label, room, short):
    assert text.shorten_label(label, room) == short


@given(st.text(alphabet="aé日\u0301x😀 "), st.integers(0, 30))
def test_shortened_text_fits(any_text, room):
    short = text.shorten(any_text, room)
    assert text.cells(short) <= room
    if text.cells(any_text) <= room:
        assert short == any_text


def test_cells_of_wide_characters_and_marks():
    assert [text.cells(x) for x in ("abc", "日本", "é", "e\u0301", "😀", "")] == [3, 4, 1, 1, 2, 0]


@given(st.lists(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1), min_size=1))
def test_a_command_can_be_typed_as_it_is_shown(argv):
    assert shlex.split(text.shell_words(argv)) == argv


def test_ink_adds_colours_and_nothing_else():
    ink = text.Ink(colour=True, unicode=True)
    assert ink.paint("bad", "x") == "\x1b[1;31mx\x1b[0m"
    assert ink.paint("bad", "") == ""
    assert ink.word("good", "OK") == "      \x1b[32mOK\x1b[0m"
    assert text.Ink(colour=False, unicode=False).word("good", "OK") == "      OK"
