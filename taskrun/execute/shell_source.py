"""Reads a `{ shell = "..." }` source: a command line run by the host like any task, bounded in time and size."""

from __future__ import annotations

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
        ShellFailed: It failed, took longer than 10 s, wrote more than 16 MiB, or its host died.
    """
    answer = bytearray()
    bound = trio.CancelScope(deadline=trio.current_time() + _PATIENCE)

    def take(data: bytes) -> None:
        if len(answer) <= _MOST:
            answer.extend(data)
        else:
            bound.cancel()

    pump = Pump()
    read, write = os.pipe()
    stream = pump.add(read, take)
    try:
        try:
            process = await link.spawn(
                ("sh", "-eu", "-c", command), env=env, cwd=cwd, stdin=None, stdout=write, stderr=2
            )
        finally:
            os.close(write)
        usage = await _wait_end(link, process, pump, stream, bound)
    except SpawnError as error:
        raise ShellFailed(error.failure.message) from None
    except HostLost as lost:
        raise ShellFailed(str(lost)) from None
    finally:
        stream.close()
        pump.close()
    if len(answer) > _MOST:
        raise ShellFailed(f"it wrote more than {_MOST >> 20} MiB")
    if usage is None:
        raise ShellFailed(f"it took longer than {_PATIENCE:.0f} seconds")
    if usage.status is None:
        raise ShellFailed("it cannot be killed")
    reason = reason_of(from_status(usage.status), (0,))
    if reason:
        raise ShellFailed(reason)
    return answer.decode(errors="surrogateescape")


async def _wait_end(link: Link, process: Process, pump: Pump, stream: Stream, bound: trio.CancelScope) -> Usage | None:
    """Reads until the process has ended; ``None``: it went beyond its bound, and was killed.

    Raises:
        HostLost: The supervising process died.
    """
    usage: Usage | None = None
    lost: HostLost | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.serve)
        try:
            with bound:
                usage = await process.wait()
            if usage is None:
                link.kill(process)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
                    await process.wait()
            else:
                await pump.drain([stream], _QUIET)
        except HostLost as error:  # raised below: a nursery would wrap it
            lost = error
        nursery.cancel_scope.cancel()
    if lost is not None:
        raise lost
    return usage
