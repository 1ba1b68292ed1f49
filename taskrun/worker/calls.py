"""What a task function may call: progress, clocks, checkpoints, and how it may end.

All of it does nothing outside a run, so that a function with these calls in it is a plain function everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from taskrun.worker import session as _session
from taskrun.worker.failures import Fail, Retry
from taskrun.worker.stopping import Cancelled, interruption

__all__ = [
    "Cancelled",
    "Fail",
    "Retry",
    "cancelled",
    "checkpoint",
    "progress",
    "restored",
    "status",
    "time_left",
    "track",
]

T = TypeVar("T")


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Says how far the task is.

    Cheap enough for inner loops: what comes faster than it can be shown is left out, but for the last (``done`` equal
    to ``total``) and the latest before the function returns.

    Args:
        done: How much is done, in any unit.
        total: How much there is, in the same unit; ``None``: not known.
        message: What is being done; may be empty.

    Raises:
        TypeError: ``done`` or ``total`` is no number.
    """
    session = _session.current
    if session is not None:
        session.progress(done, total, message)


def track(iterable: Iterable[T], total: float | None = None, message: str = "") -> Iterator[T]:
    """Gives the items of ``iterable``, and says after each how many are done.

    Args:
        iterable: Anything that a ``for`` takes.
        total: How many items there are, where ``len()`` cannot tell.
        message: As in ``progress``.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    return _track(iter(iterable), total, message)


def _track(items: Iterator[T], total: float | None, message: str) -> Iterator[T]:
    done = 0
    progress(done, total, message)
    for item in items:
        yield item
        done += 1
        progress(done, total, message)
    if total is None:
        progress(done, done, message)  # now it is known


def status(text: str) -> None:
    """Says what the task is doing, without saying how far it is."""
    session = _session.current
    if session is not None:
        session.status(str(text))


def cancelled() -> bool:
    """Whether the run wants this task to stop.

    A function that calls this is trusted to stop by itself within the grace period: ``taskrun.Cancelled`` is then not
    raised in it any more.
    """
    if _session.current is None:
        return False
    interruption.asked = True
    return interruption.signal != 0


def time_left() -> float | None:
    """Seconds that are left of the task's ``timeout``, 0.0 when it is over; ``None``: there is none."""
    session = _session.current
    return None if session is None else session.time_left()


def checkpoint(value: Any) -> None:
    """Keeps ``value`` for a later attempt of this task with these arguments; returns once it is safely on disk.

    Args:
        value: Anything that can be written as JSON, at most 1 MiB of it.

    Raises:
        TypeError: It cannot be written as JSON.
        ValueError: It is too large.
        OSError: It could not be stored.
    """
    session = _session.current
    if session is None:
        return
    from taskrun.worker import encoding, wire

    try:
        data = encoding.to_json(value)
    except encoding.NotJson as error:
        raise TypeError(f"not a checkpoint: {error}") from None
    if len(data) > wire.CHECKPOINT_LIMIT:
        raise ValueError(f"a checkpoint of {len(data):,} bytes of JSON: the limit is {wire.CHECKPOINT_LIMIT:,}")
    session.checkpoint(data)


def restored() -> Any:
    """The latest checkpoint of this task, of an earlier attempt or this one; ``None``: there is none."""
    session = _session.current
    if session is None or session.restored is None:
        return None
    import msgspec

    return msgspec.json.decode(session.restored)
