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


class Fifos:
    """Makes, hands out and takes back FIFOs; ``close`` removes them all."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._free: list[tuple[str, int]] = []
        self._made = 0

    def take(self) -> tuple[str, int]:
        """A path and a non-blocking descriptor to read from it; the descriptor stays ours.

        Raises:
            OSError: No FIFO can be made in the temporary folder.
        """
        if self._free:
            return self._free.pop()
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="taskrun-")  # 0700
        path = os.path.join(self._folder, f"progress-{self._made}")
        self._made += 1
        os.mkfifo(path, 0o600)
        return path, os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def give_back(self, path: str, fd: int, *, reuse: bool) -> None:
        """Its attempt has ended; ``reuse`` only if nobody can hold it open any more and it was read empty."""
        if reuse:
            self._free.append((path, fd))
            return
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path)

    def close(self) -> None:
        """Removes every FIFO and the folder."""
        for _path, fd in self._free:
            os.close(fd)
        self._free.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
