"""What a pool and its workers say to each other: many requests over one channel, each with its number.

A frame is a little-endian u32 length and a msgpack array. Bodies are carried as they are, and decoded by the operation
they belong to. The first frame to a worker is ``wire.Serve``, which says that the rest is this.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from taskrun.model import Value
from taskrun.worker.wire import FRAME_LIMIT, Failure, Garbled, Mistake


class Hello(Value, frozen=True, kw_only=True, array_like=True, tag="hello"):
    """The worker's first words: what it handles, or why it cannot.

    Attributes:
        operations: Digest by name.
        mistake: Its module could not be imported, or has no handlers of that name.
        failure: Its state could not be made.
    """

    operations: dict[str, str] = {}
    mistake: Mistake | None = None
    failure: Failure | None = None


class Ask(Value, frozen=True, kw_only=True, array_like=True, tag="ask"):
    """One request; ``time_left`` in seconds from its start, for whoever asks."""

    id: int
    operation: str
    body: msgspec.Raw
    time_left: float | None = None


class Leave(Value, frozen=True, kw_only=True, array_like=True, tag="leave"):
    """Nothing more comes: the worker finishes, leaves its state, and ends."""


class Answer(Value, frozen=True, kw_only=True, array_like=True, tag="answer"):
    """The handler returned."""

    id: int
    body: msgspec.Raw


class Refusal(Value, frozen=True, kw_only=True, array_like=True, tag="refusal"):
    """The handler did not return a value."""

    id: int
    failure: Failure


class Moved(Value, frozen=True, kw_only=True, array_like=True, tag="moved"):
    """How far the handler says it is; ``done`` ``None``: it says what it does, and not how far it is."""

    id: int
    done: float | None
    total: float | None
    message: str


ToWorker: TypeAlias = Ask | Leave
FromWorker: TypeAlias = Hello | Answer | Refusal | Moved

_encoder = msgspec.msgpack.Encoder()
_LENGTH = 4
_PIECE = 1 << 16  # bytes: a larger buffer is mapped and unmapped at each read, which costs more than the read
_LARGE_PIECE = 1 << 20


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH, "little") + body


class Frames:
    """Cuts a stream of bytes into messages of one direction.

    Args:
        kinds: ``ToWorker`` or ``FromWorker``.
        limit: Bytes of the largest frame.
    """

    def __init__(self, kinds: Any, limit: int = FRAME_LIMIT) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
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
