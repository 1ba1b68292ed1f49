"""Reads a log back: all of it, or what came from one stream; also while it is written, or after its writer was killed.

Offsets are those of what the attempt wrote, also where a cap left some of it out.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from typing import TypeAlias

import msgspec

from taskrun.record.logs import elision, segment_offset
from taskrun.record.places import LOGS


class _Line(msgspec.Struct):
    log: str
    at: int = 0
    reads: list[float] = msgspec.field(default_factory=list)
    elided: tuple[int, int] | None = None
    marker: int = 0
    truncated: int | None = None
    why: str = ""


class LogIndex:
    """What the index says of one log.

    Attributes:
        starts: Offsets at which a read begins, rising; ``stderr`` says of each whether it is stderr's, ``times`` when
            it came, in seconds after the run's start.
        covered: The offset up to which it goes.
        elided: From where to where bytes were left out, and how long the remark in their place is.
        truncated: Why the log ends early; empty: it does not.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stderr: list[bool] = []
        self.times: list[float] = []
        self.covered = 0
        self.elided: tuple[int, int, int] | None = None
        self.truncated = ""

    def add(self, line: _Line) -> None:
        """Takes the next line that is about this log."""
        if line.elided is not None:
            self.elided = (*line.elided, line.marker)
        if line.truncated is not None:
            self.truncated = line.why
        if not line.reads or line.at < self.covered:
            return
        at = line.at
        for length, time in zip(line.reads[::2], line.reads[1::2], strict=False):
            self.starts.append(at)
            self.stderr.append(length < 0)
            self.times.append(time)
            at += abs(int(length))
        self.covered = at


Index: TypeAlias = dict[str, LogIndex]


def load_index(path: str) -> Index:
    """The index of a run's logs, by their file names; damaged lines are left out."""
    index: Index = {}
    decode = msgspec.json.Decoder(_Line).decode
    with contextlib.suppress(OSError), open(path, "rb") as file:
        for text in file:
            try:
                line = decode(text)
            except (msgspec.DecodeError, ValueError):
                continue
            index.setdefault(line.log, LogIndex()).add(line)
    return index


class _Part(msgspec.Struct):
    """A stretch of what the attempt wrote: where it starts there, where it lies, and the remark on what is missing
    before it.
    """

    start: int
    length: int
    path: str
    offset: int
    remark: bytes = b""


class LogFile:
    """One attempt's log, as it is when this is made.

    Attributes:
        index: What came from which stream and when.
        end: The offset after the last byte.
        waits_for_index: Bytes that the index does not cover yet are left for later if one stream is asked for. If
            not, they are given whichever is asked for: better twice than not at all.
    """

    def __init__(self, folder: str, name: str, index: Index) -> None:
        self.index = index.get(name, LogIndex())
        self.waits_for_index = False
        self._parts = _find_parts(os.path.join(folder, LOGS, name), self.index)
        self.end = max((part.start + part.length for part in self._parts), default=0)

    def read(self, at: int, most: int, stream: str | None = None) -> tuple[bytes, int]:
        """Reads on from an offset.

        Args:
            at: The offset, 0 at first.
            most: Bytes to look at, about.
            stream: ``"stdout"``, ``"stderr"``, or ``None`` for both.

        Returns:
            The bytes, perhaps none, and the offset to go on from; the same one where there is nothing more.
        """
        part = next((part for part in self._parts if at < part.start + part.length), None)
        if part is None:
            return b"", at
        remark = part.remark if part.start > at else b""
        at = max(at, part.start)
        end = min(at + most, part.start + part.length)
        if stream is not None and self.waits_for_index:
            end = min(end, max(at, self.index.covered))
        data = _read_at(part.path, part.offset + at - part.start, end - at)
        if len(data) < end - at:  # it shrank or vanished meanwhile
            end = part.start + part.length
        return remark + (data if stream is None else self._only(stream, data, at)), end

    def _only(self, stream: str, data: bytes, at: int) -> bytes:
        """The bytes of ``data`` that came from one stream."""
        index, end = self.index, at + len(data)
        if at >= index.covered:
            return data
        wanted = stream == "stderr"
        kept: list[bytes] = []
        first = max(0, bisect_right(index.starts, at) - 1)
        for entry in range(first, len(index.starts)):
            start = index.starts[entry]
            if start >= end:
                break
            after = index.starts[entry + 1] if entry + 1 < len(index.starts) else index.covered
            if index.stderr[entry] == wanted:
                kept.append(data[max(0, start - at) : max(0, after - at)])
        if end > index.covered:
            kept.append(data[max(0, index.covered - at) :])
        return b"".join(kept)


def _find_parts(path: str, index: LogIndex) -> list[_Part]:
    """Where the bytes lie: in the log, and for a capped one whose writer has not put it together, beside it."""
    size = _size(path)
    if size is None:
        return []
    beside = [_Part(offset, length, segment, 0) for offset, segment in _segments(path) if (length := _size(segment))]
    if index.elided is not None:
        start, end, marker = index.elided
        rest = size - start - marker
        if rest > 0 and all(part.start + part.length <= end + rest for part in beside):
            remark = _read_at(path, start, marker)
            return [_Part(0, start, path, 0), _Part(end, rest, path, start + marker, remark)]
        size = min(start, size)  # it was stopped while it put the log together
    parts = [_Part(0, size, path, 0)]
    for part in beside:
        reached = parts[-1].start + parts[-1].length
        if part.start + part.length > reached:
            parts.append(part)
            part.remark = elision(part.start - reached, None) if part.start > reached else b""
    return parts


def _segments(path: str) -> list[tuple[int, str]]:
    folder, name = os.path.split(path)
    try:
        beside = os.listdir(folder)
    except OSError:
        return []
    found = [(offset, os.path.join(folder, other)) for other in beside if (offset := segment_offset(name, other)) >= 0]
    return sorted(found)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _read_at(path: str, offset: int, length: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            pieces = []
            while length > 0 and (piece := file.read(length)):
                pieces.append(piece)
                length -= len(piece)
            return b"".join(pieces)
    except OSError:
        return b""
