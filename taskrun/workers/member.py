"""One worker process of a pool, from the wish for it to its end: its channel, its clock, and the ladder that ends it.

It decides nothing about which request goes where, and nothing about who takes its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

from taskrun.link import HostLost, SpawnError
from taskrun.worker import framing, requests
from taskrun.workers.errors import WorkerStartFailed, how_it_ended
from taskrun.workers.post import Outbox
from taskrun.workers.stderr import Stderr
from taskrun.workers.ticket import Turn

if TYPE_CHECKING:
    from taskrun.link import Process, Usage
    from taskrun.workers.birthplace import Birthplace
    from taskrun.workers.post import Post

T = TypeVar("T", bound=Turn)

NEVER = float("inf")
_MOMENT = 0.1  # seconds in which a handler that nobody waits for may end by itself, and spare the worker
_FORK = 1.0  # seconds that a fork under way is waited for, where its template may be importing
_DUMP = 0.5  # seconds that a worker gets to write its stack


class Owner(Protocol):
    """The pool, as its workers see it."""

    def ready(self, member: Member[Any]) -> None:
        """It has said hello."""

    def start_failed(self, member: Member[Any], failure: WorkerStartFailed) -> None:
        """It never will."""

    def answered(self, member: Member[Any]) -> None:
        """A request was answered; it has room for another."""

    def ended(self, member: Member[Any], usage: Usage | None) -> None:
        """Its process is gone, with what is still in ``member.inflight``; ``None``: nobody knows how."""

    def due(self, at: float) -> None:
        """A clock runs out then."""

    @property
    def post(self) -> Post:
        """Sends what can wait for the end of a turn."""


class Member(Generic[T]):
    """A worker; what it is told, and what it says, is the subclass's affair.

    Attributes:
        inflight: What it was given, the one in work first.
        deadline: When the one in work has used up its time.
        ending: It is being made to end.
        leaving: It was told to end once it has nothing to do.
        quits: It was told to end by somebody else, and begins nothing more.
        operations: What its hello said.
        served: Requests answered.
        idle_since: When it was last left without work.
        stderr: Its last lines there.
        stack: Where it was when it had to be killed.
        gone: Set when the process and its stderr have ended.
    """

    def __init__(
        self, owner: Owner, place: Birthplace, nursery: trio.Nursery, frames: framing.Frames, *, grace: float
    ) -> None:
        self.inflight: deque[T] = deque()
        self.deadline = NEVER
        self.ending = False
        self.leaving = False
        self.quits = False
        self.operations: dict[str, str] = {}
        self.served = 0
        self.idle_since = NEVER
        self.gone = trio.Event()
        self.process: Process | None = None
        self.stderr = Stderr()
        self.stack = ""
        self.listed = False  # the pool's own: it is among those with room
        self.worn = False  # the pool's too: it gets nothing any more
        self.memory_looked = 0.0  # likewise
        self._owner = owner
        self._place = place
        self._nursery = nursery
        self._grace = grace
        self._sock: socket.socket | None = None
        self._frames = frames
        self._outbox: Outbox | None = None
        self._beginning = trio.CancelScope()
        self._is_unwanted = False
        self._patience = trio.CancelScope()  # the clock of what is waited for now, in its life as a whole
        self._held: float | None = None  # seconds that were left on it
        self._stack_mark = b"most recent call first"

    # --- life

    @enable_ki_protection
    async def live(self) -> None:
        """The whole of it; never raises but for a cancellation."""
        usage: Usage | None = None
        failure: WorkerStartFailed | None = None
        try:
            try:
                await self._begin()
            except WorkerStartFailed as error:
                failure = error
            else:
                self.idle_since = trio.current_time()
                self._owner.ready(self)
                await self._talk()
            usage = await self._bury()
        finally:
            self._close()
            self._let_go(dead=usage is not None)
            self.gone.set()
        if failure is not None:
            self._owner.start_failed(self, failure)
        else:
            self._owner.ended(self, usage)

    async def _begin(self) -> None:
        """From nothing to its hello.

        Raises:
            WorkerStartFailed: It did not come so far.
        """
        startup = NEVER if self._place.startup is None else self._place.startup
        hello = None
        with self._beginning, trio.move_on_after(startup) as clock:
            self._patience = clock
            await self._fork()
            if self._is_unwanted:
                self._beginning.cancel()
                await trio.lowlevel.checkpoint()
            self._send(self._first_words())
            hello = await self._hello()
        if self._beginning.cancelled_caught:
            if self.process is not None:
                self._place.link.kill(self.process)
                await self._bury()
            raise WorkerStartFailed("crash", "the worker was ended before it was ready")
        if clock.cancelled_caught:
            stack = await self._dump_and_kill()
            text = f"the worker was not ready within {startup:g} s"
            raise WorkerStartFailed("timeout", text, stack)
        if hello is None:
            usage = await self._bury()
            raise WorkerStartFailed("crash", f"the worker {how_it_ended(usage)} before it was ready", str(self.stderr))
        if hello.mistake is not None:
            hint = f" ({hello.mistake.hint})" if hello.mistake.hint else ""
            raise WorkerStartFailed("import", hello.mistake.message + hint, hello.mistake.traceback)
        if hello.failure is not None:
            text = f"the worker's state could not be made: {hello.failure.message}"
            raise WorkerStartFailed("state", text, hello.failure.traceback)
        self.operations = hello.operations
        if hello.runs_trio:
            self._stack_mark = requests.TASKS.encode()

    async def _fork(self) -> None:
        place = self._place
        try:
            theirs, stdout, stderr = self._open()
        except OSError as error:  # too many descriptors
            raise WorkerStartFailed("spawn", str(error)) from None
        try:
            self.process = await place.link.call(
                place.template,
                env=place.env,
                cwd=place.template.cwd,
                channel=theirs.fileno(),
                stdin=None,
                stdout=stdout,
                stderr=stderr,
            )
        except SpawnError as error:
            raise WorkerStartFailed("spawn", str(error)) from None
        except HostLost as error:
            raise WorkerStartFailed("spawn", f"the process that supervises the workers was lost: {error}") from None
        finally:
            theirs.close()
            os.close(stderr)
            if stdout != place.stdout:
                os.close(stdout)

    def _first_words(self) -> bytes:
        """What it is told when it lives."""
        raise NotImplementedError

    def _open(self) -> tuple[socket.socket, int, int]:
        """Its channel and its output.

        Returns:
            Its end of the channel, its stdout and its stderr.

        Raises:
            OSError: There is no room for them.
        """
        self._sock, theirs = socket.socketpair()
        self._sock.setblocking(False)
        self._outbox = Outbox(self._sock, self._owner.post, self._nursery)
        try:
            return theirs, *self._open_output()
        except OSError:
            theirs.close()
            raise

    def _open_output(self) -> tuple[int, int]:
        """Its stdout, the pool's or its own, and its stderr; reads what it writes.

        Raises:
            OSError: There is no room for them.
        """
        reading, writing = os.pipe()
        self._nursery.start_soon(self.stderr.read, reading)
        return self._place.stdout, writing

    async def _hello(self) -> requests.Hello | None:
        """Its first words; ``None``: it has died before."""
        raise NotImplementedError

    async def _talk(self) -> None:
        while messages := await self._receive():
            for message in messages:
                self._take(message)

    async def _receive(self) -> list[Any] | None:
        """The next messages, one at least; ``None``: there will be none."""
        assert self._sock is not None
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._read(self._sock)
                messages = self._frames.feed(data) if data else None
            except BlockingIOError:
                continue
            except (OSError, framing.Garbled):
                return None
            if messages is None or messages:
                return messages

    def _read(self, sock: socket.socket) -> bytes:
        """What has come, as ``recv`` gives it."""
        return sock.recv(self._frames.appetite)

    def _take(self, message: Any) -> None:
        """Something that it says, once it is ready."""
        raise NotImplementedError

    def _finished(self) -> T:
        """The work in hand is done, and taken off it."""
        turn = self.inflight.popleft()
        self.served += 1
        self._begin_next()
        return turn

    # --- work

    def give(self, turn: T) -> None:
        """Another request for it, behind those that it has."""
        turn.attempt += 1
        self.inflight.append(turn)
        self._send(turn.frame())
        if len(self.inflight) == 1:
            self._begin_next()

    def _begin_next(self) -> None:
        """The first request is in work from now on."""
        if not self.inflight:
            self.deadline = NEVER
            self.idle_since = trio.current_time()
            return
        limit = self.inflight[0].limit
        if self.inflight[0].unwanted:  # it was behind another one when its sender went away
            limit = _MOMENT if limit is None else min(limit, _MOMENT)
        if limit is None:
            self.deadline = NEVER
        else:
            self.deadline = trio.current_time() + limit
            self._owner.due(self.deadline)

    def _send(self, data: bytes) -> None:
        if self._outbox is not None:  # else it has died: its end tells who is concerned
            self._outbox.send(data, at_once=len(self.inflight) <= 1)

    # --- the clock of its start and its end

    def hold(self) -> None:
        """All stands still: time does not count, until ``release``."""
        if self._held is None:
            self._held = self._patience.deadline - trio.current_time()
            self._patience.deadline = NEVER

    def release(self) -> None:
        """It counts again."""
        if self._held is not None:
            self._patience.deadline = trio.current_time() + self._held
            self._held = None

    # --- the end

    def retire(self) -> None:
        """It has nothing to do, or will do nothing more, and gets nothing: it leaves its state and ends."""
        if not self.leaving and not self.ending:
            self.leaving = True
            self._say_leave()
            self._nursery.start_soon(self._see_off)

    def _say_leave(self) -> None:
        raise NotImplementedError

    @enable_ki_protection
    async def _see_off(self) -> None:
        with trio.move_on_after(self._grace) as self._patience:
            await self.gone.wait()
        if not self.gone.is_set():
            self.end()

    def end(self, *, now: bool = False) -> None:
        """Makes it end: asks it, and kills it after the grace period, or ``now``."""
        if self.gone.is_set():
            return
        if self.process is None:  # being forked: one that nobody has heard of yet would be left behind
            self._is_unwanted = True
            self._beginning.deadline = min(self._beginning.deadline, trio.current_time() + _FORK)
        elif now:
            self.ending = True
            self._place.link.kill(self.process)
        elif not self.ending:
            self.ending = True
            self.deadline = NEVER
            self._nursery.start_soon(self._ladder, self.process)

    @enable_ki_protection
    async def _ladder(self, process: Process) -> None:
        self._place.link.stop(process, signal.SIGTERM)
        with trio.move_on_after(self._grace):
            await self.gone.wait()
        if not self.gone.is_set():
            self.stack = await self._dump_and_kill()

    async def _dump_and_kill(self) -> str:
        """Returns where it was, as its own faulthandler tells it."""
        if self.process is None:
            return ""
        self._place.link.dump(self.process)
        await self.stderr.await_stack(self._stack_mark, _DUMP)
        self._place.link.kill(self.process)
        return str(self.stderr)

    async def _bury(self) -> Usage | None:
        """Waits for the process's end, which is near or brought about, and for the rest of its stderr."""
        if self.process is None:
            return None
        self._close()  # one that still lives ends of that, or is killed
        with trio.move_on_after(self._grace), contextlib.suppress(HostLost):
            return await self._ended()
        self._place.link.kill(self.process)
        with contextlib.suppress(HostLost):
            return await self._ended()
        return None

    async def _ended(self) -> Usage:
        assert self.process is not None
        usage = await self.process.wait()
        await self._read_rest()
        return usage

    async def _read_rest(self) -> None:
        with trio.move_on_after(1.0):  # whoever still holds it has been killed, but for strangers
            await self.stderr.ended.wait()

    def _let_go(self, *, dead: bool) -> None:
        """Nothing more comes of it: it is ``dead``, or nobody knows."""

    def _close(self) -> None:
        if self._sock is not None:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._sock = self._outbox = None


class Engage(Protocol):
    """Makes a worker, which has not begun to live yet; as ``Member`` is made."""

    def __call__(self, owner: Owner, place: Birthplace, nursery: trio.Nursery, *, grace: float) -> Member[Any]:
        """See there."""
        ...
