"""Reads every pipe of every task from one trio task, through one selector of its own.

A trio task and a wait per pipe would cost more than many a task's whole work. The pump knows bytes and callbacks
only; what they mean is the attempt's affair.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Callable
from typing import TypeAlias

import trio

CHUNK = 65536  # a pipe's default size: larger reads gain nothing here
_BATCH = 32  # streams served between two looks at the rest of the program
_AT_ONCE = 4  # whole chunks of one stream in a row: while one is handed on, its writer has filled the pipe again

OnData: TypeAlias = Callable[[bytes], None]


def open_pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """The pipes of a process's stdout and stderr, the reading end of each first; both or none.

    Raises:
        OSError: No descriptors left.
    """
    out = os.pipe()
    try:
        return out, os.pipe()
    except OSError:
        os.close(out[0])
        os.close(out[1])
        raise


class Stream:
    """The reading end of one pipe, FIFO or socket; owned by the pump until it is closed."""

    __slots__ = ("_pump", "closed", "fd", "on_data")

    def __init__(self, pump: Pump, fd: int, on_data: OnData) -> None:
        self._pump = pump
        self.on_data = on_data
        self.fd = fd
        self.closed = False

    def read_once(self) -> int:
        """Reads at most one chunk and hands it on; its length, 0 if there was nothing, or the end had come."""
        if self.closed:
            return 0
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return 0
        except OSError:  # ECONNRESET on a socket, EIO on a pty: nobody can write to it any more
            data = b""
        if not data:
            self.close()
            return 0
        self.on_data(data)
        return len(data)

    def reads_of_all(self) -> int:
        """So many reads get all that is in the pipe: what comes by more of them was written after now."""
        try:
            room = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ)
        except (OSError, AttributeError):  # no pipe, or no Linux
            room = 1 << 20
        return room // CHUNK + 2

    def close(self) -> None:
        """Stops reading and closes the descriptor; a second call does nothing."""
        if not self.closed:
            self.closed = True
            self._pump.forget(self)
            os.close(self.fd)


class Pump:
    """One selector and the task that serves it. ``hold`` stops the reading without losing anything."""

    def __init__(self) -> None:
        self._ready = _Ready()
        self._streams: dict[int, Stream] = {}
        self._released = trio.Event()
        self._released.set()
        self._holders: set[str] = set()

    def add(self, fd: int, on_data: OnData) -> Stream:
        """Takes over ``fd`` (made non-blocking) and calls ``on_data`` with what arrives, 64 KiB at most at a time."""
        os.set_blocking(fd, False)
        stream = self._streams[fd] = Stream(self, fd, on_data)
        self._ready.watch(fd)
        return stream

    def forget(self, stream: Stream) -> None:
        """A stream is about to be closed."""
        del self._streams[stream.fd]
        self._ready.will_close(stream.fd)

    @property
    def held(self) -> bool:
        """Whether reading is stopped."""
        return bool(self._holders)

    def hold(self, holder: str) -> None:
        """Reads nothing more until this holder, and every other, has let go: nobody has room for what is read."""
        if not self._holders:
            self._released = trio.Event()
        self._holders.add(holder)

    def release(self, holder: str) -> None:
        """This holder lets go."""
        if self._holders:
            self._holders.discard(holder)
            if not self._holders:
                self._released.set()

    async def serve(self) -> None:
        """Reads for ever; run it in the nursery of the run."""
        while True:
            await self._released.wait()
            await trio.lowlevel.wait_readable(self._ready.fd)
            for fd in self._ready.now():
                if self._holders:
                    break
                stream = self._streams.get(fd)
                if stream is not None:  # what came before it may have ended an attempt
                    self._read_some(stream)

    def _read_some(self, stream: Stream) -> None:
        for _ in range(_AT_ONCE):
            if stream.read_once() < CHUNK or self._holders:
                return

    def close(self) -> None:
        """Nothing is read any more; the streams have been closed before."""
        self._ready.close()

    async def drain(self, streams: list[Stream], quiet: float, *, held: bool = True) -> bool:
        """Reads streams whose writers should be dead to their end, or until nothing has come for ``quiet`` seconds.

        It ends also where a stranger holds the other end and writes for ever: what the dead had written is in the pipe.
        Without ``held`` it reads, no more than that, whoever holds the reading up.

        Returns:
            Whether the end of every one of them was seen.
        """
        whole = True
        for stream in streams:
            if not stream.closed:
                await self._drain_one(stream, quiet, held=held)
                whole = whole and stream.closed
        return whole

    async def catch_up(self, streams: list[Stream], *, held: bool = True) -> None:
        """Reads what is in streams now, whose writers live on; ``held`` as of ``drain``."""
        for stream in streams:
            if self._holders and held:
                await self._released.wait()
            reads = 0 if stream.closed or not stream.read_once() else stream.reads_of_all()  # mostly it was silent
            while reads and not stream.closed:
                if self._holders and held:
                    await self._released.wait()
                if not stream.read_once():
                    break
                reads -= 1

    async def _drain_one(self, stream: Stream, quiet: float, *, held: bool) -> None:
        reads = stream.reads_of_all()
        while reads and not stream.closed:
            if self._holders and held:
                await self._released.wait()
            if stream.read_once():
                reads -= 1
                continue
            if stream.closed:
                return
            # Somebody still holds the writing end. The pump may read in the meantime: only silence counts.
            self._ready.unwatch(stream.fd)
            try:
                with trio.move_on_after(quiet) as scope:
                    await trio.lowlevel.wait_readable(stream.fd)
            finally:
                self._ready.watch(stream.fd)
            if scope.cancelled_caught:
                return


class _Epoll:
    """Which of many descriptors can be read. The kernel forgets one that is closed, since nobody shares ours."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self.fd = self._poll.fileno()

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)

    def will_close(self, fd: int) -> None:
        pass

    def now(self) -> list[int]:
        return [fd for fd, _events in self._poll.poll(0, _BATCH)]

    def close(self) -> None:
        self._poll.close()


class _Portable:
    """The same where there is no epoll."""

    def __init__(self) -> None:
        import selectors

        self._selector = selectors.DefaultSelector()
        self.fd = self._selector.fileno()

    def watch(self, fd: int) -> None:
        self._selector.register(fd, 1)  # selectors.EVENT_READ

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    will_close = unwatch

    def now(self) -> list[int]:
        return [key.fd for key, _events in self._selector.select(0)[:_BATCH]]

    def close(self) -> None:
        self._selector.close()


_Ready = _Epoll if hasattr(select, "epoll") else _Portable
