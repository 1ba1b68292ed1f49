"""The trio end of the host's socket: starts processes through the host and waits for their ends. It decides nothing.

One object per host. When the host is lost, everything that waits raises ``HostLost``, after what the host leaves behind
has been swept; the owner may then open another link.
"""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from taskrun.frames import Disconnected, FrameReader, MalformedFrame, pack, send_fds
from taskrun.host.start import HostStart, exec_host, raise_nofile_limit
from taskrun.model import Leftover, SpawnFailed, Value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["HostLost", "HostStart", "Link", "Process", "SpawnError", "TemplateSpec", "Usage", "open_link"]

_PATIENCE = 5  # seconds without an answer after which the host counts as dead


class HostLost(Exception):  # noqa: N818 - it names what happened
    """The host has died, or was killed since it did not answer."""


class SpawnError(Exception):
    """A process could not be started.

    Attributes:
        failure: Why.
        number: The errno, or 0.
    """

    def __init__(self, failure: SpawnFailed, number: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.number = number


class Usage(Value):
    """How a process ended, and what it took.

    Attributes:
        status: Wait status, for ``os.waitstatus_to_exitcode``; ``None``: it could not be killed.
        cpu: Seconds, user and system, of it and of its reaped children.
        max_rss: Its peak resident size in bytes; a small program shows the host's own size of some 10 MB.
        leaked: What had outlived it by more than 0.2 s without being asked to stop, and was killed.
        unkillable: What is still alive.
    """

    status: int | None
    cpu: float
    max_rss: int
    leaked: tuple[Leftover, ...] = ()
    unkillable: tuple[Leftover, ...] = ()


class TemplateSpec(Value):
    """What a template is made of; equal specs share one.

    Attributes:
        python: The interpreter; ``None``: the host's own.
        sys_path: Put first on ``sys.path``.
        cwd: The folder that the imports see.
        preload: Modules to import at once.
        env: The environment of the imports; ``None``: the host's own, without which an own interpreter cannot be
            forked but must be exec'd.
    """

    python: str | None = None
    sys_path: tuple[str, ...] = ()
    cwd: str = "/"
    preload: tuple[str, ...] = ()
    env: dict[str, str] | None = None


class Process:
    """A leader that runs, or has ended.

    Attributes:
        id: The link's number for it.
        pid: Its process id; what is to be signalled goes through the link, which cannot hit a stranger.
        start: When it started, in the platform's unit; with ``pid`` it names the process for ever.
        mark: What it and what it starts carry in ``TASKRUN_MARK``.
        usage: How it ended; ``None`` before.
    """

    __slots__ = ("_link", "_waiters", "id", "mark", "pid", "start", "usage")

    def __init__(self, link: Link, number: int, pid: int, start: int, mark: str) -> None:
        self.id = number
        self.pid = pid
        self.start = start
        self.mark = mark
        self.usage: Usage | None = None
        self._link = link
        self._waiters: list[Task] = []

    async def wait(self) -> Usage:
        """Waits until it, and all that it left, has ended.

        Raises:
            HostLost: Nobody knows how it ended; by now it has been killed.
        """
        if self.usage is None:
            self._link.check()
            task = current_task()
            self._waiters.append(task)

            def abort(_raise_cancel: Any) -> Abort:
                self._waiters.remove(task)
                return Abort.SUCCEEDED

            await wait_task_rescheduled(abort)
        if self.usage is None:
            raise HostLost(self._link.why)
        return self.usage

    def wake(self) -> None:
        """Lets everyone who waits see how it stands."""
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            reschedule(task)


class _Request:
    """Something that the host will answer, and the task that waits for it."""

    __slots__ = ("answer", "bounded", "mark", "task")

    def __init__(self, task: Task, mark: str, *, bounded: bool) -> None:
        self.task = task
        self.mark = mark
        self.bounded = bounded
        self.answer: Any = None


class Link:
    """A conversation with one host; made by ``open_link``.

    Attributes:
        lost: Set when the host has been lost and what it left has been swept.
        why: How it was lost.
        pid: The host's process id.
    """

    def __init__(self, start: HostStart, *, warn: Callable[[str], None], templates_log: int | None) -> None:
        self.lost = trio.Event()
        self.why = ""
        self.pid = start.pid
        self.processes: dict[int, Process] = {}
        self._sock = start.socket
        self._sock.setblocking(False)
        self._fd = self._sock.fileno()
        self._reader = FrameReader()
        self._out: list[tuple[bytes, list[int]]] = []
        self._room = trio.Event()
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._token = os.urandom(6).hex()
        self._dead = False
        self._warn = warn
        self._templates_log = templates_log
        self._templates: dict[str, TemplateSpec] = {}

    # --- requests ---

    async def spawn(
        self,
        argv: tuple[str, ...] | list[str],
        *,
        env: dict[str, str],
        cwd: str,
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> Process:
        """Starts a binary in a session of its own.

        Args:
            argv: A program without ``/`` is looked up in ``env``'s PATH; a relative one is relative to ``cwd``.
            env: Its whole environment; the mark is added by the host.
            cwd: Absolute.
            stdin: A descriptor, or ``None`` for ``/dev/null``; like the others it may be closed on return.
            stdout: Likewise.
            stderr: Likewise.

        Raises:
            SpawnError: It could not be started.
            HostLost: The host is gone.
        """
        self._number = number = self._number + 1
        mark = f"{self._token}-{number}"
        fds = [stdout, stderr] if stdin is None else [stdin, stdout, stderr]
        message = ("spawn", number, list(argv), env, cwd, mark, len(fds))
        return await self._start(number, message, fds, mark)

    async def _start(self, number: int, message: Any, fds: list[int], mark: str) -> Process:
        answer = await self._ask(number, message, fds, mark)
        if isinstance(answer, Process):  # which may have ended by now
            return answer
        _failed, _number, kind, errno, text = answer
        code = 127 if kind == "not-found" else 126
        raise SpawnError(SpawnFailed(kind=kind, message=text, code=code), errno)

    async def _ask(self, number: int, message: Any, fds: list[int], mark: str = "") -> Any:
        """Sends a request and waits for its answer.

        When cancelled it asks the host to kill what the request starts, and still waits for the answer: so a process is
        either never started, or known.
        """
        self.check()
        request = self._requests[number] = _Request(current_task(), mark, bounded=True)
        self._send(pack(message), fds)
        cancelled = False

        def abort(_raise_cancel: Any) -> Abort:
            nonlocal cancelled
            cancelled = True
            self._send(pack(("kill", number)))
            return Abort.FAILED

        await wait_task_rescheduled(abort)
        if cancelled:
            await trio.lowlevel.checkpoint_if_cancelled()
        if request.answer is None:
            raise HostLost(self.why)
        return request.answer

    async def _ask_for(self, kind: str, *arguments: Any) -> Any:
        """A request that is answered by ``done`` with a value."""
        self._number = number = self._number + 1
        return (await self._ask(number, (kind, number, *arguments), []))[2]

    def stop(self, process: Process, signal: int) -> None:
        """Sends ``signal`` and CONT to all of the attempt. What outlives the leader then has until ``kill``."""
        if process.usage is None and not self._dead:
            self._send(pack(("stop", process.id, int(signal))))

    def kill(self, process: Process) -> None:
        """Kills all of the attempt, however often it forks; ``wait`` returns when it is done."""
        if process.usage is None and not self._dead:
            self._send(pack(("kill", process.id)))

    def dump(self, process: Process) -> None:
        """Asks a worker for its stack, which goes to its stderr; nothing for a binary."""
        if process.usage is None and not self._dead:
            self._send(pack(("dump", process.id)))

    async def describe(self, process: Process) -> str:
        """What a binary, and what is below it, is doing, from ``/proc``; empty if it has ended."""
        text: str = await self._ask_for("describe", process.id)
        return text

    async def suspend(self) -> None:
        """Stops everything but the templates; what is started later stands still too."""
        await self._ask_for("suspend")

    async def resume(self) -> None:
        """Continues what ``suspend`` stopped."""
        await self._ask_for("resume")

    def check(self) -> None:
        """Raises ``HostLost`` if it is."""
        if self._dead:
            raise HostLost(self.why)

    # --- sending ---

    def _send(self, data: bytes, fds: list[int] | None = None) -> None:
        if self._out:
            self._out.append((data, fds or []))
            return
        sent = self._send_now(data, fds or [])
        if sent < len(data):
            self._out.append((data[sent:], [] if sent else fds or []))
            self._room.set()

    def _send_now(self, data: bytes, fds: list[int]) -> int:
        try:
            return send_fds(self._sock, data, fds) if fds else self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the reader finds out
            return len(data)

    async def _write(self) -> None:
        """Sends what could not be sent at once."""
        while True:
            await self._room.wait()
            await trio.lowlevel.wait_writable(self._fd)
            while self._out:
                data, fds = self._out[0]
                sent = self._send_now(data, fds)
                if sent < len(data):
                    self._out[0] = (data[sent:], [] if sent else fds)
                    break
                del self._out[0]
            if not self._out:
                self._room = trio.Event()

    # --- receiving ---

    async def _read(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            if not data:
                return
            for message in self._reader.feed(data):
                self._take(message)

    def _take(self, message: Any) -> None:
        kind, number = message[0], message[1]
        if kind == "ended":
            process = self.processes.pop(number)
            process.usage = _usage(message)
            process.wake()
            return
        request = self._requests.pop(number, None)
        if kind == "spawned":
            mark = request.mark if request else ""
            message = self.processes[number] = Process(self, number, message[2], message[3], mark)
        if request is not None:
            request.answer = message
            reschedule(request.task)


def _usage(message: Any) -> Usage:
    _kind, _number, status, cpu, peak, leaked, unkillable = message
    if not leaked and not unkillable:
        return Usage(status=status, cpu=cpu, max_rss=peak)
    return Usage(
        status=status,
        cpu=cpu,
        max_rss=peak,
        leaked=tuple(Leftover(pid=pid, command=command) for pid, command in leaked),
        unkillable=tuple(Leftover(pid=pid, command=command, killed=False) for pid, command in unkillable),
    )


@asynccontextmanager
async def open_link(
    start: HostStart | None = None,
    *,
    warn: Callable[[str], None] = lambda _text: None,
    templates_log: int | None = None,
) -> AsyncIterator[Link]:
    """Opens a conversation with a host, which ends with it."""
    link = Link(start or exec_host(), warn=warn, templates_log=templates_log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link._read)
        nursery.start_soon(link._write)
        yield link
        nursery.cancel_scope.cancel()
