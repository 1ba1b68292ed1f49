"""What a worker writes to its stderr: passed on to our own, and the last of it kept, for whoever asks how it died."""

from __future__ import annotations

import contextlib
import os

import trio
from trio.lowlevel import enable_ki_protection

_TAIL = 16 * 1024  # bytes that are kept
_LINES = 40


class Stderr:
    """The last lines of one worker's stderr.

    Attributes:
        ended: Set when nobody can write to it any more.
    """

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._tail = bytearray()
        self._seen = 0  # bytes that have come

    @enable_ki_protection
    async def read(self, reading: int) -> None:
        """Reads a pipe to its end, and closes it."""
        os.set_blocking(reading, False)
        try:
            while True:
                await trio.lowlevel.wait_readable(reading)
                try:
                    data = os.read(reading, 65536)
                except BlockingIOError:
                    continue
                if not data:
                    return
                self.take(data)
                with contextlib.suppress(OSError):
                    os.write(2, data)
        finally:
            os.close(reading)
            self.ended.set()

    def take(self, data: bytes) -> None:
        """Keeps the last of what it wrote."""
        self._seen += len(data)
        self._tail += data
        del self._tail[:-_TAIL]

    async def await_stack(self, mark: bytes, patience: float) -> None:
        """Waits until a stack, with this in it, has come that was asked for just now, or so many seconds are over."""
        before = self._seen
        with trio.move_on_after(patience):
            while mark not in self._tail[-max(self._seen - before, 1) :]:  # noqa: ASYNC110 - once in a life
                await trio.sleep(0.005)
            await trio.sleep(0.01)  # for the rest of it

    def __str__(self) -> str:
        return "\n".join(self._tail.decode("utf-8", "replace").splitlines()[-_LINES:])
