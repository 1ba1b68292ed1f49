"""``--events``: the run's events as JSON Lines, for programs. One line per event, one write per line."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

from taskrun.events import RunEnd, Stamped, TaskEnd, TaskOutput, TaskRetry, WorkerEnd, encode, encode_output
from taskrun.model import UsageError
from taskrun.output.text import TextDecoder
from taskrun.report.protocol import Reporter

if TYPE_CHECKING:
    from taskrun.report.writer import Writer


_inherited: set[int] = set()  # which are ours by now, and passed on to nobody


def open_events(target: str) -> int:
    """Opens what ``--events`` names: a path, ``"-"`` for stdout, or ``"fd:N"`` for a descriptor that we inherited.

    Raises:
        UsageError: It cannot be written.
    """
    if target == "-":
        return 1
    try:
        if target.startswith("fd:"):
            return _take(int(target[3:]))
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "no descriptor's number"
        raise UsageError(f"--events {target}: {why}") from None


def _take(fd: int) -> int:
    """A descriptor that was open when we began. One of our own, such as the socket to the host, is none for events.

    Raises:
        OSError: It is not open, or for reading only.
    """
    writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    # What came through exec is inheritable, and what Python has opened since is not.
    if not writable or not (fd <= 2 or fd in _inherited or os.get_inheritable(fd)):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if fd > 2:
        os.set_inheritable(fd, False)
        _inherited.add(fd)
    return fd


class EventLines(Reporter):
    """A reporter that writes every event.

    Args:
        writer: Where the lines go through.
        fd: Where they go to.
        with_output: Tasks' output as well, decoded.
        last: After which nothing is written.
    """

    def __init__(
        self, writer: Writer, fd: int, *, with_output: bool = False, last: type[RunEnd | WorkerEnd] = RunEnd
    ) -> None:
        self._writer = writer
        self._fd = fd
        self._with_output = with_output
        self._last = last
        self._decoders: dict[tuple[str, str, str], TextDecoder] = {}
        self._closed = False

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        if type(event) is TaskOutput:
            if self._with_output:
                self._output(stamped, event)
            return
        if type(event) is TaskEnd or type(event) is TaskRetry:
            for stream in ("stdout", "stderr"):
                self._decoders.pop((stamped.run, event.task, stream), None)
        if not self._closed:
            self._writer.write(self._fd, encode(stamped))
        if type(event) is self._last:
            self._closed = True

    def close(self) -> None:
        """The descriptor is closed once all is written; stdout and stderr stay open."""
        self._closed = True
        fd, self._fd = self._fd, 1
        if fd > 2:
            self._writer.close_fd(fd)

    def _output(self, stamped: Stamped, event: TaskOutput) -> None:
        key = (stamped.run, event.task, event.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = TextDecoder()
        # Also where there is no whole character in it yet: the numbers of the lines must have no gap.
        text = decoder.decode(event.data)
        if not self._closed:
            self._writer.write(self._fd, encode_output(stamped, event, text))
