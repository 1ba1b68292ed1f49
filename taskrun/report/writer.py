"""The one thread that writes to descriptors 1 and 2, so that the loop never waits for whoever reads them.

It knows bytes and descriptors only. What is queued is bounded by its callers: they look at ``full`` and stop reading
tasks' output until ``on_space`` is called. Nothing else waits for a slow reader, a full pipe or a terminal stopped by
Ctrl+S.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from taskrun.model import ResourceError

CAPACITY = 4 << 20
"""Queued bytes at which the writer is full."""

_AT_ONCE = 1024 << 10  # bytes of one write
_PIECES = 512  # buffers of one write; IOV_MAX is 1024 everywhere
_LINGER = 0.01  # seconds
_BEHIND = 64 << 10  # queued bytes above which a reader counts as slow

Buffer: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Iterator[tuple[int, Buffer]]
"""Yields (descriptor, bytes); advanced on the writer's thread, only as fast as its bytes can be written."""

Call: TypeAlias = Callable[[], None]


def _at_once(function: Call) -> None:
    function()


def _nothing() -> None:
    pass


class Writer:
    """A queue of bytes for several descriptors, written in the order in which they came by one daemon thread.

    Bytes of one ``write`` are never separated by those of another. After an error a descriptor's bytes are dropped.

    Args:
        run_soon: Runs a function on the loop's thread soon, callable from any thread, such as
            ``trio.lowlevel.current_trio_token().run_sync_soon``. Without it the callbacks run on the writer's thread.
        on_space: The writer was full and has room again.
        on_broken: Nobody reads a descriptor any more (EPIPE); once per descriptor.
        on_error: A descriptor cannot be written, for another reason (ENOSPC, EIO, ...); once per descriptor.
        capacity: Bytes at which it is full.
    """

    def __init__(
        self,
        *,
        run_soon: Callable[[Call], object] = _at_once,
        on_space: Call = _nothing,
        on_broken: Callable[[int], None] | None = None,
        on_error: Callable[[int, OSError], None] | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self.on_space = on_space
        self.on_broken = on_broken
        self.on_error = on_error
        self.capacity = capacity
        self._run_soon = run_soon
        self._lock = threading.Lock()  # guards all below
        self._work = threading.Lock()  # held: the thread has nothing to do
        self._work.acquire()
        self._queue: deque[tuple[int, Buffer] | Source | Call] = deque()
        self._bytes = 0  # queued or being written
        self._sources = 0
        self._asleep = False  # until there is anything in the queue
        self._lingering = False  # for a moment, or until there is something urgent in it
        self._was_full = False
        self._closing = False
        self._released = threading.Event()  # cleared: nothing behind the barrier is written
        self._released.set()
        self._barred = threading.Event()  # the barrier was reached
        self._dead: set[int] = set()
        self._broken = False
        self._thread: threading.Thread | None = None

    # --- from the loop

    def write(self, fd: int, *pieces: Buffer) -> None:
        """Queues bytes for a descriptor; never blocks, also when full."""
        size = sum(map(len, pieces))
        if not size:
            return
        with self._lock:
            if self._closing or fd in self._dead:
                return
            for piece in pieces:
                self._queue.append((fd, piece))
            self._bytes += size
            if self._bytes >= self.capacity:
                self._was_full = True
            self._wake(urgent=self._bytes >= _AT_ONCE)

    def write_from(self, source: Source) -> None:
        """Queues bytes that do not exist yet: a log to copy. They do not count as queued."""
        with self._lock:
            if self._closing:
                return
            self._queue.append(source)
            self._sources += 1
            self._wake()

    def when_written(self, function: Call) -> None:
        """Calls ``function`` on the loop's thread once all that was queued before is written or dropped."""
        self._mark(lambda: self._soon(function))

    def close_fd(self, fd: int) -> None:
        """Closes a descriptor once all that was queued before is written or dropped."""
        self._mark(lambda: os.close(fd))

    @property
    def full(self) -> bool:
        """Whether those who can wait should, until ``on_space``."""
        return self._bytes >= self.capacity

    @property
    def behind(self) -> bool:
        """Whether a reader is so slow that what is only decoration should be left out."""
        return self._bytes > _BEHIND or self._sources > 0

    @property
    def broken(self) -> bool:
        """Whether whoever read stdout or stderr has gone away."""
        return self._broken

    def hold(self) -> None:
        """Writes what has been queued, then nothing until ``release``: the terminal is somebody else's."""
        if self._released.is_set():
            self._released.clear()
            self._barred.clear()
            self._mark(self._wait_release)

    def release(self) -> None:
        """Goes on writing."""
        self._released.set()

    def flush(self, timeout: float | None = None) -> bool:
        """Blocks until all that has been queued is written, for ``timeout`` seconds at most.

        While it is held, that is what was queued before ``hold``.
        """
        if self._thread is None:
            return True
        if not self._released.is_set():
            return self._barred.wait(timeout)
        done = threading.Event()
        self._mark(done.set)
        return done.wait(timeout)

    def close(self, timeout: float | None = 0.2) -> bool:
        """Writes the rest for ``timeout`` seconds at most (``None``: for as long as it takes), then gives up.

        Returns:
            Whether everything was written. The descriptors stay open.
        """
        self.release()
        with self._lock:
            self._closing = True
            if self._thread is None:
                return True
            self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _mark(self, function: Call) -> None:
        with self._lock:
            self._queue.append(function)
            self._wake()

    def _wake(self, *, urgent: bool = True) -> None:
        """Lets the thread look at the queue; it is started at the first need. The lock is held.

        What is not urgent does not disturb a thread that lingers, and will look by itself.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="taskrun writer", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                raise ResourceError(f"no thread could be started for the output: {error}") from None
        elif self._asleep or (self._lingering and urgent):
            self._asleep = self._lingering = False
            self._work.release()

    # --- the thread

    def _serve(self) -> None:
        # When the loop's thread blocks it, it is not for us: who stops the process wants to be the only one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        while True:
            item = self._take()
            if item is None:
                if not self._wait_for_work():
                    return
            elif isinstance(item, tuple):
                fd, pieces, size = item
                self._write(fd, pieces)
                self._forget(size)
            elif callable(item):
                item()
            else:
                self._copy(item)

    def _wait_for_work(self) -> bool:
        """Returns once there is something in the queue; ``False``: closed, and nothing is left to do."""
        if not self._closing:
            self._linger()
        with self._lock:
            if self._queue:
                return True
            if self._closing:
                return False
            self._asleep = True
        self._work.acquire()  # released by whoever brings work
        return True

    def _linger(self) -> None:
        """Lets a moment pass after a write: what comes meanwhile is written together, and wakes nobody.

        The two threads share one interpreter: a wake-up for every line would cost the loop more than the line itself.
        """
        with self._lock:
            self._lingering = True
        woken = self._work.acquire(timeout=_LINGER)
        with self._lock:
            if not woken and not self._lingering:  # somebody released it after the time was over
                self._work.acquire()
            self._lingering = False

    def _take(self) -> tuple[int, list[Buffer], int] | Source | Call | None:
        """The next thing to do: the bytes at the queue's head that are for one descriptor, as many as go at once."""
        with self._lock:
            queue = self._queue
            if not queue:
                return None
            head = queue.popleft()
            if not isinstance(head, tuple):
                return head
            fd, piece = head
            pieces, size = [piece], len(piece)
            while queue and size < _AT_ONCE and len(pieces) < _PIECES:
                head = queue[0]
                if not isinstance(head, tuple) or head[0] != fd:
                    break
                queue.popleft()
                pieces.append(head[1])
                size += len(head[1])
            return fd, pieces, size

    def _forget(self, size: int) -> None:
        with self._lock:
            self._bytes -= size
            tell = self._was_full and self._bytes <= self.capacity // 2
            if tell:
                self._was_full = False
        if tell:
            self._soon(self.on_space)

    def _copy(self, source: Source) -> None:
        try:
            for fd, data in source:
                self._write(fd, [data])
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread; it is raised in the loop
            caught = error
            self._soon(lambda: _raise(caught))
        with self._lock:
            self._sources -= 1

    def _wait_release(self) -> None:
        self._barred.set()
        self._released.wait()

    def _write(self, fd: int, pieces: list[Buffer]) -> None:
        if fd in self._dead:
            return
        try:
            _write_all(fd, pieces)
        except OSError as error:
            self._dead.add(fd)
            self._tell(fd, error)

    def _tell(self, fd: int, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            self._broken = self._broken or fd in {1, 2}
            if self.on_broken is not None:
                broken = self.on_broken
                self._soon(lambda: broken(fd))
        elif self.on_error is not None:
            failed = self.on_error
            self._soon(lambda: failed(fd, error))

    def _soon(self, function: Call) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for the news
            self._run_soon(function)


def _raise(error: Exception) -> None:
    raise error


def _write_all(fd: int, pieces: list[Buffer]) -> None:
    """Writes all bytes, however little goes at once and whether or not the descriptor blocks."""
    while pieces:
        try:
            written = os.writev(fd, pieces)
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
            continue
        while pieces and written >= len(pieces[0]):
            written -= len(pieces[0])
            del pieces[0]
        if written:
            pieces[0] = memoryview(pieces[0])[written:]
