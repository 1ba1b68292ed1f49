"""Reads a log back: all of it, or what came from one stream; also while it is written, or after its writer was killed.

Offsets are those of what the attempt wrote, also where a cap left some of it out.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from taskrun.record.logs import elision, segment_path
from taskrun.record.places import LOGS

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Line(msgspec.Struct):
    log: str
    at: int = 0
    reads: list[float] = msgspec.field(default_factory=list)
    tail: int | None = None
    elided: tuple[int, int] | None = None
    marker: int = 0
    truncated: int | None = None
    why: str = ""


class LogIndex:
    """What the index says of one log.

    Attributes:
        starts: Offsets at which reads begin, rising; ``ends`` where they end, ``stderr`` whether they are stderr's, and
            ``times`` when they came, in seconds after the run's start.
        tails: Offsets at which parts begin that may lie beside the log.
        elided: From where to where bytes were left out, and how long the remark in their place is.
        truncated: Why the log ends early; empty: it does not.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stderr: list[bool] = []
        self.times: list[float] = []
        self.ends: list[int] = []
        self.tails: list[int] = []
        self.elided: tuple[int, int, int] | None = None
        self.truncated = ""

    @property
    def covered(self) -> int:
        """The offset up to which it goes."""
        return self.ends[-1] if self.ends else 0

    def add(self, line: _Line) -> None:
        """Takes the next line that is about this log."""
        if line.elided is not None:
            self.elided = (*line.elided, line.marker)
        if line.truncated is not None:
            self.truncated = line.why
        if line.tail is not None:
            self.tails.append(line.tail)
        at = line.at
        if at < self.covered:
            return
        for length, time in zip(line.reads[::2], line.reads[1::2], strict=False):
            self.starts.append(at)
            self.stderr.append(length < 0)
            self.times.append(time)
            at += abs(int(length))
            self.ends.append(at)


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
    """A stretch of what the attempt wrote: where it starts there, and where it lies; before it, what may be missing."""

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
        remark, data, start, end = self._read(at, most, wait=stream is not None and self.waits_for_index)
        if stream is not None:
            runs = self._runs(start, end)
            data = b"".join(data[first - start : after - start] for of, first, after in runs if of in {stream, None})
        return remark + data, end

    def pieces(self, most: int = 1024 * 1024) -> Iterator[tuple[str, bytes]]:
        """All of it in order of arrival, each piece with the stream that it came from.

        Args:
            most: Bytes of a piece, at most.
        """
        at = 0
        while at < self.end:
            remark, data, start, at = self._read(at, most, wait=False)
            if remark:
                yield "stderr", remark
            for stream, first, after in self._runs(start, at):
                if piece := data[first - start : after - start]:
                    yield stream or "stdout", piece

    def _read(self, at: int, most: int, *, wait: bool) -> tuple[bytes, bytes, int, int]:
        """The remark on what is missing before, the bytes, and from where to where they stand."""
        part = next((part for part in self._parts if at < part.start + part.length), None)
        if part is None:
            return b"", b"", at, at
        remark = part.remark if part.start > at else b""
        at = max(at, part.start)
        end = min(at + most, part.start + part.length)
        if wait:
            end = min(end, max(at, self.index.covered))
        data = _read_at(part.path, part.offset + at - part.start, end - at)
        if len(data) < end - at:  # it shrank or vanished meanwhile: what is missing counts as read
            end = at + len(data) if data else part.start + part.length
        return remark, data, at, end

    def _runs(self, at: int, end: int) -> Iterator[tuple[str | None, int, int]]:
        """Cuts a stretch by where its bytes came from; ``None``: the index does not say."""
        index = self.index
        for entry in range(bisect_right(index.ends, at), len(index.ends)):
            start, after = index.starts[entry], min(index.ends[entry], end)
            if start >= end:
                break
            if start > at:  # a line of the index was lost
                yield None, at, start
            yield ("stderr" if index.stderr[entry] else "stdout"), max(at, start), after
            at = after
        if at < end:
            yield None, at, end


def _find_parts(path: str, index: LogIndex) -> list[_Part]:
    """Where the bytes lie: in the log, and for a capped one whose writer has not put it together, beside it."""
    size = _size(path)
    if size is None:
        return []
    beside = [
        _Part(offset, length, segment, 0)
        for offset in index.tails[-2:]
        if (length := _size(segment := segment_path(path, offset)))
    ]
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
