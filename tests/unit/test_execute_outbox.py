"""A message to a worker whose channel is full waits until there is room, and comes whole and in its turn."""

from __future__ import annotations

import contextlib
import socket

from taskrun.execute.outbox import Outbox


class Channel:
    """As much of a stream as is used."""

    def __init__(self, sock: socket.socket) -> None:
        self.closed = False
        self.fd = sock.fileno()


def test_what_finds_no_room_is_sent_when_there_is_some():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += ours.send(b"x" * 4096)
        outbox, channel = Outbox(), Channel(ours)
        messages = [bytes([number]) * 50_000 for number in range(8)]  # more than finds room at once
        for message in messages:
            outbox.send(channel, message)
        received = b""
        while len(received) < filled + 8 * 50_000:
            received += theirs.recv(1 << 20)
            outbox.flush(channel)
        assert received[filled:] == b"".join(messages)


def test_a_worker_that_is_gone_is_told_nothing():
    ours, theirs = socket.socketpair()
    outbox, channel = Outbox(), Channel(ours)
    theirs.close()
    outbox.send(channel, b"saved")
    ours.close()
    channel.closed = True
    outbox.send(channel, b"saved")
    outbox.send(None, b"saved")
