"""Carries out an interactive attempt: the runner itself starts it, in its own process group, on its own terminal.

The host cannot: it lives in another session. One such task runs at a time; the keyboard's signals are its affair.
Its output is not read (it goes straight to the terminal), so only the total clock applies, and nothing is logged.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import trio

from taskrun.execute.binary import open_stdin, started
from taskrun.host.launch import LaunchFailed, find_program
from taskrun.host.marks import add_mark
from taskrun.host.system import current_platform
from taskrun.link import SpawnError, Usage
from taskrun.model import (
    BinaryCommand,
    CancelKind,
    CancelReason,
    Clocks,
    Leftover,
    Signaled,
    SpawnFailed,
    State,
    Stopped,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from resource import struct_rusage

    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running
    from taskrun.model import Attempt, Outcome

_LOOK = 0.1  # seconds between two looks at whether it has stopped; its end is noticed at once
_ECHO = 0.01  # seconds in which a signal of the keyboard, which both of us got, has reached the run's signal desk
_ROUND, _ROUNDS = 0.005, 200  # of killing what was left: a second in all


class TerminalProcess:
    """A child of the runner in the runner's own process group; has what ``Running`` needs of a process."""

    def __init__(self, pid: int, host: int, suspend: Callable[[], Awaitable[None]]) -> None:
        self.pid = pid
        self._host = host
        self._suspend = suspend
        self._reaped: tuple[int, struct_rusage] | None = None  # kept apart: what follows it may be cancelled
        self._usage: Usage | None = None
        self._scope: trio.CancelScope | None = None

    async def wait_news(self) -> Usage | None:
        """As ``wait``, but returns ``None`` when ``wake`` was called before the end."""
        with trio.CancelScope() as self._scope:
            return await self.wait()
        return None

    def wake(self) -> None:
        """Lets whoever waits for news see how it stands."""
        if self._scope is not None:
            self._scope.cancel()

    async def wait(self) -> Usage:
        """Waits for its end; may be called again after a cancel.

        Where it stops, by Ctrl+Z or because it reads in the background, the run stops with it: the shell sees one job.
        """
        while self._reaped is None:
            with trio.move_on_after(_LOOK):
                await _wait_exit(self.pid)
            options = os.WNOHANG | os.WUNTRACED
            pid, status, rusage = os.wait4(self.pid, options)  # noqa: ASYNC222 - it does not wait
            if pid and os.WIFSTOPPED(status):
                await self._suspend()
                self.signal(signal.SIGCONT)  # `fg` has continued the whole group; without job control nobody has
            elif pid:
                self._reaped = (status, rusage)
        if self._usage is None:
            status, rusage = self._reaped
            self._usage = Usage(
                status=status,
                cpu=rusage.ru_utime + rusage.ru_stime,
                max_rss=current_platform().peak(rusage.ru_maxrss),
                leaked=await _kill_left_over({self._host}),
            )
        return self._usage

    def signal(self, number: int) -> None:
        """Sends it a signal; it is ours and not reaped, so that its pid is still its own."""
        if self._reaped is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # sudo is root's
                os.kill(self.pid, number)
                os.kill(self.pid, signal.SIGCONT)


class TerminalControl:
    """Signals the task's own process: its group is the runner's, and cannot be signalled without it."""

    def stop(self, process: TerminalProcess, number: int) -> None:
        """Asks it to end."""
        process.signal(number)

    def kill(self, process: TerminalProcess) -> None:
        """Ends it; what it leaves is killed when its end is seen."""
        process.signal(signal.SIGKILL)


async def _kill_left_over(known: set[int]) -> tuple[Leftover, ...]:
    """Kills what the task has left below the runner, which is a subreaper, and names it."""
    here = current_platform()
    found: dict[int, Leftover] = {}
    for _ in range(_ROUNDS):
        strays = here.strays(known)
        for stray in strays:
            if not stray.dead:
                found.setdefault(stray.pid, Leftover(pid=stray.pid, command=here.command(stray.pid)))
                here.signal(stray, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stray.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        if not strays:
            break
        await trio.sleep(_ROUND)
    return tuple(found.values())


async def _wait_exit(pid: int) -> None:
    """Returns when ``pid`` is a zombie; where there is no pidfd, after a while."""
    if not hasattr(os, "pidfd_open"):
        await trio.sleep(_LOOK)
        return
    fd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


async def carry_out(running: Running, equipment: Equipment, emit: Emit) -> Outcome:
    """From the attempt to its outcome, with the terminal lent to it."""
    if running.stopping is not None:
        return running.without_process(Stopped(reason=running.stopping.reason))
    equipment.outputs.hold("terminal")
    try:
        with equipment.machinery.give_terminal():
            return await _at_the_terminal(running, equipment, emit)
    finally:
        equipment.outputs.release("terminal")


async def _at_the_terminal(running: Running, equipment: Equipment, emit: Emit) -> Outcome:
    attempt = running.attempt
    link = equipment.link
    link.beside(0, 0)  # from now on, should this process be killed
    try:
        process = TerminalProcess(_spawn(attempt, link.mark), link.pid, equipment.machinery.suspend)
    except SpawnError as error:
        link.beside(0, 0, over=True)
        return running.without_process(error.failure)
    seen = current_platform().look(process.pid)
    link.beside(process.pid, 0 if seen is None else seen.start)
    link.leave_alone.add(process.pid)
    running.control = TerminalControl()
    running.only_clocks(Clocks(timeout=attempt.clocks.timeout))
    running.begin(process)
    emit(started(attempt, process))
    try:
        usage = await running.wait_end()
        await trio.sleep(_ECHO)  # one that answers Ctrl+C by its end still has the keyboard when we hear of the key
    except trio.Cancelled:
        await running.kill_and_wait()
        raise
    finally:
        link.leave_alone.discard(process.pid)
        link.beside(0, 0, over=True)
    return running.outcome(usage)


def _spawn(attempt: Attempt, mark: str) -> int:
    """Starts it, with this mark, and returns its pid.

    SIGTSTP is blocked in this thread meanwhile: a stop between vfork and exec would leave the runner hanging.

    Raises:
        SpawnError: With the reason.
    """
    command = attempt.command
    assert isinstance(command, BinaryCommand)
    env = dict(attempt.env)
    add_mark(env, mark)
    stdin = open_stdin(command.stdin) if command.stdin not in {None, "-"} else None
    actions = [] if stdin is None else [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    before = os.getcwd()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    try:
        os.chdir(attempt.cwd)
        return os.posix_spawn(
            find_program(command.argv[0], attempt.env.get("PATH")),
            command.argv,
            env,
            file_actions=actions,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except LaunchFailed as error:
        raise SpawnError(SpawnFailed(kind=error.kind, message=error.message), error.number) from None
    except OSError as error:
        message = f"{command.argv[0]} cannot be started in {attempt.cwd}: {error.strerror}"
        raise SpawnError(SpawnFailed(kind="other", message=message), error.errno or 0) from None
    finally:
        os.chdir(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        if stdin is not None:
            os.close(stdin)


def was_interrupted(outcome: Outcome) -> bool:
    """Whether the task died of the keyboard's SIGINT: then the user meant the run."""
    return isinstance(outcome.ending, Signaled) and outcome.ending.signal == signal.SIGINT


def as_cancelled(outcome: Outcome) -> Outcome:
    """The outcome of a task that the user interrupted: it has not failed."""
    reason = CancelReason(kind=CancelKind.SIGNAL, detail=signal.SIGINT.name)
    return msgspec.structs.replace(outcome, state=State.CANCELLED, ending=Stopped(reason=reason), reason=str(reason))
