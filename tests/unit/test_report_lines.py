"""Whole lines out of arbitrary pieces: cut, cleaned and labelled a block at a time, with nothing lost or doubled."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskrun.report.lines import WholeLines, between_characters, clean, label

pieces = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"\b", b"\b\b", "é…日".encode(), b"\xc3", b"\x1b[31m", b"\x1b]0;t\x07", b"a" * 50]
        ),
    ),
    max_size=30,
)


def feed_all(data: list[bytes], longest: int = 1 << 16) -> bytes:
    lines = WholeLines(longest)
    return b"".join([*(lines.feed(piece) for piece in data), lines.finish()])


def shown(data: list[bytes], *, terminal: bool = False, longest: int = 1 << 16) -> bytes:
    lines = WholeLines(longest)
    blocks = [*(lines.feed(piece) for piece in data), lines.finish()]
    for block in blocks:
        assert not block or block.endswith(b"\n")
    return b"".join(clean(block, terminal=terminal, colour=False) for block in blocks if block)


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\r", b"").replace(b"\b", b"")), max_size=20))
def test_every_byte_comes_out_once_and_in_order(data):
    whole = b"".join(data)
    expected = whole if not whole or whole.endswith(b"\n") else whole + b"\n"
    assert feed_all(data) == expected


@given(pieces, st.integers(1, 7), st.booleans())
@example([b"one\r", b"\ntwo"], 1, False)
@example([b"\xe6\x97\xa5\n"], 1, True)
def test_how_the_stream_was_cut_changes_nothing(data, size, terminal):
    whole = b"".join(data)
    cut = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert shown(cut, terminal=terminal) == shown([whole], terminal=terminal)


@given(pieces)
def test_what_goes_to_a_terminal_holds_nothing_that_it_obeys(data):
    text = shown(data, terminal=True).decode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"10%\r20%\r30%\n", b"30%\n"),
        (b"10%\r20%\r", b"20%\n"),
        (b"dos\r\nlines\r\n", b"dos\nlines\n"),
        (b"kept\nold\rnew\r\nnext\n", b"kept\nnew\nnext\n"),
        (b"twice\r\r\n", b"twice\n"),
        (b"  1%\b\b\b\b    \b\b\b\b 42%\n", b" 42%\n"),
        (b"b\bbo\bol\bld\bd\n", b"bold\n"),
        (b"\b\b\bx\n", b"x\n"),
        ("日本\b\b中\n".encode(), "中\n".encode()),
        (b"bad \xff byte\n", "bad \ufffd byte\n".encode()),
        (b"half \xe6\x97\n", "half \ufffd\n".encode()),
        (b"\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07\n", b"red\n"),
        (b"form\x0cfeed\n", b"form\x0cfeed\n"),
        (b"before\n::taskrun progress 1/3\nafter\n", b"before\nafter\n"),
        (b"not ::taskrun progress\n", b"not ::taskrun progress\n"),
        (b"nul \x00\n", b"nul \x00\n"),
    ],
)
def test_lines_are_cleaned_off_a_terminal(data, expected):
    assert shown([data]) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"\x1b[31mred\x1b[0m", b"\x1b[31mred\x1b[0m"),
        (b"\x1b[31mred", b"\x1b[31mred\x1b[0m"),
        (b"\x1b[?25l\x1b[1;32mok\x1b[m\x07", b"\x1b[1;32mok\x1b[m"),
        (b"\x1b[>4;2mno colour", b"no colour"),
        (b"cut \x1b[3", b"cut "),
        (b"cut \x1b]0;title", b"cut "),
        (b"tab\tstays", b"tab\tstays"),
        ("c1 \x9b31m control".encode(), b"c1  control"),
    ],
)
def test_colours_stay_and_end_with_their_line_on_a_terminal(line, expected):
    assert clean(line + b"\n", terminal=True, colour=True) == expected + b"\n"


def test_a_line_without_an_end_is_cut_for_display_and_takes_no_memory():
    lines = WholeLines()
    for _ in range(160):
        assert lines.feed(b"x" * 65536) == b""
        assert len(lines._rest) <= 65536
    block = lines.feed(b"end\nnext\n")
    assert block == b"x" * 65536 + "…\nnext\n".encode()
    assert lines.finish() == b""


def test_a_ten_megabyte_line_comes_once_whatever_its_pieces():
    data = b"y" * (10 << 20) + b"\nz\n"
    for size in (65536, 65535, 1 << 20, len(data)):
        cut = [data[at : at + size] for at in range(0, len(data), size)]
        assert feed_all(cut) == b"y" * 65536 + "…\nz\n".encode()


def test_a_line_is_cut_between_characters():
    lines = WholeLines(longest=10)
    assert lines.feed("日本語日本語\n".encode()) == "日本語…\n".encode()
    assert between_characters("aé".encode(), 2) == 1
    assert between_characters(b"\x80" * 9, 5) == 5


def test_a_progress_bar_without_newlines_takes_no_memory():
    lines = WholeLines()
    for number in range(20_000):
        assert lines.feed(b"\r%5d of 20000" % number) == b""
        assert len(lines._rest) < 100
    assert clean(lines.finish(), terminal=False, colour=False) == b"19999 of 20000\n"
    for number in range(20_000):
        lines.feed(b"%3d" % (number % 100) + b"\b\b\b")
        assert len(lines._rest) < 9000
    assert clean(lines.feed(b"\n"), terminal=False, colour=False) == b"\n"


def test_what_rewrites_an_overlong_line_is_shown():
    lines = WholeLines(longest=16)
    lines.feed(b"x" * 40)
    lines.feed(b"x\r")
    assert clean(lines.feed(b"short\n"), terminal=False, colour=False) == b"short\n"
    lines.feed(b"x" * 40 + b"\r")
    assert clean(lines.finish(), terminal=False, colour=False) == b"x" * 16 + "…\n".encode()


@given(st.lists(st.binary(max_size=10).filter(lambda line: b"\n" not in line), min_size=1, max_size=20))
@settings(max_examples=50)
def test_each_line_is_labelled_once(lines):
    block = b"".join(line + b"\n" for line in lines)
    assert bytes(label(block, b"t | ")) == b"".join(b"t | " + line + b"\n" for line in lines)


@given(st.lists(st.sampled_from([b"plain", b"::error::x", b"not ::it", b"", b"::"]), min_size=1))
def test_lines_for_the_service_stay_bare(lines):
    block = b"".join(line + b"\n" for line in lines)
    expected = b"".join((b"" if line.startswith(b"::") else b"t | ") + line + b"\n" for line in lines)
    assert bytes(label(block, b"t | ", b"::")) == expected
