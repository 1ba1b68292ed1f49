"""Length-prefixed frames over a Unix stream socket, with file descriptors: how runner, host and templates talk.

Only the framing: it knows no message, and imports nothing but C modules so that the host starts fast. A frame is a
little-endian u32 length and a ``marshal`` value of plain types; marshal format 2 is fixed since Python 2.5 and needs
no import, which matters where a template runs under another interpreter than its host.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = 2
MAX_FRAME = 256 << 20  # bytes; no message comes near it, so a longer one is noise
_SPACE = _socket.CMSG_SPACE(4 * 253)  # SCM_MAX_FD on Linux
# Linux closes over exec what it receives this way at once; elsewhere the receiver sets the flag itself, which is safe
# only because the processes that receive have one thread.
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class Disconnected(Exception):  # noqa: N818 - it is how a conversation ends, not a mistake
    """The other end is gone: EOF, or ECONNRESET because it died with our data unread."""


class MalformedFrame(ValueError):  # noqa: N818 - the word of the protocol
    """What came is no frame; the stream cannot be trusted any more."""


def pack(value: Any) -> bytes:
    """One frame; ``value`` is made of None, bool, int, float, str, bytes, tuple, list and dict."""
    body = marshal.dumps(value, _FORMAT)
    return len(body).to_bytes(4, "little") + body


class Descriptors:
    """Receives from a socket, and keeps the descriptors that come along until they are taken."""

    def __init__(self) -> None:
        self._sets: list[list[int]] = []

    def receive(self, sock: _socket.socket, most: int) -> bytes:
        """Reads once, as ``recv`` does.

        Raises:
            OSError: As ``recv`` does.
        """
        data, ancillary, flags, _address = sock.recvmsg(most, _SPACE, _CLOEXEC)
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self._sets.append(_descriptors(payload))
        if flags & _socket.MSG_CTRUNC and not ancillary:
            self._sets.append([])  # not one of them fitted into our table: ``take`` says so
        return data

    def take(self, count: int) -> list[int]:
        """The ``count`` descriptors that came with the next frame that has any; they are the caller's to close.

        Raises:
            OSError: EMFILE: the kernel dropped some, because this process may have no more. None is left open.
            MalformedFrame: None came at all.
        """
        if not count:
            return []
        if not self._sets:
            raise MalformedFrame("descriptors are missing")
        taken = self._sets.pop(0)
        if len(taken) != count:
            for fd in taken:
                os.close(fd)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return taken

    def close(self) -> None:
        """Closes the descriptors that nobody took."""
        for fds in self._sets:
            for fd in fds:
                os.close(fd)
        self._sets.clear()


class FrameReader:
    """Cuts received bytes into values, and keeps the descriptors that came with them until they are taken.

    A frame with descriptors is sent by one ``sendmsg`` of its own, all of them at its first byte: so one set belongs
    to one frame, and sets come in the order of their frames.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._descriptors = Descriptors()

    def receive(self, sock: _socket.socket) -> list[Any]:
        """Reads once and returns the whole frames that have come.

        Raises:
            Disconnected: The other end is gone.
            MalformedFrame: The other end talks nonsense.
            BlockingIOError: Nothing there (non-blocking sockets).
        """
        try:
            data = self._descriptors.receive(sock, 65536)
        except ConnectionError:
            raise Disconnected from None
        if not data:
            raise Disconnected
        return self.feed(data)

    def feed(self, data: bytes) -> list[Any]:
        """Adds bytes and returns the values that are complete.

        Raises:
            MalformedFrame: The other end talks nonsense.
        """
        buffer = self._buffer
        buffer += data
        values = []
        at, end = 0, len(buffer)
        while end - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "little")
            if length > MAX_FRAME:
                raise MalformedFrame(f"a frame of {length} bytes")
            if end - at - 4 < length:
                break
            try:
                values.append(marshal.loads(buffer[at + 4 : at + 4 + length]))  # noqa: S302 - from our own processes
            except (ValueError, EOFError, TypeError) as error:
                raise MalformedFrame(str(error)) from error
            at += 4 + length
        if at:
            del buffer[:at]
        return values

    def take_fds(self, count: int) -> list[int]:
        """As ``Descriptors.take``."""
        return self._descriptors.take(count)

    def close(self) -> None:
        """Closes the descriptors that nobody took."""
        self._descriptors.close()


def _descriptors(payload: bytes) -> list[int]:
    """The descriptors in an SCM_RIGHTS payload, closed over exec."""
    fds = [int.from_bytes(payload[at : at + 4], sys.byteorder) for at in range(0, len(payload) - 3, 4)]
    if not _CLOEXEC:
        for fd in fds:
            os.set_inheritable(fd, False)
    return fds


def send_fds(sock: _socket.socket, data: bytes | bytearray | memoryview, fds: list[int]) -> int:
    """Sends ``data`` with descriptors attached to its first byte; returns how many bytes went."""
    rights = b"".join([fd.to_bytes(4, sys.byteorder) for fd in fds])
    return sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
