"""Length-prefixed frames over a Unix stream socket, with file descriptors: how runner, host and templates talk.

Only the framing: it knows no message, and imports nothing but C modules so that the host starts fast. A frame is a
little-endian u32 length and a ``marshal`` value of plain types; marshal format 2 is fixed since Python 2.5 and needs
no import, which matters where a template runs under another interpreter than its host.
"""

from __future__ import annotations

import _socket
import marshal
from typing import Any

_FORMAT = 2
MAX_FDS = 16
_SPACE = _socket.CMSG_SPACE(4 * 253)  # SCM_MAX_FD on Linux
# Linux closes over exec what it receives this way at once; elsewhere the receiver sets the flag itself, which is safe
# only because the processes that receive have one thread.
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class Disconnected(Exception):
    """The other end is gone: EOF, or ECONNRESET because it died with our data unread."""


def pack(value: Any) -> bytes:
    """One frame; ``value`` is made of None, bool, int, float, str, bytes, tuple, list and dict."""
    body = marshal.dumps(value, _FORMAT)
    return len(body).to_bytes(4, "little") + body


class FrameReader:
    """Cuts received bytes into values. Descriptors queue in order; each message must say how many it owns."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.fds: list[int] = []

    def receive(self, sock: _socket.socket) -> list[Any]:
        """Reads once and returns the whole frames that have come.

        Raises:
            Disconnected: The other end is gone.
            BlockingIOError: Nothing there (non-blocking sockets).
        """
        import os

        try:
            data, ancillary, _flags, _address = sock.recvmsg(65536, _SPACE, _CLOEXEC)
        except ConnectionError:
            raise Disconnected from None
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                for at in range(0, len(payload) - len(payload) % 4, 4):
                    fd = int.from_bytes(payload[at : at + 4], "little")
                    if not _CLOEXEC:
                        os.set_inheritable(fd, False)
                    self.fds.append(fd)
        if not data:
            raise Disconnected
        return self.feed(data)

    def feed(self, data: bytes) -> list[Any]:
        """Adds bytes and returns the values that are complete."""
        buffer = self._buffer
        buffer += data
        values = []
        at, end = 0, len(buffer)
        while end - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "little")
            if end - at - 4 < length:
                break
            values.append(marshal.loads(buffer[at + 4 : at + 4 + length]))
            at += 4 + length
        if at:
            del buffer[:at]
        return values

    def take_fds(self, count: int) -> list[int]:
        """The next ``count`` descriptors, in the order in which they were sent."""
        taken = self.fds[:count]
        del self.fds[:count]
        return taken


def send_fds(sock: _socket.socket, data: bytes, fds: list[int]) -> int:
    """Sends ``data`` with descriptors attached to its first byte; returns how many bytes went."""
    import array

    return sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))])
