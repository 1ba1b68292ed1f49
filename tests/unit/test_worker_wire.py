"""Frames between runner and worker: whole, in pieces, and garbage."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.worker import framing, wire

MESSAGES = [
    wire.Call(
        target="a:b", args=(1, "x", [2.5, None]), kwargs={"k": {"n": True}}, lax=("0",), time_left=3.0, restored=b"1"
    ),
    wire.ClockUpdate(time_left=None),
    wire.CheckpointSaved(id=1, error="disk full"),
    wire.Started(),
    wire.Progress(done=1, total=2.5, message="caf\u00e9"),
    wire.Status(text=""),
    wire.Message(level="warning", text="w"),
    wire.Checkpoint(id=7, value=b'{"a":1}'),
    wire.Result(value=b"[]"),
    wire.Failure(kind="exception", message="m", type_names=("A", "m.A"), notes=("n",), retry_after=1.5, code=3),
]


@given(st.lists(st.integers(1, 90), max_size=20))
def test_messages_arrive_whole_whatever_pieces_they_come_in(sizes):
    stream = b"".join(map(wire.encode, MESSAGES))
    reader, got, at = wire.Reader(), [], 0
    for size in [*sizes, len(stream)]:
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == MESSAGES


def test_unknown_fields_are_ignored():
    frame = bytearray(wire.encode(wire.Status(text="x")))
    frame[4] += 1  # one entry more in the map
    frame += b"\xa3new\x01"
    frame[0] += 5
    assert wire.Reader().feed(bytes(frame)) == [wire.Status(text="x")]


@pytest.mark.parametrize("junk", [b"hello, world", b"\x01\x00\x00\x00\xc1", b"\x02\x00\x00\x00\x81\xa0", b"\xff" * 8])
def test_what_is_no_frame_is_said_to_be_none(junk):
    with pytest.raises(framing.Garbled):
        wire.Reader().feed(junk)


@given(st.binary(max_size=64))
def test_no_garbage_does_worse_than_being_garbled(data):
    with contextlib.suppress(framing.Garbled):
        wire.Reader().feed(data)
