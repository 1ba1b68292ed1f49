"""Carries out an attempt whose command is a program: pipes, spawn, watch, drain, outcome."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import trio

from taskrun.events import TaskStart
from taskrun.execute.shortages import patiently
from taskrun.execute.sink import Sink
from taskrun.link import HostLost, SpawnError
from taskrun.model import BinaryCommand, PythonCall, SpawnFailed, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running, WatchedProcess
    from taskrun.link import Process
    from taskrun.model import Attempt, Outcome


async def carry_out(running: Running, equipment: Equipment, emit: Emit) -> Outcome:
    """From the attempt to its outcome."""
    attempt = running.attempt
    assert isinstance(attempt.command, BinaryCommand)
    sink = Sink(running, equipment, emit)
    try:
        try:
            argv = attempt.command.argv
            if attempt.progress is not None and attempt.progress.parser == "ffmpeg":
                from taskrun.execute import ffmpeg

                argv = await ffmpeg.arrange(running, argv, sink, equipment)
            if running.stopping is not None:
                return running.without_process(Stopped(reason=running.stopping.reason))
            spawn = functools.partial(_spawn, attempt, attempt.command, argv, sink, equipment)
            process = await patiently(spawn, running, equipment)
        except SpawnError as error:
            return running.without_process(error.failure)
        except OSError as error:
            return unequipped(running, error)
        running.begin(process)
        emit(started(attempt, process))
        sink.listen()
        return await watch(running, sink)
    except HostLost as lost:
        return running.lost(f"the process supervising it was lost ({lost})", log=sink.log_path)
    finally:
        sink.close()


async def watch(running: Running, sink: Sink, *, on_tick: Callable[[], None] | None = None) -> Outcome:
    """Waits for the end of what ``running`` began, reads the rest of its output, and sums up.

    Args:
        running: The attempt.
        sink: Of what it says.
        on_tick: Called several times a second.
    """

    def tick() -> None:
        sink.tick()
        if on_tick is not None:
            on_tick()

    running.describe = sink.describe
    running.on_tick = tick
    try:
        usage = await running.wait_end()
    except trio.Cancelled:
        await running.kill_and_wait()
        raise
    await sink.finish(usage)
    ending, result = None, sink.result
    if sink.own_ending is not None and usage.status is not None:
        ending, result = sink.own_ending(usage)
    outcome = running.outcome(usage, ending, result=result, log=sink.log_path)
    sink.show_final(outcome)
    return outcome


def unequipped(running: Running, error: OSError) -> Outcome:
    """We could not make what a process needs to be started: its pipes, its progress channel."""
    if running.stopping is not None:
        return running.without_process(Stopped(reason=running.stopping.reason))
    where = f" ({error.filename})" if error.filename else ""
    message = f"taskrun cannot make its pipes{where}: {error.strerror}"
    return running.without_process(SpawnFailed(kind="resources", message=message))


def started(attempt: Attempt, process: WatchedProcess) -> TaskStart:
    """The event that says what was started where: the command as the user gave it, not what we add to it."""
    command = attempt.command
    binary = command if isinstance(command, BinaryCommand) else None
    return TaskStart(
        task=attempt.task,
        attempt=attempt.number,
        argv=() if binary is None else binary.argv,
        shell=None if binary is None else binary.shell,
        target=command.target if isinstance(command, PythonCall) else None,
        cwd=attempt.cwd,
        pid=process.pid,
        env=attempt.extra_env,
    )


async def _spawn(
    attempt: Attempt, command: BinaryCommand, argv: tuple[str, ...], sink: Sink, equipment: Equipment
) -> Process:
    """Raises SpawnError, HostLost."""
    stdin = open_stdin(command.stdin)
    try:
        out, err = sink.open_pipes()
        try:
            return await equipment.link.spawn(
                argv,
                env=sink.environment(),
                cwd=attempt.cwd,
                stdin=stdin,
                stdout=out,
                stderr=err,
            )
        finally:
            os.close(out)
            os.close(err)
    finally:
        if stdin is not None and stdin > 2:
            os.close(stdin)


def open_stdin(path: str | None) -> int | None:
    """A descriptor to read from: ``None`` for ``/dev/null``, 0 for taskrun's own (which in the background is none).

    Non-blocking while it is opened, since a FIFO without a writer, or a dead mount, would hold up everything.

    Raises:
        SpawnError: It cannot be opened.
    """
    if path is None:
        return None
    if path == "-":
        # A task lives in a session of its own, where nothing stops it when it reads a terminal: in the background of
        # a shell it would eat what the user types for the shell.
        return None if _is_in_background(0) else 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        failure = SpawnFailed(kind="stdin", message=f"stdin `{path}` cannot be opened: {error.strerror}")
        raise SpawnError(failure, error.errno or 0) from None
    os.set_blocking(fd, True)
    return fd


def _is_in_background(fd: int) -> bool:
    """Whether ``fd`` is our controlling terminal, and in another job's hands."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:  # ENOTTY: a terminal, but not ours
        return False
