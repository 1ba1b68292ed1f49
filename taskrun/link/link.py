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
from trio.lowlevel import enable_ki_protection

from taskrun.host.ending import how_it_ended
from taskrun.host.orphans import Orphans
from taskrun.host.start import HostStart, exec_host
from taskrun.host.system import current_platform
from taskrun.link.conversation import Conversation
from taskrun.link.environments import Environments
from taskrun.link.process import Process
from taskrun.link.values import HostLost, TemplateSpec, leftovers, spawn_error, usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from taskrun.model import Leftover

_SWEEP = 5.0  # seconds of sweeping after the host's death
_FAREWELL = 12.0  # seconds for the host's last kills and sweep, which it bounds itself by 10
_LINGER = 1.0  # seconds between the host's last word and its exit

_hosts: set[int] = set()  # all hosts of this process: one that is lost must not take the others along


class Link:
    """A conversation with one host; made by ``open_link``.

    Attributes:
        pid: The host's process id.
        mark: What the marks of all its attempts begin with.
        lost: Set when the host has been lost and what it left has been swept. Not by a shutdown.
        processes: Those that run, by id.
        leave_alone: Children of this process that are none of the host's: a sweep after the host's death spares them
            (and anyway those in this process's session), and ``reap_adopted`` leaves them to who waits for them.
        swept: What such a sweep has killed.
    """

    def __init__(
        self, start: HostStart, *, adopt: bool, warn: Callable[[str], None], templates_log: int | None
    ) -> None:
        self.pid = start.pid
        self.lost = trio.Event()
        self.processes: dict[int, Process] = {}
        self.leave_alone: set[int] = set()
        self.swept: tuple[Leftover, ...] = ()
        self._conversation = Conversation(start.socket, self._take)
        self._adopt = adopt
        self._warn = warn
        self._templates_log = templates_log
        self._platform = current_platform()
        self._number = 0
        self.mark = os.urandom(6).hex()
        self._marks: dict[int, str] = {}
        self._environments = Environments(self._conversation.tell)
        self._templates: list[TemplateSpec] = []
        self._last_words = ""
        self._leftovers: tuple[Leftover, ...] | None = None
        self._finished = trio.Event()
        self._reaped = False
        _hosts.add(self.pid)
        if adopt:
            self._platform.become_subreaper()

    @property
    def why(self) -> str:
        """How the host was lost, as a clause."""
        return self._conversation.why

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

        Descriptors may be closed on return. When it is cancelled, the host kills what it may have started.

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
        request = {"argv": list(argv), "env": self._environments.differing(env), "cwd": cwd, "mark": mark}
        return await self._start(number, ("spawn", number, request, len(fds)), fds, mark, env.get("PATH"))

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
        request = {"env": self._environments.differing(env), "cwd": cwd, "mark": mark, "stdin": stdin is not None}
        return await self._start(number, ("call", number, key, request, len(fds)), fds, mark)

    async def inspect(self, template: TemplateSpec, payload: bytes, patience: float) -> bytes:
        """Has the template inspect; the payloads are the worker's affair.

        Raises:
            SpawnError: There is no template.
            trio.TooSlowError: It took longer than ``patience`` seconds; the template has been killed.
            HostLost: The host is gone.
        """
        number, _mark = self._next()
        key = self._declare(template)
        with trio.fail_after(patience):
            reply: bytes = await self._ask(number, "inspect", number, key, payload)
            return reply

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
        self._conversation.tell("template", key, spec, len(log), fds=log)
        return key

    def _next(self) -> tuple[int, str]:
        self._number += 1
        return self._number, f"{self.mark}-{self._number}"

    async def _start(self, number: int, message: Any, fds: list[int], mark: str, path: str | None = None) -> Process:
        self._marks[number] = mark
        try:
            answer = await self._conversation.ask(number, message, fds)
        finally:
            del self._marks[number]
        if isinstance(answer, Process):  # which may have ended by now
            return answer
        _failed, kind, errno, text = answer
        raise spawn_error(kind, errno, text, argv=message[-2].get("argv", ()), path=path)

    async def _ask(self, number: int, *message: Any) -> Any:
        """Any other request: its value, or the failure raised."""
        answer = await self._conversation.ask(number, message, [])
        if answer[0] == "failed":
            raise spawn_error(*answer[1:])
        return answer[1]

    # --- what runs ---

    def stop(self, process: Process, number: int) -> None:
        """Sends the signal ``number``, and CONT, to all of the attempt.

        What outlives the leader is then no leak: it may take until ``kill`` to end.
        """
        self._tell(process, "stop", int(number))

    def kill(self, process: Process) -> None:
        """Kills all of the attempt, however often it forks; ``wait`` returns when that is done, or hopeless (5 s)."""
        self._tell(process, "kill")

    def dump(self, process: Process) -> None:
        """Has a worker write its stack to its stderr; a binary is left alone."""
        self._tell(process, "dump")

    def _tell(self, process: Process, kind: str, *arguments: Any) -> None:
        if process.usage is None:
            self._conversation.tell(kind, process.id, *arguments)

    async def describe(self, process: Process) -> str:
        """What a process, and what is below it, is doing, from ``/proc``; empty if it has ended."""
        number, _mark = self._next()
        return str(await self._ask(number, "describe", number, process.id))

    async def suspend(self) -> None:
        """Stops all but the templates; what is started later stands still too. Of a lost host, nothing is left."""
        number, _mark = self._next()
        with contextlib.suppress(HostLost):
            await self._ask(number, "suspend", number)

    async def resume(self) -> None:
        """Continues what ``suspend`` stopped."""
        number, _mark = self._next()
        with contextlib.suppress(HostLost):
            await self._ask(number, "resume", number)

    def remove_at_end(self, folder: str) -> None:
        """Has the host remove a folder of files when it ends: a runner that is killed cannot."""
        self._conversation.tell("remove", folder)

    def keep_open(self, fd: int) -> None:
        """Has all that is started from now on inherit a descriptor; to be called before any request to a template.

        Programs find it at 10 or above, Python workers at 4. The host itself has it until its end.
        """
        self._conversation.tell("keep", fds=[fd])

    def beside(self, pid: int, start: int, *, over: bool = False) -> None:
        """Has the host end what we start ourselves, with ``mark`` (0: are about to start), should we be killed."""
        self._conversation.tell("beside", "" if over else self.mark, pid, start)

    def reap_adopted(self) -> None:
        """Reaps the dead who came to this process, as to a subreaper or to process 1, and for whom nobody waits."""
        for pid in self._platform.children() - self.leave_alone - _hosts:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _take(self, kind: str, number: int, *content: Any) -> None:
        """One message; what is not known here belongs to a request that nobody waits for."""
        match kind:
            case "ended":
                process = self.processes.pop(number, None)
                if process is not None:
                    process.usage = usage(*content)
                    process.wake()
            case "spawned" if number in self._marks:
                pid, start = content
                process = Process(self._conversation, number, pid, start, self._marks[number])
                self.processes[number] = process
                self._conversation.answer(number, process)
            case "failed" | "done":
                self._conversation.answer(number, (kind, *content))
            case "finished":
                killed, stuck = content
                self._leftovers = (*leftovers(killed, killed=True), *leftovers(stuck, killed=False))
                self._conversation.why = "the host has been shut down"
                self._finished.set()
            case "notice":
                self._warn(content[0])
            case "bug":
                self._last_words = content[0]

    # --- the end ---

    @enable_ki_protection
    async def serve(self) -> None:
        """Talks with the host until its end. For ``open_link``."""
        with trio.CancelScope(shield=True):  # the host's end comes by itself, or by shutdown
            try:
                await self._conversation.run()
                await (self._bury() if self._leftovers is None else self._part())
            finally:  # a bug of ours must not leave anybody waiting
                self._tell_all()

    def _tell_all(self) -> None:
        """Nothing comes any more: whoever waits finds out."""
        _hosts.discard(self.pid)
        self._conversation.close()
        processes, self.processes = self.processes, {}
        for process in processes.values():
            process.wake()
        if self._leftovers is None:
            self.lost.set()
        self._finished.set()

    async def _bury(self) -> None:
        """The host is lost: sees to its death, and sweeps what it left; who waits for it is told afterwards."""
        conversation = self._conversation
        status = await self._reap(_LINGER) if not conversation.why else None
        self._kill_host()
        await self._reap(_LINGER)
        conversation.why = conversation.why or self._last_words or how_it_ended(status)
        orphans = Orphans(self._platform, self.leave_alone | (_hosts - {self.pid}))
        leaders = {process.pid: process.start for process in self.processes.values()}
        with trio.move_on_after(_SWEEP):
            left = True
            while left:
                left = orphans.adopted_round() if self._adopt else orphans.marked_round(self.mark, leaders)
                await trio.sleep(0.001)
        self.swept = leftovers(orphans.killed, killed=True)

    async def _part(self) -> None:
        """The host has ended as it was asked to. One that could not kill something stays behind, alone."""
        if all(leftover.killed for leftover in self._leftovers or ()):
            await self._reap(_LINGER)

    def _kill_host(self) -> None:
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _reap(self, seconds: float) -> int | None:
        """The host's wait status; ``None``: it lives, or somebody else has reaped it."""
        delay = 0.001
        with trio.move_on_after(seconds):
            while not self._reaped:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block
                except ChildProcessError:
                    self._reaped = True
                    return None
                if pid:
                    self._reaped = True
                    return status
                await trio.sleep(delay)
                delay = min(2 * delay, 0.02)
        return None

    async def shutdown(self, patience: float = _FAREWELL) -> tuple[Leftover, ...]:
        """Ends the run: the host kills and names what is left of it, and exits.

        Args:
            patience: Seconds that the host has for it; then it is killed, and what it leaves is swept from here.

        Returns:
            What was left of the run, or of a lost host; ``killed`` tells what still lives.
        """
        self._conversation.tell("shutdown")
        self._conversation.closed = True
        with trio.move_on_after(patience):
            await self._finished.wait()
        if not self._finished.is_set():
            self._conversation.why = f"it did not end within {patience:g} s"
            self._kill_host()
            await self._finished.wait()
        return self.swept if self._leftovers is None else self._leftovers

    def abandon(self) -> None:
        """Tells the host to kill everything at once, and waits for nothing: for a runner that leaves this instant."""
        self._conversation.tell("shutdown")


@contextlib.asynccontextmanager
@enable_ki_protection
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
