"""The FIFOs through which tasks report progress: one for each attempt under way, in a private folder of the run.

A FIFO and not an inherited descriptor: descriptors of two digits are a syntax error in dash and are lost through
most nested programs. It is opened for reading and writing, so that no writer ever blocks on opening it and the
reader never sees an end. A name is used again once its attempt has ended and left nothing alive.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.execute.pump import OnData, Pump, Stream


class Fifo:
    """One FIFO under way: its path for writers, its stream for us."""

    __slots__ = ("path", "stream")

    def __init__(self, path: str, stream: Stream) -> None:
        self.path = path
        self.stream = stream


class Fifos:
    """Makes, hands out and takes back FIFOs; ``close`` removes them all.

    Args:
        pump: Reads them.
        made: Told the folder once it is there, for who removes it if this process is killed.
    """

    def __init__(self, pump: Pump, made: Callable[[str], None]) -> None:
        self._pump = pump
        self._on_made = made
        self._folder: str | None = None
        self._free: list[Fifo] = []
        self._made = 0

    def take(self, on_data: OnData) -> Fifo:
        """A FIFO whose lines go to ``on_data``.

        Raises:
            OSError: None can be made in the temporary folder.
        """
        if self._free:
            fifo = self._free.pop()
            fifo.stream.on_data = on_data
            return fifo
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="taskrun-")  # 0700
            self._on_made(self._folder)
        path = os.path.join(self._folder, f"progress-{self._made}")
        self._made += 1
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return Fifo(path, self._pump.add(fd, on_data))

    def give_back(self, fifo: Fifo, *, reuse: bool) -> None:
        """Its attempt has ended; ``reuse`` only if nobody can hold it open any more and it was read empty."""
        if reuse:
            fifo.stream.on_data = _nobody
            self._free.append(fifo)
            return
        fifo.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(fifo.path)

    def close(self) -> None:
        """Removes every FIFO and the folder."""
        for fifo in self._free:
            fifo.stream.close()
        self._free.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _nobody(data: bytes) -> None:
    """What comes between two attempts belongs to neither."""
