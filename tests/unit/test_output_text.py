"""Promises of decoding and of what is shown: nothing raises, nothing a task prints moves our cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.output.text import RESET, TextDecoder, for_people, strip_control


@given(text=st.text(), sizes=st.lists(st.integers(1, 5), min_size=1))
def test_a_character_split_over_pieces_is_joined(text: str, sizes: list[int]):
    data, decoder, at, turn, decoded = text.encode("utf-8", "replace"), TextDecoder(), 0, 0, ""
    while at < len(data):
        size = sizes[turn % len(sizes)]
        decoded += decoder.decode(data[at : at + size])
        at, turn = at + size, turn + 1
    assert decoded + decoder.decode(b"", final=True) == data.decode()


@given(data=st.binary())
def test_anything_decodes_as_it_would_at_once(data: bytes):
    decoder = TextDecoder()
    pieces = "".join(decoder.decode(data[at : at + 1]) for at in range(len(data)))
    assert pieces + decoder.decode(b"", final=True) == data.decode("utf-8", "replace")


def test_a_lone_first_byte_at_the_end_is_replaced():
    decoder = TextDecoder()
    assert decoder.decode(b"a\xc3") == "a"
    assert decoder.decode(b"", final=True) == "�"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("tab\tstays", "tab\tstays"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]9;4;1;42\x1b\\x", "x"),
        ("\x1b[?25lhidden\x1b[?25h", "hidden"),
        ("bell\x07\x00\x7f", "bell"),
        ("\x1b[31mred\x1b[0m plain", "\x1b[31mred\x1b[0m plain"),
        ("\x1b[1;38;2;1;2;3mon and on", f"\x1b[1;38;2;1;2;3mon and on{RESET}"),
        ("\x1b[31mred\x1b[m", "\x1b[31mred\x1b[m"),
        ("\x1b[0;31m", f"\x1b[0;31m{RESET}"),
        ("cut \x1b[38;5", "cut "),
        ("cut \x1b", "cut "),
        ("cut \x1b]0;half a title", "cut "),
        ("\x9b31mC1", "C1"),
        ("\x1b(B\x1b)0\x1b=\x1b7\x1bcreset", "reset"),
        ("\x1bP+q544e\x1b\\dcs", "dcs"),
        ("two\rone", "twoone"),
        ("é█😀", "é█😀"),
    ],
)
def test_what_moves_the_cursor_is_gone_and_colour_stays(raw: str, shown: str):
    assert strip_control(raw) == shown


@given(st.text(alphabet=st.sampled_from("\x1b[]();?0123456789mHJKh\x07\\\x9b\x9d\x90a \r\n\b\x00")))
def test_no_control_character_survives_but_in_sgr(text: str):
    import re

    shown = re.sub(r"\x1b\[[0-9;:]*m", "", strip_control(text))
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", shown)
    assert "\x1b" not in strip_control(text, colour=False)


def test_without_colour_nothing_is_left_of_it():
    assert strip_control("\x1b[31mred\x1b[0m", colour=False) == "red"


def test_messages_are_short_and_harmless():
    assert for_people("  \x1b[31mred\x1b[2J ") == "red"
    assert for_people("x" * 1000) == "x" * 499 + "…"
