"""Reads a `{ shell = "..." }` source: a command line run by the host like any task, bounded in time and size."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

from taskrun.execute.endings import from_status, reason_of
from taskrun.execute.pump import Pump
from taskrun.link import HostLost, SpawnError
from taskrun.resolve import ShellFailed

if TYPE_CHECKING:
    from taskrun.execute.pump import Stream
    from taskrun.link import Link, Process, Usage

_PATIENCE = 10.0  # seconds
_MOST = 16 * 1024 * 1024  # bytes
_QUIET = 0.2


async def read_shell(link: Link, command: str, env: dict[str, str], cwd: str) -> str:
    """Stdout of ``sh -eu -c command``; its stderr goes to ours.

    Raises:
        ShellFailed: It failed, took longer than 10 s, wrote more than 16 MiB, or lost its supervisor.
    """
    answer = bytearray()
    too_much = trio.Event()

    def take(data: bytes) -> None:
        if len(answer) + len(data) <= _MOST:
            answer.extend(data)
        else:
            too_much.set()

    pump = Pump()
    read, write = os.pipe()
    stream = pump.add(read, take)
    try:
        try:
            process = await link.spawn(
                ("sh", "-eu", "-c", command),
                env=env,
                cwd=cwd,
                stdin=None,
                stdout=write,
                stderr=2,
            )
        except SpawnError as error:
            raise ShellFailed(error.failure.message) from None
        finally:
            os.close(write)
        failed = await _read_all(link, process, pump, stream, too_much)
    except HostLost as lost:
        raise ShellFailed(str(lost)) from None
    finally:
        stream.close()
        pump.close()
    if failed:
        raise ShellFailed(failed)
    return answer.decode(errors="surrogateescape")


async def _read_all(link: Link, process: Process, pump: Pump, stream: Stream, too_much: trio.Event) -> str:
    """Reads to the end; returns why it failed, or nothing. A nursery would wrap what is raised: so nothing is."""
    usage: Usage | None = None
    ended = trio.Event()

    async def wait() -> None:
        nonlocal usage
        with contextlib.suppress(HostLost):
            usage = await process.wait()
        ended.set()

    async def kill_if_too_much() -> None:
        await too_much.wait()
        link.kill(process)

    async with trio.open_nursery() as nursery:
        for work in (pump.serve, wait, kill_if_too_much):
            nursery.start_soon(work)
        with trio.move_on_after(_PATIENCE) as patience:
            await ended.wait()
        if patience.cancelled_caught:
            link.kill(process)
            with trio.move_on_after(_PATIENCE):
                await ended.wait()
        else:
            await pump.drain([stream], _QUIET)
        nursery.cancel_scope.cancel()
    if too_much.is_set():
        return f"it wrote more than {_MOST >> 20} MiB"
    if patience.cancelled_caught:
        return f"it took longer than {_PATIENCE:.0f} seconds"
    if usage is None:
        return "the process that supervised it died"
    if usage.status is None:
        return "it cannot be killed"
    return reason_of(from_status(usage.status), (0,)) or ""
