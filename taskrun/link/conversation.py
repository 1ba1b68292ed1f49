"""Requests and answers over the host's socket, for trio. It knows the form of messages and not what they mean.

This is the hottest path of the runner: no event, no cancel scope and no task of its own per message.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from taskrun.frames import FrameReader, MalformedFrame, pack, send_fds
from taskrun.link.values import HostLost

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_TICK = 0.5  # seconds between two looks at whether the host answers
_PATIENCE = 10  # looks; counted, not timed, so that a laptop's sleep or a stopped runner is not the host's fault


_open: weakref.WeakSet[Conversation] = weakref.WeakSet()


def _forget_all() -> None:
    """In a fork of the program: a host ends with the program, and must not believe that the fork is it."""
    for conversation in list(_open):
        conversation.closed = True
        conversation._sock.close()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forget_all)


class Conversation:
    """A socket to the host, and who waits for which answer.

    Attributes:
        closed: No request is taken any more.
        over: Nothing comes any more.
        why: For ``HostLost``, once ``closed``.

    Args:
        sock: Connected to the host.
        take: Called with each message that comes: kind, number, content.
    """

    def __init__(self, sock: _socket.socket, take: Callable[..., None]) -> None:
        self.closed = False
        self.over = False
        self.why = ""
        self._sock = sock
        self._sock.setblocking(False)
        self._fd = sock.fileno()
        self._take = take
        self._reader = FrameReader()
        self._out: list[tuple[bytes, list[int]]] = []
        self._out_waits = trio.Event()
        self._waiting: dict[int, Task] = {}
        self._answers: dict[int, Any] = {}
        self._told = False  # something was sent that is not answered
        self._pinged = False
        _open.add(self)

    # --- requests ---

    def waits(self, number: int) -> bool:
        """Whether somebody waits for the answer to request ``number``."""
        return number in self._waiting

    async def ask(self, number: int, message: Any, fds: list[int]) -> Any:
        """Sends a request and waits for its answer; ``fds`` must stay open until then.

        When cancelled it withdraws the request and still waits for the answer, which then comes at once: so a process
        is either never started, or known and killed.

        Raises:
            HostLost: The host is gone.
        """
        await checkpoint_if_cancelled()
        if self.closed:
            raise HostLost(self.why)
        self._waiting[number] = current_task()
        self._send(pack(message), fds)
        cancelled = False

        def abort(_raise_cancel: Any) -> Abort:
            nonlocal cancelled
            cancelled = True
            if not self.closed:
                self._send(pack(("kill", number)), [])
            return Abort.FAILED

        await wait_task_rescheduled(abort)
        answer = self._answers.pop(number, None)
        if cancelled:
            await checkpoint_if_cancelled()
        if answer is None:
            raise HostLost(self.why)
        return answer

    def answer(self, number: int, answer: Any) -> None:
        """Hands ``answer`` to who waits for it, if anybody does."""
        task = self._waiting.pop(number, None)
        if task is not None:
            self._answers[number] = answer
            reschedule(task)

    def tell(self, *message: Any, fds: list[int] | None = None) -> None:
        """Sends what is not answered; ``fds`` must stay open for good. Whether it was heard is found out later."""
        if not self.closed:
            self._told = True
            self._send(pack(message), fds or [])

    def close(self) -> None:
        """Lets everyone who waits find out that nothing comes any more."""
        self.closed = self.over = True
        self._sock.close()
        waiting, self._waiting = self._waiting, {}
        for task in waiting.values():
            reschedule(task)

    # --- the socket ---

    def _send(self, data: bytes, fds: list[int]) -> None:
        """Sends at once where there is room; the rest is sent in order by ``_write``."""
        sent = 0
        if not self._out:
            sent = self._send_now(data, fds)
            if sent == len(data):
                return
        self._out.append((data[sent:], [] if sent else fds))
        self._out_waits.set()

    def _send_now(self, data: bytes, fds: list[int]) -> int:
        try:
            return send_fds(self._sock, data, fds) if fds else self._sock.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:  # the reader finds out
            return len(data)
        except OSError:  # ETOOMANYREFS: too many descriptors are under way
            return 0

    @enable_ki_protection
    async def _write(self) -> None:
        while True:
            await self._out_waits.wait()
            await trio.lowlevel.wait_writable(self._fd)
            while self._out:
                data, fds = self._out[0]
                sent = self._send_now(data, fds)
                if sent < len(data):
                    self._out[0] = (data[sent:], [] if sent else fds)
                    await trio.sleep(0.001)
                    break
                del self._out[0]
            else:
                self._out_waits = trio.Event()

    async def _read(self) -> None:
        """Takes messages until the socket ends."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                data = self._sock.recv(65536)
                if not data:
                    return
                for message in self._reader.feed(data):
                    if message[0] == "done" and message[1] == 0:
                        self._pinged = False
                    else:
                        self._take(*message)
            except BlockingIOError:
                continue
            except (ConnectionError, MalformedFrame):
                return

    @enable_ki_protection
    async def _watch(self, reading: trio.CancelScope) -> None:
        """Ends ``reading`` when the host owes an answer and gives none.

        It answers in order, and nothing that it does takes long, save starting a program whose file lies on a dead
        mount. That a template imports for minutes does not keep it from answering a ping.
        """
        ticks = 0
        while True:
            await trio.sleep(_TICK)
            if self._pinged:
                ticks += 1
                if ticks >= _PATIENCE:
                    self.why = f"it did not answer for {_TICK * _PATIENCE:g} s"
                    reading.cancel()
            elif self._waiting or self._told:
                ticks = 0
                self._pinged, self._told = True, False
                self._send(pack(("ping", 0)), [])

    async def run(self) -> None:
        """Talks until the host's end, or until it has been silent for too long; then ``why`` says so."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            with trio.CancelScope() as reading:
                nursery.start_soon(self._watch, reading)
                await self._read()
            nursery.cancel_scope.cancel()
        self.closed = True
