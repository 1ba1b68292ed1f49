"""Writes the events of a run to its ``events.jsonl``: whole lines, in batches, and never an exception."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun import events
from taskrun.record import liveness
from taskrun.record.places import was_removed, write_all

if TYPE_CHECKING:
    from taskrun.model import Clockwork
    from taskrun.record.trouble import Trouble

LATEST_AFTER = 0.1
"""Seconds that an event waits for others, at most."""


class EventLog:
    """The file of events. ``TaskOutput`` is left out: the logs hold it.

    Args:
        path: Made, and claimed for this process.
        clock: Monotonic seconds.
        trouble: Told once when events cannot be written.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: str, clock: Clockwork, trouble: Trouble) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        liveness.claim(self._fd)
        self._clock = clock
        self._trouble = trouble
        self._lines: list[bytes] = []
        self._since = 0.0
        self._failed = False

    @property
    def due(self) -> float | None:
        """When the lines that wait should be flushed, by the clock; ``None``: none wait."""
        return self._since + LATEST_AFTER if self._lines else None

    def write(self, stamped: events.Stamped) -> None:
        """Adds an event; it is in the file at once where a task or the run ends with it, else after ``flush``."""
        kind = type(stamped.event)
        if kind is events.TaskOutput or (self._failed and kind is not events.RunEnd):
            return
        if not self._lines:
            self._since = self._clock()
        self._lines.append(events.encode(stamped))
        if kind is events.TaskEnd or kind is events.RunEnd or self._clock() - self._since >= LATEST_AFTER:
            self.flush()

    def flush(self) -> None:
        """Writes what waits, in one call."""
        if not self._lines:
            return
        # After a failure a line may have been cut: only the last event is tried again then, on a line of its own.
        batch = b"\n" * self._failed + b"".join(self._lines)
        self._lines = []
        try:
            write_all(self._fd, batch)
        except OSError as error:
            self._failed = True
            self._trouble.tell("events", "the events are not recorded from here on", error)

    @property
    def removed(self) -> bool:
        """Whether somebody has taken the file away under way."""
        return was_removed(self._path, self._fd)

    def close(self) -> None:
        """Flushes, and gives up the claim."""
        self.flush()
        try:
            os.close(self._fd)
        except OSError as error:
            self._trouble.tell("events", "the last events may not be recorded", error)
