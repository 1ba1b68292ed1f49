"""Promises of the splitter: no byte lost, the same texts however the stream is cut, bounded memory, lines at once."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskrun.output.splitter import LONGEST, Splitter, text_of

STREAMS = st.lists(
    st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b"\b", b"\b\b", b"\x00", "é█".encode(), b"\xff\xc3", b" "]),
    max_size=60,
).map(b"".join)


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    """The segments of ``data``, fed in pieces of these sizes, in turn."""
    splitter, segments, at, turn = Splitter(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        segments += splitter.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return segments + splitter.flush()


def texts(segments: list[bytes]) -> list[bytes]:
    return [text for segment in segments if (text := text_of(segment))]


@given(data=STREAMS, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
@example(data=b"a\r\nb", sizes=[2, 1])
@example(data=b"41%\b\b\b   \b\b\b42%", sizes=[3])
def test_pieces_change_neither_the_bytes_nor_the_texts(data: bytes, sizes: list[int]):
    pieces, whole = split(data, sizes), split(data, [len(data) or 1])
    assert b"".join(pieces) == data
    assert texts(pieces) == texts(whole)
    assert all(pieces)


@given(data=STREAMS)
def test_every_segment_but_the_last_ends_where_a_line_is_redrawn_or_ends(data: bytes):
    *complete, _last = [*split(data, [len(data) or 1]), b""]
    for segment in complete[:-1]:
        assert segment[-1:] in {b"\n", b"\r", b"\b"}
        assert not set(text_of(segment)) & set(b"\r\n\b")


def test_a_redrawn_line_is_given_at_once_and_not_with_the_next():
    splitter = Splitter()
    assert splitter.feed(b"10%\r") == [b"10%\r"]
    assert splitter.feed(b"\n20%\r\n") == [b"\n", b"20%\r\n"]


def test_backspaces_end_a_segment():
    assert texts(split(b"  0%\b\b\b\b    \b\b\b\b 41% + big.bin\b\b", [7])) == [b"  0%", b"    ", b" 41% + big.bin"]


@pytest.mark.parametrize("size", [1000, 4096, LONGEST, LONGEST + 1, 10_000_000])
def test_a_line_without_end_is_cut_and_costs_bounded_memory(size: int):
    data = b"x" * 1_000_000 + b"\nshort\n"
    splitter, segments, most = Splitter(), [], 0
    for at in range(0, len(data), size):
        segments += splitter.feed(data[at : at + size])
        most = max(most, len(splitter._held))
    assert most <= LONGEST
    assert [len(text_of(segment)) for segment in segments] == [LONGEST] * 15 + [1_000_000 - 15 * LONGEST, 5]


@pytest.mark.parametrize("text", ["é", "█", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_line_is_cut_between_characters(text: str, shift: int):
    data = b"x" * shift + text.encode() * 60_000
    for segment in split(data, [random.Random(shift).randrange(1, 70_000), 65_536]):
        segment.decode()  # raises where a character was cut


def test_what_is_no_utf8_is_cut_all_the_same():
    assert [len(segment) for segment in split(b"\x80" * 150_000, [8192])] == [LONGEST, LONGEST, 150_000 - 2 * LONGEST]


def test_a_line_of_just_the_longest_length_is_not_cut():
    for end in (b"\n", b"\r\n", b""):
        data = b"x" * LONGEST + end
        assert texts(split(data, [1000])) == [b"x" * LONGEST] == texts(split(data, [len(data)]))


@given(data=STREAMS, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
@example(data=b"abc\n", sizes=[2])
def test_skipping_loses_no_line_that_matters(data: bytes, sizes: list[int]):
    splitter, segments, at, turn = Splitter(), [], 0, 0
    while at < len(data):
        piece = data[at : (at := at + sizes[turn % len(sizes)])]
        turn += 1
        if not splitter.skip(piece, (b"bc", b"\xff")):
            segments += splitter.feed(piece)
    wanted = [text for text in texts(split(data, [len(data) or 1])) if b"bc" in text or b"\xff" in text]
    assert [text for text in texts(segments + splitter.flush()) if b"bc" in text or b"\xff" in text] == wanted


def test_what_is_skipped_costs_bounded_memory():
    splitter = Splitter()
    for _ in range(40):
        assert splitter.skip(b"x" * 10_000, (b"%",))
        assert len(splitter._held) <= LONGEST
    assert not splitter.skip(b"42%\n", (b"%",))


def test_nothing_in_nothing_out():
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.flush() == []
    assert splitter.feed(b"a") == []
    assert splitter.flush() == [b"a"]
    assert splitter.flush() == []
