"""The raw log of an attempt: every byte in order of arrival, and in an index from which stream it came, and when.

Writing never raises and never waits for anything but the disk: when that fails, the log ends there, marked, and the
task goes on.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from taskrun.record.places import LOGS, was_removed, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.model import Clockwork
    from taskrun.record.trouble import Trouble

_MERGE = 0.01  # seconds: reads of one stream that follow each other faster share an entry
_BATCH = 512  # numbers of an index line, two for each entry
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_COPY = 256 * 1024
_SMALLEST = 64 * 1024  # bytes of a part beside a log

encode_line = msgspec.json.Encoder().encode


class IndexFile:
    """The index of all logs of a run: lines of JSON, appended; made when the first is written.

    ``{"log":NAME,"at":OFFSET,"reads":[LENGTH,SECONDS,...]}``: from that offset of what the attempt wrote, so many bytes
    came at so many seconds after the run's start; a negative length is stderr's. ``{"log":NAME,"tail":OFFSET}``: from
    there on it lies in a file beside the log, for the time being. ``{"log":NAME,"elided":[FROM,TO],"marker":LENGTH}``:
    in place of these bytes the log has a remark. ``{"log":NAME,"truncated":OFFSET,"why":TEXT}``: it ends there.
    """

    def __init__(self, path: str, trouble: Trouble) -> None:
        self._path = path
        self._trouble = trouble
        self._fd: int | None = None
        self._failed = False

    def append(self, line: dict[str, object]) -> None:
        """Adds a line in one write. Where it fails, so does only this line."""
        text = b"\n" * self._failed + encode_line(line) + b"\n"  # the one before may have been cut
        try:
            if self._fd is None:
                self._fd = os.open(self._path, _FLAGS, 0o600)
            write_all(self._fd, text)
            self._failed = False
        except OSError as error:
            self._failed = True
            self._trouble.tell("logs", "the index of the logs could not be written", error)

    def close(self) -> None:
        """Ends it. Never raises."""
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.close(fd)
            except OSError as error:  # network file systems report a full disk here
                self._trouble.tell("logs", "the index of the logs may lack its end", error)


class AttemptLog:
    """Writes one attempt's log. No file is made before the first byte comes.

    Attributes:
        path: The log's path relative to the run's folder, for ``Outcome.log``; ``None`` as long as nothing was written.
        written: Bytes that came, whether or not they were kept.
        truncated: Why the log ends early; ``None``: it does not.
        removed: Once closed: somebody had taken the file away meanwhile.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        *,
        cap: int | None,
        index: IndexFile,
        clock: Clockwork,
        trouble: Trouble,
        changed: Callable[[AttemptLog], None],
        closed: Callable[[AttemptLog], None],
    ) -> None:
        self.path: str | None = None
        self.written = 0
        self.truncated: str | None = None
        self.removed = False
        self._relative = os.path.join(LOGS, name)
        self._file = os.path.join(folder, LOGS, name)
        self._name = name
        self._head = None if cap is None else cap // 2
        self._tail = None if cap is None else _Tail(self._file, cap - cap // 2, self._note_tail)
        self._cap = cap
        self._index = index
        self._clock = clock
        self._trouble = trouble
        self._changed = changed
        self._closed = closed
        self._fd: int | None = None
        self._ended = False
        self._reads: list[float] = []  # lengths and times in turn, as the index has them
        self._reads_at = 0

    def write(self, stream: str, data: bytes) -> None:
        """Adds what was read from ``"stdout"`` or ``"stderr"``. Never raises."""
        if not data or self._ended:
            return
        if self.truncated is None:
            try:
                if self._head is None:
                    self._append(data)
                else:
                    self._append_capped(data, self._head)
            except OSError as error:
                kept = self._size() - self.written  # a disk that fills up takes a part
                if kept > 0:
                    self._note(kept if stream == "stdout" else -kept)
                self._truncate(error)
            else:
                self._note(len(data) if stream == "stdout" else -len(data))
        self.written += len(data)

    def flush(self) -> None:
        """Writes what the index lacks, so that a reader can tell the streams apart up to here."""
        reads = self._reads
        if reads:
            self._index.append({"log": self._name, "at": self._reads_at, "reads": reads})
            self._reads_at += sum(abs(int(length)) for length in reads[::2])
            self._reads = []

    def close(self) -> None:
        """Ends it: the index is written, and a capped log put together. Never raises; what comes later is dropped."""
        self._ended = True
        self.flush()
        if self._tail is not None and self._tail.started:
            self._assemble(self._tail)
        if self._fd is not None:
            self.removed = was_removed(self._file, self._fd)
            try:
                os.close(self._fd)
            except OSError as error:
                self._truncate(error)
            self._fd = None
        self._closed(self)

    def _append(self, data: bytes) -> None:
        fd = self._fd
        if fd is None:
            fd = self._fd = self._open()
        count = os.write(fd, data)
        if count < len(data):
            write_all(fd, data[count:])

    def _size(self) -> int:
        """Bytes in the log, as far as that is simple to tell."""
        if self._fd is None or self._tail is not None:
            return 0
        try:
            return os.fstat(self._fd).st_size
        except OSError:
            return 0

    def _open(self) -> int:
        try:
            fd = os.open(self._file, _FLAGS, 0o600)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(self._file), 0o700)  # not the run's folder, if somebody took that away
            fd = os.open(self._file, _FLAGS, 0o600)
        self.path = self._relative
        return fd

    def _append_capped(self, data: bytes, head: int) -> None:
        room = head - self.written
        if room > 0 or self._fd is None:
            self._append(data[: max(0, room)])
        if room < len(data):
            assert self._tail is not None
            self._tail.append(data[max(0, room) :], at=max(self.written, head))

    def _note(self, length: int) -> None:
        now = round(self._clock(), 4)
        reads = self._reads
        if not reads:
            self._changed(self)
        elif now - reads[-1] < _MERGE and (reads[-2] < 0) == (length < 0):
            reads[-2] += length
            return
        reads += (length, now)
        if len(reads) >= _BATCH:
            self.flush()

    def _note_tail(self, offset: int) -> None:
        self._index.append({"log": self._name, "tail": offset})

    def _truncate(self, error: OSError) -> None:
        if self.truncated is not None:
            return
        self.truncated = os.strerror(error.errno) if error.errno else str(error)
        kept = max(self._size(), self.written)
        self._trouble.tell("logs", f"the log {self._relative} ends after {kept:,} bytes", error)
        self.flush()
        self._index.append({"log": self._name, "truncated": kept, "why": self.truncated})

    def _assemble(self, tail: _Tail) -> None:
        """Puts the tail behind the head, with a remark between where something is left out."""
        assert self._fd is not None
        assert self._head is not None
        start = tail.kept_from
        try:
            tail.close()
            if start > self._head:
                remark = elision(start - self._head, self._cap)
                write_all(self._fd, remark)
                self._index.append({"log": self._name, "elided": [self._head, start], "marker": len(remark)})
            tail.copy_to(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._head)  # the segments stay, and are read from where they are
            self._truncate(error)
        else:
            tail.remove()


def elision(count: int, cap: int | None) -> bytes:
    """What a log has in place of the bytes that it left out."""
    why = f"the log is capped at {cap:,}" if cap is not None else "the log is capped"
    return f"\n[taskrun: {count:,} bytes left out; {why}]\n".encode()


class _Tail:
    """The last bytes of a capped log: two files of the same size, of which the older one is thrown away.

    Args:
        log: The log's path.
        size: How many bytes to keep.
        begun: Told the offset of each file.
    """

    def __init__(self, log: str, size: int, begun: Callable[[int], None]) -> None:
        self._log = log
        self._size = size
        self._segment = max(size, _SMALLEST)
        self._begun = begun
        self._segments: list[tuple[str, int]] = []  # path, offset in what the attempt wrote
        self._fd: int | None = None
        self._room = 0
        self._end = 0

    @property
    def started(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._segments)

    @property
    def kept_from(self) -> int:
        """The offset of the first byte that will be kept."""
        return max(self._segments[0][1], self._end - self._size)

    def append(self, data: bytes, at: int) -> None:
        """Adds bytes that stand at that offset of what the attempt wrote.

        Raises:
            OSError: Not all of it was written.
        """
        view, self._end = memoryview(data), at
        while view:
            if self._room == 0:
                self._next_segment()
            assert self._fd is not None
            count = os.write(self._fd, view[: self._room])
            self._room -= count
            self._end += count
            view = view[count:]

    def _next_segment(self) -> None:
        self.close()
        for path, _ in self._segments[:-1]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        path = segment_path(self._log, self._end)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments = [*self._segments[-1:], (path, self._end)]
        self._room = self._segment
        self._begun(self._end)

    def copy_to(self, fd: int) -> None:
        """Writes what is kept.

        Raises:
            OSError: Not all of it was written.
        """
        start = self.kept_from
        for path, offset in self._segments:
            with open(path, "rb", buffering=0) as segment:
                segment.seek(max(0, start - offset))
                while piece := segment.read(_COPY):
                    write_all(fd, piece)

    def remove(self) -> None:
        """Throws the files away, once they are closed."""
        for path, _ in self._segments:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._segments = []

    def close(self) -> None:
        """Leaves the files where they are.

        Raises:
            OSError: The last bytes may be lost.
        """
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def segment_path(log: str, offset: int) -> str:
    """The file for the part of a capped log that begins at an offset, while the attempt runs."""
    return f"{log}.from-{offset}"
