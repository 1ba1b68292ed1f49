"""Sends to workers without ever waiting for one, and with one system call for all that one gets in a turn of the loop.

It knows nothing of what it sends.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort, Task, current_task, enable_ki_protection, reschedule, wait_task_rescheduled

from taskrun.frames import send_fds

if TYPE_CHECKING:
    import socket
    from typing import NoReturn


_PAUSE = 0.02  # seconds until there may be room for descriptors again, which nothing tells of


class Post:
    """Collects outboxes while the tasks of a turn run; their turn comes after all of those."""

    def __init__(self) -> None:
        self._waiting: list[Outbox] = []
        self._task: Task | None = None

    def collect(self, outbox: Outbox) -> None:
        """Has it sent in the next turn."""
        self._waiting.append(outbox)
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    @enable_ki_protection
    async def deliver(self) -> NoReturn:
        """The task that does it, for as long as the pool is open."""

        def abort(_raise_cancel: Any) -> Abort:
            self._task = None
            return Abort.SUCCEEDED

        while True:
            while self._waiting:
                self._waiting.pop().send_out()
            self._task = current_task()
            await wait_task_rescheduled(abort)


class Outbox:
    """What is on its way to one worker, in order.

    Args:
        sock: Non-blocking; whoever closes it tells trio.
        post: For what need not go at once.
        nursery: For the task that waits until there is room.
    """

    def __init__(self, sock: socket.socket, post: Post, nursery: trio.Nursery) -> None:
        self._sock = sock
        self._post = post
        self._nursery = nursery
        self._waiting = bytearray()
        self._descriptors: deque[tuple[int, int]] = deque()  # each with where its frame begins in what waits
        self._flushing = False  # a task waits for room

    def send(self, data: bytes, *, at_once: bool) -> None:
        """Sends it behind what is waiting: at once, since the worker waits for it, or with what else comes this turn.

        A worker that is gone gets nothing; its end tells who is concerned.
        """
        if self._waiting:
            self._waiting += data
        elif at_once:
            self._send(data)
        else:
            self._waiting += data
            self._post.collect(self)

    def send_descriptor(self, data: bytes, descriptor: int) -> None:
        """Sends a frame with a copy of a descriptor.

        Raises:
            OSError: There are too many.
        """
        self._descriptors.append((len(self._waiting), os.dup(descriptor)))  # it may be closed before its turn comes
        self._waiting += data
        self.send_out()

    def send_out(self) -> None:
        """Sends what is waiting, as far as there is room."""
        if self._descriptors and not self._flushing:
            self._flushing = True
            self._nursery.start_soon(self._flush)
        elif self._waiting and not self._flushing:
            data = bytes(self._waiting)
            self._waiting.clear()
            self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self._waiting += memoryview(data)[sent:]
            self._flushing = True
            self._nursery.start_soon(self._flush)

    @enable_ki_protection
    async def _flush(self) -> None:
        try:
            while self._waiting:
                await trio.lowlevel.wait_writable(self._sock)
                try:
                    self._send_some()
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno != errno.ETOOMANYREFS:  # too many descriptors under way, of all processes
                        raise
                    await trio.sleep(_PAUSE)
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            self._flushing = False
            self._waiting.clear()
            while self._descriptors:
                os.close(self._descriptors.popleft()[1])

    def _send_some(self) -> None:
        """Sends once. A descriptor goes with the first byte of its frame, and what goes with it begins there.

        Raises:
            OSError: As ``send`` does.
        """
        with memoryview(self._waiting) as view:
            if not self._descriptors:
                sent = self._sock.send(view)
            elif begin := self._descriptors[0][0]:
                with view[:begin] as before:
                    sent = self._sock.send(before)
            else:
                end = self._descriptors[1][0] if len(self._descriptors) > 1 else len(view)
                with view[:end] as frames:
                    sent = send_fds(self._sock, frames, [self._descriptors[0][1]])
                os.close(self._descriptors.popleft()[1])
        del self._waiting[:sent]
        self._descriptors = deque((begin - sent, descriptor) for begin, descriptor in self._descriptors)
