"""What a pool and its workers say to each other: many requests over one channel, each with its number.

Frames are as in ``wire``, of msgpack arrays. Bodies are carried as they are, and decoded by the operation that they
belong to. The first frame to a worker is ``wire.Serve``, which says that the rest is this.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from taskrun.model import Value
from taskrun.worker import framing, wire


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
    """One request.

    Attributes:
        time_left: In seconds from its start, for whoever asks.
        segment: That its large values lie in; 0: it has none.
    """

    id: int
    operation: str
    body: msgspec.Raw
    time_left: float | None = None
    segment: int = 0


class Lent(Value, frozen=True, kw_only=True, array_like=True, tag="lent"):
    """The descriptor that comes with this frame is of memory that later frames name; either way.

    Attributes:
        size: Bytes.
        way: How its counters are kept, where it is a ``SharedBuffer``; empty for a segment.
    """

    number: int
    size: int
    way: str = ""


class Forget(Value, frozen=True, kw_only=True, array_like=True, tag="forget"):
    """This memory will not be named again; either way."""

    number: int


class Taken(Value, frozen=True, kw_only=True, array_like=True, tag="taken"):
    """The result that lay in this segment of the worker's has been taken out of it."""

    segment: int


class Leave(Value, frozen=True, kw_only=True, array_like=True, tag="leave"):
    """Nothing more comes: the worker finishes, leaves its state, and ends."""


class Answer(Value, frozen=True, kw_only=True, array_like=True, tag="answer"):
    """The handler returned.

    Attributes:
        segment: That large values of the result lie in; 0: it has none.
        kept: Something in the worker still looks at the request's segment.
    """

    id: int
    body: msgspec.Raw
    segment: int = 0
    kept: bool = False


class Refusal(Value, frozen=True, kw_only=True, array_like=True, tag="refusal"):
    """The handler did not return a value; ``kept`` as in ``Answer``."""

    id: int
    failure: wire.Failure
    kept: bool = False


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

ToWorker: TypeAlias = Ask | Lent | Forget | Taken | Leave
FromWorker: TypeAlias = Hello | Answer | Refusal | Moved | Bye | Lent | Forget

_encoder = msgspec.msgpack.Encoder()


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame."""
    return framing.frame(_encoder.encode(message))


class Frames(framing.Frames):
    """Cuts a stream of bytes into messages of one direction.

    Args:
        kinds: ``ToWorker`` or ``FromWorker``.
        limit: Bytes of the largest frame.
    """

    def __init__(self, kinds: Any, limit: int = framing.FRAME_LIMIT) -> None:
        super().__init__(msgspec.msgpack.Decoder(kinds).decode, limit)
