"""Promises of the progress channel: every documented line means what it says, and garbage is named, never fatal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.output.protocol import MARK, Channel, Scanner, parse
from taskrun.output.samples import Message, Output, Phase, Sample, Status, Step, Total, Unknown
from taskrun.output.splitter import LONGEST


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("progress 3/10", Sample(current=3, total=10)),
        ("progress 3/10 copying a.mov", Sample(current=3, total=10, message="copying a.mov")),
        ("progress 2.5/10", Sample(current=2.5, total=10)),
        ("progress 42%", Sample(fraction=0.42)),
        ("progress 42.5% done", Sample(fraction=0.425, message="done")),
        ("progress 0.42", Sample(fraction=0.42)),
        ("progress 1", Sample(fraction=1.0)),
        ("progress .5", Sample(fraction=0.5)),
        ("progress -", Sample()),
        ("progress - waiting", Sample(message="waiting")),
        ("  progress   7/9   two  words ", Sample(current=7, total=9, message="two  words")),
        ("status", Status(text="")),
        ("status waiting for the server", Status(text="waiting for the server")),
        ("phase 2/3 encode", Phase(number=2, count=3, name="encode")),
        ("phase 2", Phase(number=2)),
        ("total 300", Total(total=300)),
        ("step", Step()),
        ("step 4", Step(amount=4)),
        ("warn disk is slow", Message(level="warning", text="disk is slow")),
        ("warning disk is slow", Message(level="warning", text="disk is slow")),
        ("error [file=src/a b.c,line=3] no ;", Message(level="error", text="no ;", file="src/a b.c", line=3)),
        ("error file=src/a.c,line=3 no ;", Message(level="error", text="no ;", file="src/a.c", line=3)),
        ("notice [file=x] look", Message(level="notice", text="look", file="x")),
        ("notice file not found", Message(level="notice", text="file not found")),
        ("output frames=300", Output(key="frames", value="300")),
        ("output path=a=b c", Output(key="path", value="a=b c")),
        ("output empty=", Output(key="empty", value="")),
    ],
)
def test_a_line_means_what_the_reference_says(line: str, said: object):
    assert parse(line) == (said,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"progress": 0.42, "message": "hi"}', (Sample(fraction=0.42, message="hi"),)),
        ('{"progress": "3/10"}', (Sample(current=3, total=10),)),
        ('{"progress": null}', (Sample(),)),
        ('{"current": 3, "total": 10}', (Sample(current=3, total=10),)),
        ('{"progress": 0.3, "current": 3, "total": 10}', (Sample(fraction=0.3, current=3, total=10),)),
        ('{"total": 300}', (Total(total=300),)),
        ('{"step": 2}', (Step(amount=2),)),
        ('{"status": "busy"}', (Status(text="busy"),)),
        (
            '{"phase": 2, "phases": 3, "name": "b", "progress": 0}',
            (Phase(number=2, count=3, name="b"), Sample(fraction=0)),
        ),
        ('{"warn": "w", "file": "f", "line": 2}', (Message(level="warning", text="w", file="f", line=2),)),
        (
            '{"output": {"a": [1, {"b": null}], "c": "d"}}',
            (Output(key="a", value=[1, {"b": None}]), Output(key="c", value="d")),
        ),
        ('{"progress": 0.5, "unknown": 1}', (Sample(fraction=0.5),)),
    ],
)
def test_an_object_may_say_several_things(line: str, said: tuple[object, ...]):
    assert parse(line) == said


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "progress",
        "progress 42",
        "progress 3/",
        "progress x",
        "progress 1e400",
        "progress " + "9" * 400 + "/3",
        "progress nan",
        "progress \u0663/\u0664",
        "progress -3%",
        "phase x",
        "phase 1/2/3",
        "phase " + "9" * 30,
        "total",
        "total x",
        "total inf",
        "total -1",
        "step x",
        "step -1",
        "output",
        "output novalue",
        "output =x",
        "output a b=c",
        "{",
        "{}",
        '{"progress": 2}',
        '{"progress": true}',
        '{"progress": [1]}',
        '{"current": -1}',
        '{"current": 1' + "0" * 400 + "}",
        '{"message": 3}',
        '{"phase": "x"}',
        '{"phase": 1.5}',
        '{"output": [1]}',
        '{"foo": 1}',
        '{"a":' * 5000,
        "\x1b[2J\x1b[31m",
    ],
)
def test_garbage_is_named_in_one_harmless_line(line: str):
    (said,) = parse(line)
    assert isinstance(said, Unknown)
    assert said.why
    assert "\x1b" not in said.line
    assert len(said.line) <= 500


@given(st.text())
def test_parsing_never_raises(line: str):
    parse(line)
    for word in ("progress", "phase", "output", "error", "step", "total"):
        parse(f"{word} {line}")


def test_an_empty_line_says_nothing():
    assert parse("") == parse("   \r") == ()


def test_texts_for_people_are_made_harmless():
    assert parse("status \x1b]0;title\x07evil\x1b[2J") == (Status(text="evil"),)


# --- the channel ------------------------------------------------------------------------------------------------------


def test_the_channel_cuts_lines_in_any_pieces():
    data = b"progress 1/3 a\nprogress 2/3\r\n\nstatus caf\xc3\xa9\nstatus \xff\nlast"
    for size in range(1, len(data)):
        channel, lines = Channel(), []
        for at in range(0, len(data), size):
            lines += channel.feed(data[at : at + size])
        assert lines + channel.flush() == ["progress 1/3 a", "progress 2/3", "status café", "status �", "last"]


# --- the scanner ------------------------------------------------------------------------------------------------------

PARTS = [
    b"::taskrun progress 1/2\n",
    b"::taskrun status x\r\n",
    b"\r::taskrun step\r",
    b" ::taskrun not at the start\n",
    b"text ::taskrun nor here\n",
    b"::taskrunner is another word\n",
    b"::task",
    b"::",
    b"ordinary line\n",
    b"50%\r",
    b"\n",
    b"x" * 100,
    b"::taskrun status caf\xc3\xa9 \xff\n",
]


def naive(data: bytes) -> list[str]:
    """The same, by splitting everything."""
    return [
        line[len(MARK) :].decode("utf-8", "replace").strip()
        for line in data.replace(b"\r", b"\n").split(b"\n")
        if line.startswith(MARK)
    ]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=12), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_scanner_finds_what_splitting_everything_finds(parts: list[bytes], sizes: list[int]):
    data, scanner, found, at, turn = b"".join(parts), Scanner(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += scanner.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found + scanner.flush() == naive(data)


def test_the_scanner_keeps_no_more_than_a_line():
    scanner, rng = Scanner(), random.Random(1)
    for _ in range(50):
        scanner.feed(rng.randbytes(65536))
        assert scanner._line is None or len(scanner._line) <= LONGEST
    scanner = Scanner()
    found = scanner.feed(MARK + b"status ")
    for _ in range(10):
        found += scanner.feed(b"x" * 10_000)
    found += scanner.feed(b"yyy\n::taskrun step\n")
    assert [len(line) for line in found] == [LONGEST - len(MARK), 4]
