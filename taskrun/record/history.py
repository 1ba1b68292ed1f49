"""How long tasks took when they last succeeded, over runs: ``STATE/history.json``.

It is a convenience for order and ETA: damage reads as an empty one, and trouble with writing it is nobody's concern.
"""

from __future__ import annotations

import fcntl
import os
import time

import msgspec

from taskrun import events
from taskrun.record.places import write_whole

FILE = "history.json"
_LAST = 5
_MOST_TASKS = 50_000
_PATIENCE = 0.2  # seconds to wait for another run that adds to it


class _History(msgspec.Struct):
    v: int = 1
    tasks: dict[str, list[float]] = msgspec.field(
        default_factory=dict
    )  # seconds, oldest first; the task that ran last comes last


def load(state: str) -> dict[str, float]:
    """The median of the last five durations in seconds, by task."""
    return {task: sorted(seconds)[len(seconds) // 2] for task, seconds in _read(state).tasks.items() if seconds}


def add(state: str, durations: dict[str, float]) -> None:
    """Adds what a run has measured; two runs that end at once both get in. Never raises."""
    if not durations:
        return
    lock = _lock(state)
    try:
        known = _read(state)
        for task, seconds in durations.items():
            before = known.tasks.pop(task, [])
            known.tasks[task] = [*before[1 - _LAST :], round(seconds, 3)]
        for task in list(known.tasks)[:-_MOST_TASKS]:
            del known.tasks[task]
        write_whole(os.path.join(state, FILE), events.encode_value(known), durable=False)
    except OSError:
        pass
    finally:
        if lock is not None:
            os.close(lock)


def _read(state: str) -> _History:
    try:
        with open(os.path.join(state, FILE), "rb") as file:
            return msgspec.json.decode(file.read(), type=_History)
    except (OSError, msgspec.DecodeError):
        return _History()


def _lock(state: str) -> int | None:
    """Keeps other runs from adding at the same time; ``None``: it could not, and they may undo each other's."""
    try:
        fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(0.005)
                continue
        except OSError:
            pass
        return fd
