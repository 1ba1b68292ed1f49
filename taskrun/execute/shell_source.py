"""Reads a `{ shell = "..." }` source: a command line run by the host like any task, bounded in time and size."""

from __future__ import annotations

import os

import trio

from taskrun.execute.endings import from_status, reason_of
from taskrun.execute.pump import Pump
from taskrun.link import HostLost, Link, SpawnError
from taskrun.resolve import ShellFailed

_PATIENCE = 10.0  # seconds
_MOST = 16 * 1024 * 1024  # bytes
_QUIET = 0.2


async def read_shell(link: Link, command: str, env: dict[str, str], cwd: str) -> str:
    """Stdout of ``sh -eu -c command``; its stderr goes to ours.

    Raises:
        ShellFailed: It failed, took longer than 10 s, or wrote more than 16 MiB.
        HostLost: The supervising process died.
    """
    answer = bytearray()
    pump = Pump()
    read, write = os.pipe()
    stream = pump.add(read, answer.extend)
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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.serve)
            with trio.move_on_after(_PATIENCE) as patience:
                usage = await process.wait()
            if patience.cancelled_caught or len(answer) > _MOST:
                link.kill(process)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
                    await process.wait()
                nursery.cancel_scope.cancel()
                raise ShellFailed(f"it took longer than {_PATIENCE:.0f} seconds")
            await pump.drain([stream], _QUIET)
            nursery.cancel_scope.cancel()
    except HostLost as lost:
        raise ShellFailed(str(lost)) from None
    finally:
        stream.close()
        pump.close()
    if usage.status is None:
        raise ShellFailed("it cannot be killed")
    reason = reason_of(from_status(usage.status), (0,))
    if reason:
        raise ShellFailed(reason)
    return answer.decode(errors="surrogateescape")
