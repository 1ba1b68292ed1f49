"""Carries out an interactive attempt: the runner itself starts it, in its own process group, on its own terminal.

The host cannot: it lives in another session. One such task runs at a time; the keyboard's signals are its affair.
Its output is not read (it goes straight to the terminal), so only the total clock applies, and nothing is logged.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import trio

from taskrun.execute.binary import open_stdin
from taskrun.events import TaskStart
from taskrun.link import SpawnError, Usage, kill_descendants, resolve_program
from taskrun.model import BinaryCommand, Clocks, Stopped

if TYPE_CHECKING:
    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running
    from taskrun.model import Attempt, Outcome

_POLL = 0.05  # seconds, where there is no pidfd


class TerminalProcess:
    """A child of the runner in the runner's own process group; has what ``Running`` needs of a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._usage: Usage | None = None

    async def wait(self) -> Usage:
        """Waits for its end; may be called again after a cancel."""
        while self._usage is None:
            await _wait_exit(self.pid)
            pid, status, rusage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                scale = 1 if os.uname().sysname == "Darwin" else 1024
                self._usage = Usage(
                    status=status,
                    cpu=rusage.ru_utime + rusage.ru_stime,
                    max_rss=rusage.ru_maxrss * scale,
                    leaked=kill_descendants(self.pid),
                )
        return self._usage

    def signal(self, number: int) -> None:
        """Sends it a signal; it is ours and not reaped, so that its pid is still its own."""
        if self._usage is None:
            with contextlib.suppress(ProcessLookupError):
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


async def _wait_exit(pid: int) -> None:
    """Returns when ``pid`` is a zombie."""
    if hasattr(os, "pidfd_open"):
        fd = os.pidfd_open(pid)
        try:
            await trio.lowlevel.wait_readable(fd)
        finally:
            os.close(fd)
        return
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        await trio.sleep(_POLL)


async def carry_out(running: Running, equipment: Equipment, emit: Emit) -> Outcome:
    """From the attempt to its outcome, with the terminal lent to it."""
    attempt = running.attempt
    if running.stopping is not None:
        return running.without_process(Stopped(reason=running.stopping.reason))
    equipment.outputs.hold("terminal")
    try:
        with equipment.give_terminal():
            return await _at_the_terminal(running, attempt, emit)
    finally:
        equipment.outputs.release("terminal")


async def _at_the_terminal(running: Running, attempt: Attempt, emit: Emit) -> Outcome:
    try:
        process = _spawn(attempt)
    except SpawnError as error:
        return running.without_process(error.failure)
    running.control = TerminalControl()
    running.only_clocks(Clocks(timeout=attempt.clocks.timeout))
    running.begin(process)
    assert isinstance(attempt.command, BinaryCommand)
    emit(
        TaskStart(
            task=attempt.task,
            attempt=attempt.number,
            argv=attempt.command.argv,
            shell=attempt.command.shell,
            cwd=attempt.cwd,
            pid=process.pid,
            env=attempt.extra_env,
        )
    )
    try:
        usage = await running.wait_end()
    except trio.Cancelled:
        await running.kill_and_wait()
        raise
    return running.outcome(usage)


def _spawn(attempt: Attempt) -> TerminalProcess:
    """Starts it with SIGTSTP blocked in this thread: a stop between vfork and exec would leave the runner hanging.

    Raises:
        SpawnError: With the reason.
    """
    command = attempt.command
    assert isinstance(command, BinaryCommand)
    program = resolve_program(command.argv[0], attempt.env.get("PATH"), attempt.cwd)
    stdin = open_stdin(command.stdin) if command.stdin not in {None, "-"} else None
    actions = [] if stdin is None else [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    before = os.getcwd()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    try:
        os.chdir(attempt.cwd)
        pid = os.posix_spawn(
            program,
            command.argv,
            attempt.env,
            file_actions=actions,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except OSError as error:
        raise SpawnError.from_os_error(error, command.argv[0], attempt.cwd) from None
    finally:
        os.chdir(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        if stdin is not None:
            os.close(stdin)
    return TerminalProcess(pid)


def interrupted(outcome: Outcome) -> bool:
    """Whether the task died of the keyboard's SIGINT: then the user meant the run."""
    return outcome.signal == signal.SIGINT


