"""What a pool and its workers say to each other: many requests over one channel, each with its number.

Frames are as in ``wire``, of msgpack arrays. Bodies are carried as they are, and decoded by the operation that they
belong to. The first frame to a worker is ``wire.Serve``, which says that the rest is this.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from taskrun.model import Value
from taskrun.worker import wire


class Hello(Value, frozen=True, kw_only=True, array_like=True, tag="hello"):
    """The worker's first words: what it handles, or why it cannot.

    Attributes:
        operations: Digest by name.
        mistake: Its module could not be imported, or has no handlers of that name.
        failure: Its state could not be made.
        runs_trio: Its handlers may be async: asked for its stack, it tells its tasks' after that of its thread.
    """

    operations: dict[str, str] = {}
    mistake: wire.Mistake | None = None
    failure: wire.Failure | None = None
    runs_trio: bool = False


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
    failure: wire.Failure


class Bye(Value, frozen=True, kw_only=True, array_like=True, tag="bye"):
    """Somebody told the worker to stop: what it has not answered, no handler will see."""


class Moved(Value, frozen=True, kw_only=True, array_like=True, tag="moved"):
    """How far the handler says it is; ``done`` ``None``: it says what it does, and not how far it is."""

    id: int
    done: float | None
    total: float | None
    message: str


TASKS = "Trio task"
"""How the stack of a task begins on the stderr of a worker that runs trio."""

ToWorker: TypeAlias = Ask | Leave
FromWorker: TypeAlias = Hello | Answer | Refusal | Moved | Bye

_encoder = msgspec.msgpack.Encoder()


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame."""
    return wire.frame(_encoder.encode(message))


class Frames(wire.Frames):
    """Cuts a stream of bytes into messages of one direction.

    Args:
        kinds: ``ToWorker`` or ``FromWorker``.
        limit: Bytes of the largest frame.
    """

    def __init__(self, kinds: Any, limit: int = wire.FRAME_LIMIT) -> None:
        super().__init__(msgspec.msgpack.Decoder(kinds).decode, limit)
