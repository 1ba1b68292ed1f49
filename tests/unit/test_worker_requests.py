"""Frames of many requests over one channel: whole, in pieces, and garbage."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.worker import framing, requests, wire

BODY = msgspec.Raw(msgspec.msgpack.encode({"text": "caf\u00e9", "bytes": b"\0" * 300}))
TO_WORKER = [
    requests.Ask(id=1, operation="Resize", body=BODY, time_left=2.5),
    requests.Ask(id=2**40, operation="", body=msgspec.Raw(b"\xc0")),
    requests.Leave(),
]
FROM_WORKER = [
    requests.Hello(operations={"Resize": "0123"}),
    requests.Hello(mistake=wire.Mistake(type="import", message="m", traceback="t")),
    requests.Moved(id=1, done=1.0, total=None, message="\u20ac" * 50),
    requests.Moved(id=1, done=None, total=None, message="only a status"),
    requests.Answer(id=1, body=BODY),
    requests.Refusal(id=2, failure=wire.Failure(kind="exception", message="m", type_names=("A",), notes=("n",))),
]
DIRECTIONS = [(requests.ToWorker, TO_WORKER), (requests.FromWorker, FROM_WORKER)]


def plain(message: object) -> object:
    """Raw bodies compare by identity."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message))


@pytest.mark.parametrize(("kinds", "messages"), DIRECTIONS)
@given(sizes=st.lists(st.integers(1, 900), max_size=20))
def test_messages_arrive_whole_whatever_pieces_they_come_in(kinds, messages, sizes):
    stream = b"".join(map(requests.encode, messages))
    frames, got, at = requests.Frames(kinds), [], 0
    for size in [*sizes, len(stream)]:
        got += frames.feed(stream[at : at + size])
        at += size
    assert list(map(plain, got)) == list(map(plain, messages))


@pytest.mark.parametrize(("kinds", "messages"), DIRECTIONS)
def test_messages_arrive_whole_byte_by_byte(kinds, messages):
    frames, got = requests.Frames(kinds), []
    for byte in b"".join(map(requests.encode, messages)):
        got += frames.feed(bytes([byte]))
    assert list(map(plain, got)) == list(map(plain, messages))


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=5), st.integers(1, 7000))
def test_bodies_are_carried_byte_by_byte_as_they_are(bodies, size):
    asks = [requests.Ask(id=at, operation="o", body=msgspec.Raw(body)) for at, body in enumerate(map(packed, bodies))]
    stream = b"".join(map(requests.encode, asks))
    frames = requests.Frames(requests.ToWorker)
    got = [each for at in range(0, len(stream), size) for each in frames.feed(stream[at : at + size])]
    assert [msgspec.msgpack.decode(each.body) for each in got] == bodies


def packed(body: bytes) -> bytes:
    return msgspec.msgpack.encode(body)


def test_a_message_keeps_what_came_with_it():
    """Its body is a part of the bytes it came in, which the reader goes on to use for others."""
    frames = requests.Frames(requests.ToWorker)
    first = requests.encode(requests.Ask(id=1, operation="o", body=msgspec.Raw(packed(b"a" * 100))))
    second = requests.encode(requests.Ask(id=2, operation="o", body=msgspec.Raw(packed(b"b" * 100))))
    frames.feed(first[:50])
    (ask,) = frames.feed(first[50:] + second[:50])
    frames.feed(second[50:])
    assert msgspec.msgpack.decode(ask.body) == b"a" * 100


@pytest.mark.parametrize(
    "junk",
    [
        b"hello, world",  # a length of 1.8 GB
        b"\x01\x00\x00\x00\xc1",  # no msgpack
        b"\x01\x00\x00\x00\xc0",  # no message
        b"\x02\x00\x00\x00\x91\x01",  # a message of no kind
        b"\xff" * 8,
        requests.encode(requests.Leave()),  # of the other direction
    ],
)
def test_what_is_no_frame_is_said_to_be_none(junk):
    with pytest.raises(framing.Garbled):
        requests.Frames(requests.FromWorker).feed(junk)


@given(st.binary(max_size=64))
def test_no_garbage_does_worse_than_being_garbled(data):
    with contextlib.suppress(framing.Garbled):
        requests.Frames(requests.FromWorker).feed(data)


def test_a_frame_above_the_limit_is_refused_before_it_is_there():
    with pytest.raises(framing.Garbled, match="a frame of 101 bytes"):
        requests.Frames(requests.ToWorker, limit=100).feed((101).to_bytes(4, "little"))


def test_unknown_fields_are_ignored():
    frame = bytearray(requests.encode(requests.Leave()))
    assert frame[4] == 0x91
    frame[4] += 1  # one entry more in the array
    frame += b"\x01"
    frame[0] += 1
    assert requests.Frames(requests.ToWorker).feed(bytes(frame)) == [requests.Leave()]


def test_a_large_frame_is_read_in_large_pieces():
    stream = requests.encode(requests.Ask(id=1, operation="o", body=msgspec.Raw(packed(b"a" * 3_000_000))))
    frames, at, pieces, got = requests.Frames(requests.ToWorker), 0, 0, []
    while at < len(stream):
        assert 0 < frames.appetite <= 1 << 20
        piece = stream[at : at + frames.appetite]
        got += frames.feed(piece)
        at += len(piece)
        pieces += 1
    assert pieces < 6
    assert len(got) == 1
    assert frames.appetite == 1 << 16
