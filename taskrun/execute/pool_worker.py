"""A worker of a run's pool, and an attempt's turn on it.

A turn looks like a process to whoever keeps its clocks and stops it: it ends with its call, or with the worker.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio
from trio.lowlevel import enable_ki_protection

from taskrun.execute.pump import open_pipes
from taskrun.link import HostLost, Usage
from taskrun.worker import requests, wire
from taskrun.workers.member import Member
from taskrun.workers.ticket import Turn

if TYPE_CHECKING:
    from taskrun.execute.pump import Pump, Stream
    from taskrun.workers.birthplace import Birthplace
    from taskrun.workers.member import Owner
    from taskrun.workers.ticket import Ended

_MOST_SAID = 4096  # bytes
_QUIET = 0.2  # seconds without a byte, after the end of a worker, until its pipes are given up


class Attends(Protocol):
    """The attempt whose turn it is."""

    def begun(self, turn: TaskTurn) -> None:
        """A worker has it from now on."""

    def heard(self, message: wire.AnyMessage) -> None:
        """The worker said something about it."""

    def wrote(self, stream: str, data: bytes) -> None:
        """It wrote to ``"stdout"`` or ``"stderr"``."""


class TaskTurn(Turn):
    """One call in a pool.

    Attributes:
        worker: Who has it; ``None``: nobody yet.
        status: The wait status that it has where its worker lives on.
        usage: What it took, once it has ended.
        refused: Why no worker will ever have it.
        whole: The worker lives on and waits for ``TaskWorker.put_down``.
        done: What the worker said when the call had ended; ``None``: it has not, or was asked to before.
    """

    __slots__ = ("_attempt", "_call", "_news", "done", "refused", "status", "usage", "whole", "worker")

    def __init__(self, number: int, call: bytes, attempt: Attends) -> None:
        super().__init__(number, priority=0, limit=None)
        self.worker: TaskWorker | None = None
        self.status = 0
        self.usage: Usage | None = None
        self.refused: Exception | None = None
        self.whole = False
        self.done: wire.Done | None = None
        self._attempt = attempt
        self._call = call
        self._news: trio.Event | None = None  # somebody waits

    # --- what the pool tells

    def frame(self) -> bytes:
        """The call."""
        return self._call

    def fail(self, failure: Exception) -> None:
        """No worker will carry it out."""
        self.refused = failure
        self.wake()

    def lost(self, end: Ended) -> str:
        """Its worker has ended."""
        if end.usage is None:
            self.refused = HostLost("the process supervising the workers was lost")
        else:
            self.usage = self._share_of(end.usage)
        self.wake()
        return ""

    def _share_of(self, usage: Usage) -> Usage:
        """What of a worker's whole life is this call's."""
        assert self.worker is not None
        done, before = self.done, self.worker.cpu
        if done is None:
            return msgspec.structs.replace(usage, cpu=max(0.0, usage.cpu - before))
        # How it has left its setup since is no affair of the call, but what it has left behind is.
        status = None if usage.status is None else self.status
        return msgspec.structs.replace(usage, status=status, cpu=max(0.0, done.cpu - before), max_rss=done.max_rss)

    # --- what its worker tells

    def given_to(self, worker: TaskWorker) -> None:
        """It is its turn."""
        self.worker = worker
        self._attempt.begun(self)
        self.wake()

    def heard(self, message: wire.AnyMessage) -> None:
        """Something about it."""
        self._attempt.heard(message)

    def wrote(self, stream: str, data: bytes) -> None:
        """Output."""
        self._attempt.wrote(stream, data)

    def ended(self, done: wire.Done, cpu: float) -> None:
        """The call has ended, and the worker lives on; ``cpu`` is what it took."""
        self.whole = True
        self.usage = Usage(status=self.status, cpu=cpu, max_rss=done.max_rss)
        self.wake()

    # --- a process, as ``Running`` sees it

    @property
    def pid(self) -> int:
        """The worker's."""
        assert self.worker is not None
        assert self.worker.process is not None
        return self.worker.process.pid

    async def wait(self) -> Usage:
        """Waits for the end of the call, or of the worker.

        Raises:
            HostLost: Nobody knows how it ended.
        """
        while (usage := await self.wait_news()) is None:
            pass
        return usage

    async def wait_news(self) -> Usage | None:
        """As ``wait``, but returns ``None`` when ``wake`` was called before the end."""
        if self.usage is None and self.refused is None:
            self._news = trio.Event()
            try:
                await self._news.wait()
            finally:
                self._news = None
        if self.usage is None and self.refused is not None:
            raise self.refused
        return self.usage

    def wake(self) -> None:
        """Lets whoever waits for news see how it stands."""
        if self._news is not None:
            self._news.set()


class TaskWorker(Member[TaskTurn]):
    """A worker that carries out calls of tasks; the channel is as in ``wire``.

    Args:
        outputs: Reads what it writes.
        setup: What it calls first; ``None``: nothing.
        said: Takes what it writes while it has no call.

    Attributes:
        called: Targets of its calls: they are imported.
        cpu: Seconds that it has taken for what was before the call in hand.
    """

    def __init__(
        self,
        owner: Owner,
        place: Birthplace,
        nursery: trio.Nursery,
        *,
        grace: float,
        outputs: Pump,
        setup: str | None,
        said: bytearray,
    ) -> None:
        super().__init__(owner, place, nursery, wire.Reader(), grace=grace)
        self._outputs = outputs
        self._setup = setup
        self.called: set[str] = set()
        self.cpu = 0.0
        self._said = said
        self._early = bytearray()  # what it said before it was ready; if it never is, the failure tells
        self._is_ready = False
        self._streams: list[Stream] = []
        self._over = False

    # --- for the attempt

    def tell(self, message: wire.AnyMessage) -> None:
        """Says something about the call in hand."""
        self._send(wire.encode(message))

    def ask(self, number: int) -> None:
        """Asks it to stop, by this signal: whatever it makes of that, it gets no other call."""
        if self.process is not None:
            self.ending = True
            self._place.link.stop(self.process, number)

    def dump(self) -> None:
        """Has it write its stack to its stderr."""
        if self.process is not None:
            self._place.link.dump(self.process)

    async def read_rest(self, *, held: bool) -> None:
        """Reads what its calls have written so far; ``held`` as of ``Pump.drain``."""
        await self._outputs.catch_up(self._streams, held=held)

    def put_down(self) -> None:
        """The call is over and all of it was read: another may come."""
        self._finished()
        self._owner.answered(self)

    # --- the conversation

    def _first_words(self) -> bytes:
        return wire.encode(wire.ServeTasks(setup=self._setup))

    async def _hello(self) -> requests.Hello | None:
        while messages := await self._receive():
            for message in messages:
                if isinstance(message, wire.Ready):
                    self._read_now()  # what its setup wrote is no task's
                    self.cpu = message.cpu
                    self._is_ready = message.mistake is None and message.failure is None
                    if self._is_ready:
                        self._say(bytes(self._early))
                    return requests.Hello(mistake=message.mistake, failure=message.failure)
        return None

    def give(self, turn: TaskTurn) -> None:
        """Another call."""
        turn.given_to(self)
        super().give(turn)

    def _take(self, message: Any) -> None:
        if not self.inflight:
            return
        turn = self.inflight[0]
        if not isinstance(message, wire.Done):
            turn.heard(message)
            return
        if not self.ending:
            turn.done = message
        if message.spent:
            self._read_now()
            self._over = True  # what it writes from here on is no task's
        if not message.spent and not self.ending:
            turn.ended(message, message.cpu - self.cpu)
            self.cpu = message.cpu
        elif not self.ending:  # its end settles the turn, and says what was left behind
            self.leaving = True
            self._nursery.start_soon(self._see_off)

    def _say_leave(self) -> None:
        if self._sock is not None:
            self._sock.shutdown(socket.SHUT_WR)

    @enable_ki_protection
    async def _see_off(self) -> None:
        """It is leaving its setup, which no signal interrupts: who asks has nothing to gain by asking."""
        with trio.move_on_after(self._grace) as self._patience:
            await self.gone.wait()
        if not self.gone.is_set():
            self.ending = True
            self._say(f"taskrun: a worker had not ended {self._grace:g} s later, and was killed:\n".encode())
            self.stack = await self._dump_and_kill()

    # --- output

    def _open_output(self) -> tuple[int, int]:
        (out, stdout), (err, stderr) = open_pipes()
        self._streams = [self._outputs.add(out, self._wrote_out), self._outputs.add(err, self._wrote_err)]
        return stdout, stderr

    def _wrote_out(self, data: bytes) -> None:
        self._wrote("stdout", data)

    def _wrote_err(self, data: bytes) -> None:
        self.stderr.take(data)
        self._wrote("stderr", data)

    def _wrote(self, stream: str, data: bytes) -> None:
        if self.inflight and not self._over:
            self.inflight[0].wrote(stream, data)
        elif self._is_ready:
            self._say(data)
        else:
            self._early += data[: max(0, _MOST_SAID - len(self._early))]

    def _say(self, data: bytes) -> None:
        self._said += data[: max(0, _MOST_SAID - len(self._said))]

    def _read_now(self) -> None:
        for stream in self._streams:
            all(stream.read_once() for _ in range(stream.reads_of_all()))

    async def _read_rest(self) -> None:
        await self._outputs.drain(self._streams, _QUIET)

    def _let_go(self, *, dead: bool) -> None:
        del dead  # what will be read was
        for stream in self._streams:
            stream.close()
