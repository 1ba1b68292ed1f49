"""How messages are cut out of a channel's stream of bytes: a little-endian u32 length before each. It knows no message.

All channels of workers have this in common, of calls, of pools and of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT_LIMIT = 64 * 1024 * 1024
"""Largest result in bytes of JSON."""
FRAME_LIMIT = RESULT_LIMIT + 64 * 1024
"""Largest frame that a reader accepts."""
_LENGTH = 4
_PIECE = 1 << 16  # bytes: a larger buffer is mapped and unmapped at each read, which costs more than the read
_LARGE_PIECE = 1 << 20


class Garbled(Exception):  # noqa: N818 - what the stream is
    """What came is no frame of this protocol: something else writes to the channel."""


def frame(body: bytes) -> bytes:
    """One frame with this content."""
    return len(body).to_bytes(_LENGTH, "little") + body


class Frames:
    """Cuts a stream of bytes into messages, whatever pieces it comes in.

    Args:
        decode: Makes a message of a frame's content.
        limit: Bytes of the largest frame.
    """

    def __init__(self, decode: Callable[[bytes], Any], limit: int = FRAME_LIMIT) -> None:
        self._decode = decode
        self._limit = limit
        self._buffer = bytearray()
        self._wanted = _LENGTH  # bytes that the next frame needs, as far as that is known

    @property
    def appetite(self) -> int:
        """Bytes to read at once: many while a large frame is under way."""
        return _PIECE if self._wanted <= _PIECE else _LARGE_PIECE

    def feed(self, data: bytes) -> list[Any]:
        """Adds bytes and returns the messages that are complete.

        Raises:
            Garbled: This is no channel's stream; nothing more can be read from it.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        messages: list[Any] = []
        at, end = 0, len(data)
        self._wanted = _LENGTH
        try:
            while end - at >= _LENGTH:
                length = int.from_bytes(data[at : at + _LENGTH], "little")
                if length > self._limit:
                    raise Garbled(f"a frame of {length} bytes")
                if end - at - _LENGTH < length:
                    self._wanted = _LENGTH + length
                    break
                messages.append(self._decode(data[at + _LENGTH : at + _LENGTH + length]))
                at += _LENGTH + length
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Garbled(str(error)) from None
        if at < end:
            self._buffer += data[at:]
        return messages
