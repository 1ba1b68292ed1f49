"""Frames: any value, cut anywhere, with its own descriptors, or a clear end."""

from __future__ import annotations

import _socket
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@pytest.fixture
def pair() -> Iterator[tuple[_socket.socket, _socket.socket]]:
    one, other = _socket.socketpair()
    yield one, other
    one.close()
    other.close()


@given(st.lists(values, min_size=1, max_size=5), st.lists(st.integers(1, 40), max_size=30))
def test_values_come_out_as_they_went_in_wherever_the_stream_is_cut(sent: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(frames.pack, sent))
    reader, got, at = frames.FrameReader(), [], 0
    for cut in cuts:
        got += reader.feed(data[at : at + cut])
        at += cut
    got += reader.feed(data[at:])
    assert got == sent


def test_lone_surrogates_of_file_names_survive() -> None:
    assert frames.FrameReader().feed(frames.pack(os.fsdecode(b"/\xff"))) == ["/\udcff"]


@given(st.binary(max_size=200))
def test_noise_is_an_error_or_a_wait_and_nothing_else(noise: bytes) -> None:
    reader = frames.FrameReader()
    try:
        reader.feed(noise)
    except frames.MalformedFrame:
        return


def test_each_frame_gets_the_descriptors_that_were_sent_with_it(pair: tuple[_socket.socket, _socket.socket]) -> None:
    one, other = pair
    pipes = [os.pipe() for _ in range(3)]
    for number, (reading, writing) in enumerate(pipes):
        one.send(frames.pack(("plain", number)))
        fds = [writing] if number % 2 else [writing, reading]
        frames.send_fds(one, frames.pack(("with", number, len(fds))), fds)
    reader = frames.FrameReader()
    taken = []
    messages: list[Any] = []
    while len(messages) < 6:
        for message in reader.receive(other):
            messages.append(message)
            if message[0] == "with":
                fds = reader.take_fds(message[2])
                assert not any(os.get_inheritable(fd) for fd in fds)
                os.write(fds[0], b"%d" % message[1])
                taken += fds
    assert [os.read(reading, 10) for reading, _writing in pipes] == [b"0", b"1", b"2"]
    for fd in [*taken, *(fd for pipe in pipes for fd in pipe)]:
        os.close(fd)


def test_descriptors_that_nobody_takes_are_closed(pair: tuple[_socket.socket, _socket.socket]) -> None:
    one, other = pair
    reading, writing = os.pipe()
    frames.send_fds(one, frames.pack("x"), [writing])
    os.close(writing)
    reader = frames.FrameReader()
    reader.receive(other)
    reader.close()
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_descriptors_that_were_promised_and_did_not_come_are_an_error() -> None:
    with pytest.raises(frames.MalformedFrame):
        frames.FrameReader().take_fds(1)
    assert frames.FrameReader().take_fds(0) == []


def test_a_length_beyond_reason_is_refused_at_once() -> None:
    with pytest.raises(frames.MalformedFrame):
        frames.FrameReader().feed((frames.MAX_FRAME + 1).to_bytes(4, "little"))


@pytest.mark.parametrize("unread", [b"", b"x"])
def test_the_end_of_the_other_side_is_one_exception_however_it_comes(unread: bytes) -> None:
    one, other = _socket.socketpair()
    if unread:
        other.send(unread)  # then it is ECONNRESET
    one.close()
    with pytest.raises(frames.Disconnected):
        frames.FrameReader().receive(other)
    other.close()
