"""What is kept of an attempt's output until its end, to be shown in one piece: little, whatever it prints."""

from __future__ import annotations

import errno
import os
import struct
from array import array
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.report.protocol import ReadLog

_IN_MEMORY = 256 << 10  # bytes
_LENGTHS = 8192  # numbers in memory
_PIECE = 64 << 10
_frame = struct.Struct("<BI")  # 1: stderr; length


class Spool:
    """Keeps the output of an attempt that has no log: a little in memory, more in a file without a name."""

    def __init__(self) -> None:
        import tempfile  # not at the top: it takes 8 ms, and few runs need it

        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed after reading

    def add(self, stream: str, data: bytes) -> None:
        """The next piece."""
        self._file.write(_frame.pack(stream == "stderr", len(data)) + data)

    def pieces(self, log: str | None, read_log: ReadLog) -> Iterator[tuple[str, bytes]]:
        """All pieces in order; the spool is closed after the last."""
        del log, read_log
        with self._file as file:
            file.seek(0)
            while head := file.read(_frame.size):
                is_stderr, length = _frame.unpack(head)
                yield "stderr" if is_stderr else "stdout", file.read(length)


class Reads:
    """Remembers which bytes of an attempt's log came from which stream, in an amount of memory that is bounded.

    The log's own index says the same, but it is one for all logs of a run: to look each up there would take time that
    grows with the square of their number.
    """

    def __init__(self) -> None:
        self._lengths = array("q")  # a negative one is stderr's; the last is at the end
        self._older: IO[bytes] | None = None
        self._total = 0

    def add(self, stream: str, data: bytes) -> None:
        """The next bytes of the log are from this stream."""
        length = len(data) if stream == "stdout" else -len(data)
        self._total += len(data)
        lengths = self._lengths
        if lengths and (lengths[-1] < 0) == (length < 0):
            lengths[-1] += length
            return
        if len(lengths) >= _LENGTHS:
            if self._older is None:
                import tempfile

                self._older = tempfile.TemporaryFile()  # noqa: SIM115 - closed after reading
            self._older.write(lengths.tobytes())
            del lengths[:]
        lengths.append(length)

    def pieces(self, log: str | None, read_log: ReadLog) -> Iterator[tuple[str, bytes]]:
        """The log's pieces, each with its stream.

        Raises:
            OSError: It cannot be read.
        """
        if log is None:
            if self._total:
                raise OSError(errno.ENODATA, "nothing of it was kept")
            return
        with open(log, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size == self._total:
                for length in self._all():
                    yield from _cut("stdout" if length > 0 else "stderr", file, abs(length))
                return
        yield from read_log(log)  # capped: its middle is not there

    def _all(self) -> Iterator[int]:
        if self._older is not None:
            with self._older as file:
                file.seek(0)
                while data := file.read(_LENGTHS * 8):
                    yield from array("q", data)
        yield from self._lengths


def _cut(stream: str, file: IO[bytes], length: int) -> Iterator[tuple[str, bytes]]:
    while length:
        data = file.read(min(length, _PIECE))
        if not data:
            return
        length -= len(data)
        yield stream, data
