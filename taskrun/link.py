"""The trio end of the host's socket: starts processes through the host and waits for their ends. It decides nothing.

One object per host. When the host is lost, everything that waits raises ``HostLost``, after what the host left behind
has been swept; the owner may then open another link.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort, Task, checkpoint_if_cancelled, current_task, reschedule, wait_task_rescheduled

from taskrun.frames import FrameReader, MalformedFrame, pack, send_fds
from taskrun.host.ending import how_it_ended
from taskrun.host.nearest import nearest_program
from taskrun.host.orphans import Orphans
from taskrun.host.platform import current as current_platform
from taskrun.host.start import HostStart, exec_host
from taskrun.model import Leftover, SpawnFailed, Value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["HostLost", "HostStart", "Link", "Process", "SpawnError", "TemplateSpec", "Usage", "open_link"]

_TICK = 0.5  # seconds between two looks at whether the host answers
_PATIENCE = 10  # looks; counted, not timed, so that a laptop's sleep or a stopped runner is not the host's fault
_SWEEP = 5.0  # seconds of sweeping after the host's death
_FAREWELL = 12.0  # seconds for the host's last kills and sweep, which it bounds itself by 10
_LINGER = 1.0  # seconds between the host's last word and its exit

_hosts: set[int] = set()  # all hosts of this process: one that is lost must not take the others along


class HostLost(Exception):  # noqa: N818 - it names what happened
    """The host has died, or was killed since it did not answer, or has been shut down."""


class SpawnError(Exception):
    """A process could not be started.

    Attributes:
        failure: Why. Its kind may also be ``"template"``: the template of a Python call could not be had, or was lost
            twice.
        number: The errno, or 0.
    """

    def __init__(self, failure: SpawnFailed, number: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.number = number


class Usage(Value, frozen=True):
    """How a process ended, and what it took.

    Attributes:
        status: Wait status, for ``os.waitstatus_to_exitcode``; ``None``: it could not be killed.
        cpu: Seconds, user and system, of it and of its reaped children.
        max_rss: Its peak resident size in bytes; a small program shows the host's own size, some 15 MB.
        leaked: What had outlived it by more than 0.2 s without having been asked to stop, and was killed.
        unkillable: What is still alive.
    """

    status: int | None
    cpu: float
    max_rss: int
    leaked: tuple[Leftover, ...] = ()
    unkillable: tuple[Leftover, ...] = ()


class TemplateSpec(Value, frozen=True):
    """What a template is made of; equal ones share one.

    Attributes:
        python: The interpreter; ``None``: the host's own.
        sys_path: Put first on ``sys.path``.
        cwd: The folder that the imports see.
        preload: Modules to import at once.
        env: The environment of the imports; ``None``: the host's own.
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
        pid: Its process id. Signals go through the link: by this number they could hit a stranger.
        start: When it started, in the platform's unit (Linux: clock ticks since boot).
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
        """Waits until it, and all that it left, has ended; any number of tasks may.

        Raises:
            HostLost: Nobody knows how it ended; by now it has been killed.
        """
        if self.usage is None and not self._link.lost.is_set():
            task = current_task()
            self._waiters.append(task)

            def abort(_raise_cancel: Any) -> Abort:
                self._waiters.remove(task)
                return Abort.SUCCEEDED

            await wait_task_rescheduled(abort)
        else:
            await trio.lowlevel.checkpoint()
        if self.usage is None:
            raise HostLost(self._link.why)
        return self.usage

    def wake(self) -> None:
        """Lets everyone who waits see how it stands. For the link."""
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            reschedule(task)


class _Request:
    """Something that the host owes an answer for, and the task that waits for it."""

    __slots__ = ("answer", "mark", "task")

    def __init__(self, task: Task, mark: str) -> None:
        self.task = task
        self.mark = mark
        self.answer: Any = None


class Link:
    """A conversation with one host; made by ``open_link``.

    Attributes:
        pid: The host's process id.
        lost: Set when the host has been lost and what it left has been swept. Not by a shutdown.
        why: How it was lost, as a clause.
        processes: Those that run, by id.
        leave_alone: Children of this process that are in a session of their own and none of the host's: a sweep after
            the host's death spares them. Children in this process's session are spared anyway.
        swept: What such a sweep has killed.
    """

    def __init__(
        self, start: HostStart, *, adopt: bool, warn: Callable[[str], None], templates_log: int | None
    ) -> None:
        self.pid = start.pid
        self.lost = trio.Event()
        self.why = ""
        self.processes: dict[int, Process] = {}
        self.leave_alone: set[int] = set()
        self.swept: tuple[Leftover, ...] = ()
        self._sock = start.socket
        self._sock.setblocking(False)
        self._adopt = adopt
        self._warn = warn
        self._templates_log = templates_log
        self._platform = current_platform()
        if adopt:
            self._platform.become_subreaper()
        self._reader = FrameReader()
        self._out: list[tuple[bytes, list[int]]] = []
        self._out_waits = trio.Event()
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._token = os.urandom(6).hex()
        self._templates: list[TemplateSpec] = []
        self._closed = False  # no request any more: lost, or shut down
        self._told = False  # something was sent that is not answered
        self._last_words = ""
        self._finished = trio.Event()
        self._leftovers: tuple[Leftover, ...] | None = None
        self._ended = trio.Event()
        self._serving = trio.CancelScope(shield=True)
        self._pinged = False
        _hosts.add(self.pid)

    # --- starting ---

    async def spawn(
        self,
        argv: tuple[str, ...],
        *,
        env: dict[str, str],
        cwd: str,
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> Process:
        """Starts a binary in a session of its own.

        Descriptors may be closed on return. When cancelled, what was started is killed before ``Cancelled`` is raised.

        Args:
            argv: A program without ``/`` is looked up in ``env``'s PATH; a relative one is relative to ``cwd``.
            env: Its whole environment; ``TASKRUN_MARK`` is added to it by the host.
            cwd: Absolute.
            stdin: A descriptor, or ``None`` for ``/dev/null``.
            stdout: A descriptor.
            stderr: A descriptor.

        Raises:
            SpawnError: It could not be started.
            HostLost: The host is gone.
        """
        number, mark = self._next()
        fds = [stdout, stderr] if stdin is None else [stdin, stdout, stderr]
        request = {"argv": list(argv), "env": env, "cwd": cwd, "mark": mark}
        return await self._start(number, ("spawn", number, request, len(fds)), fds, mark)

    async def call(
        self,
        template: TemplateSpec,
        *,
        env: dict[str, str],
        cwd: str,
        channel: int,
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> Process:
        """Forks a worker, which reads its call from ``channel``; starts the template where it does not run.

        It waits for the template's imports, however long they take. The call is to be written to the channel when this
        has returned: so the worker does nothing before the host has confirmed its pid. Else as ``spawn``.

        Raises:
            SpawnError: There is no template, or it could not fork.
            HostLost: The host is gone.
        """
        number, mark = self._next()
        key = self._declare(template)
        fds = [channel, stdout, stderr] if stdin is None else [channel, stdin, stdout, stderr]
        request = {"env": env, "cwd": cwd, "mark": mark, "stdin": stdin is not None}
        return await self._start(number, ("call", number, key, request, len(fds)), fds, mark)

    async def inspect(self, template: TemplateSpec, payload: bytes, timeout: float) -> bytes:
        """Has the template inspect; the payloads are the worker's affair.

        Raises:
            SpawnError: There is no template.
            trio.TooSlowError: It took longer than ``timeout`` seconds; the template has been killed.
            HostLost: The host is gone.
        """
        number, _mark = self._next()
        key = self._declare(template)
        with trio.fail_after(timeout):
            answer: bytes = _value(await self._ask(number, ("inspect", number, key, payload), []))
            return answer

    def _declare(self, template: TemplateSpec) -> str:
        """The host's key for it; tells the host what it is at first use."""
        if template in self._templates:
            return str(self._templates.index(template))
        self._templates.append(template)
        key = str(len(self._templates) - 1)
        spec = {
            "python": template.python,
            "sys_path": list(template.sys_path),
            "cwd": template.cwd,
            "preload": list(template.preload),
            "env": template.env,
        }
        log = [] if self._templates_log is None else [self._templates_log]
        self._send(pack(("template", key, spec, len(log))), log)
        return key

    def _next(self) -> tuple[int, str]:
        self._number += 1
        return self._number, f"{self._token}-{self._number}"

    async def _start(self, number: int, message: Any, fds: list[int], mark: str) -> Process:
        answer = await self._ask(number, message, fds, mark)
        if isinstance(answer, Process):  # which may have ended by now
            return answer
        raise _spawn_error(answer, message)

    # --- what runs ---

    def stop(self, process: Process, number: int) -> None:
        """Sends the signal ``number`` and CONT to all of the attempt. What outlives the leader then has until ``kill``."""
        self._tell(process, "stop", int(number))

    def kill(self, process: Process) -> None:
        """Kills all of the attempt, however often it forks; ``wait`` returns when that is done, or hopeless (5 s)."""
        self._tell(process, "kill")

    def dump(self, process: Process) -> None:
        """Has a worker write its stack to its stderr; a binary is left alone."""
        self._tell(process, "dump")

    def _tell(self, process: Process, kind: str, *arguments: Any) -> None:
        if process.usage is None and not self._closed:
            self._told = True  # it is not answered: the watchdog asks whether it was heard
            self._send(pack((kind, process.id, *arguments)))

    async def describe(self, process: Process) -> str:
        """What a process, and what is below it, is doing, from ``/proc``; empty if it has ended."""
        text: str = await self._ask_for("describe", process.id)
        return text

    async def suspend(self) -> None:
        """Stops everything but the templates; what is started later stands still too."""
        await self._ask_for("suspend")

    async def resume(self) -> None:
        """Continues what ``suspend`` stopped."""
        await self._ask_for("resume")

    # --- asking ---

    async def _ask_for(self, kind: str, *arguments: Any) -> Any:
        number, _mark = self._next()
        return _value(await self._ask(number, (kind, number, *arguments), []))

    async def _ask(self, number: int, message: Any, fds: list[int], mark: str = "") -> Any:
        """Sends a request and waits for its answer.

        When cancelled it withdraws the request and still waits for the answer, which then comes at once: so a process
        is either never started, or known and killed.
        """
        await checkpoint_if_cancelled()
        if self._closed:
            raise HostLost(self.why)
        request = self._requests[number] = _Request(current_task(), mark)
        self._send(pack(message), fds)
        cancelled = False

        def abort(_raise_cancel: Any) -> Abort:
            nonlocal cancelled
            cancelled = True
            if not self._closed:
                self._send(pack(("kill", number)))
            return Abort.FAILED

        await wait_task_rescheduled(abort)
        if cancelled:
            await checkpoint_if_cancelled()
        if request.answer is None:
            raise HostLost(self.why)
        return request.answer

    # --- the socket ---

    def _send(self, data: bytes, fds: list[int] | None = None) -> None:
        """Sends at once where there is room; the rest is sent in order by ``_write``."""
        sent = 0
        if not self._out:
            sent = self._send_now(data, fds or [])
            if sent == len(data):
                return
        self._out.append((data[sent:], [] if sent else fds or []))
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

    async def _write(self) -> None:
        while True:
            await self._out_waits.wait()
            await trio.lowlevel.wait_writable(self._sock.fileno())
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
            await trio.lowlevel.wait_readable(self._sock.fileno())
            try:
                data = self._sock.recv(65536)
                if not data:
                    return
                for message in self._reader.feed(data):
                    self._take(*message)
            except BlockingIOError:
                continue
            except (ConnectionError, MalformedFrame):
                return

    def _take(self, kind: str, number: int, *content: Any) -> None:
        """One message; what is not known here belongs to a request that nobody waits for."""
        match kind:
            case "ended":
                process = self.processes.pop(number, None)
                if process is not None:
                    process.usage = _usage(*content)
                    process.wake()
            case "spawned" if number in self._requests:
                process = Process(self, number, content[0], content[1], self._requests[number].mark)
                self.processes[number] = process
                self._answer(number, process)
            case "done" if number == 0:
                self._pinged = False
            case "failed" | "done":
                self._answer(number, (kind, *content))
            case "finished":
                killed, stuck = content
                self._leftovers = (*_leftovers(killed, killed=True), *_leftovers(stuck, killed=False))
                self._finished.set()
            case "notice":
                self._warn(content[0])
            case "bug":
                self._last_words = content[0]

    def _answer(self, number: int, answer: Any) -> None:
        request = self._requests.pop(number, None)
        if request is not None:
            request.answer = answer
            reschedule(request.task)

    async def _watch(self, reading: trio.CancelScope) -> None:
        """Ends ``reading`` when the host owes an answer and gives none."""
        ticks = 0
        while True:
            await trio.sleep(_TICK)
            if self._pinged:
                ticks += 1
                if ticks >= _PATIENCE:
                    self.why = f"it did not answer for {_TICK * _PATIENCE:g} s"
                    reading.cancel()
                    return
            elif self._requests or self._told:
                ticks = 0
                self._pinged, self._told = True, False
                self._send(pack(("ping", 0)))

    # --- the end ---

    async def serve(self) -> None:
        """Talks with the host until its end. For ``open_link``."""
        with self._serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                with trio.CancelScope() as reading:
                    nursery.start_soon(self._watch, reading)
                    await self._read()
                nursery.cancel_scope.cancel()
            self._closed = True
            await (self._bury() if self._leftovers is None else self._part())
        _hosts.discard(self.pid)
        self._ended.set()

    async def _bury(self) -> None:
        """The host is lost: sees to its death, sweeps what it left, and only then tells who waits."""
        status = await self._reap(_LINGER) if not self.why else None
        if status is None:
            _kill(self.pid)
            await self._reap(_LINGER)
        self.why = self.why or self._last_words or how_it_ended(status)
        orphans = Orphans(self._platform, self.leave_alone | (_hosts - {self.pid}))
        leaders = {process.pid: process.start for process in self.processes.values()}
        with trio.move_on_after(_SWEEP):
            while orphans.adopted_round() if self._adopt else orphans.marked_round(self._token, leaders):
                await trio.sleep(0.001)
        self.swept = _leftovers(orphans.killed.items(), killed=True)
        self._wake_all()
        self.lost.set()

    async def _part(self) -> None:
        """The host has ended as it was asked to. One that could not kill something stays behind, alone."""
        self.why = "the host has been shut down"
        if all(leftover.killed for leftover in self._leftovers or ()):
            await self._reap(_LINGER)
        self._wake_all()

    def _wake_all(self) -> None:
        self._sock.close()
        requests, self._requests = self._requests, {}
        for request in requests.values():
            reschedule(request.task)
        processes, self.processes = self.processes, {}
        for process in processes.values():
            process.wake()

    async def _reap(self, seconds: float) -> int | None:
        """The host's wait status; ``None``: it lives, or somebody else has reaped it."""
        delay = 0.001
        with trio.move_on_after(seconds):
            while True:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    return None
                if pid:
                    return status
                await trio.sleep(delay)
                delay = min(2 * delay, 0.02)
        return None

    async def shutdown(self, timeout: float = _FAREWELL) -> tuple[Leftover, ...]:
        """Ends the run: the host kills and names what is left of it, and exits.

        Args:
            timeout: Seconds that the host has for it; then it is killed, and what it leaves is swept from here.

        Returns:
            What was left of the run, or of a lost host; ``killed`` tells what still lives.
        """
        if not self._closed:
            self._closed = True
            self._send(pack(("shutdown",)))
            with trio.move_on_after(timeout):
                await self._finished.wait()
        if self._leftovers is None:
            _kill(self.pid)
        await self._ended.wait()
        return self.swept if self._leftovers is None else self._leftovers

    def abandon(self) -> None:
        """Tells the host to kill everything at once, and waits for nothing: for a runner that leaves this instant."""
        if not self._closed:
            self._send(pack(("shutdown",)))


def _value(answer: Any) -> Any:
    if answer[0] == "failed":
        raise _spawn_error(answer, None)
    return answer[1]


def _spawn_error(answer: Any, message: Any) -> SpawnError:
    """From ``failed``, kind, errno, text."""
    _failed, kind, number, text = answer
    if kind == "not-found" and message is not None:
        request = message[2]
        nearest = nearest_program(request["argv"][0], request["env"].get("PATH"))
        text += f" (did you mean {nearest}?)" if nearest else ""
    return SpawnError(SpawnFailed(kind=kind, message=text, code=127 if kind == "not-found" else 126), number)


def _usage(status: int | None, cpu: float, peak: int, leaked: Any, unkillable: Any) -> Usage:
    if not leaked and not unkillable:
        return Usage(status=status, cpu=cpu, max_rss=peak)
    return Usage(
        status=status,
        cpu=cpu,
        max_rss=peak,
        leaked=_leftovers(leaked, killed=True),
        unkillable=_leftovers(unkillable, killed=False),
    )


def _leftovers(found: Any, *, killed: bool) -> tuple[Leftover, ...]:
    return tuple(Leftover(pid=pid, command=command, killed=killed) for pid, command in found)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def open_link(
    start: HostStart | None = None,
    *,
    adopt: bool = True,
    warn: Callable[[str], None] = lambda _text: None,
    templates_log: int | None = None,
) -> AsyncIterator[Link]:
    """Opens a conversation with a host, which ends, with all that it started, when the block does.

    Args:
        start: A forked host; ``None``: one is exec'd.
        adopt: Make this process a subreaper, so that a lost host's processes fall to it, and sweep them. ``False`` for
            programs of which nothing may be changed: they are then looked for by mark, group and session.
        warn: Called with a sentence when a template was lost.
        templates_log: Descriptor for what templates print; it must stay open. ``None``: ``/dev/null``.
    """
    link = Link(start or exec_host(), adopt=adopt, warn=warn, templates_log=templates_log)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.serve)
        try:
            yield link
        except BaseException as error:  # noqa: BLE001 - raised again below: not in an ExceptionGroup of one
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                await link.shutdown()
    if failure is not None:
        raise failure
