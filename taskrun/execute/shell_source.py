"""Reads a `{ shell = "..." }` source: a command line run by the host like any task, bounded in time and size."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

from taskrun.execute.endings import from_status, reason_of
from taskrun.execute.pump import Pump
from taskrun.link import HostLost, SpawnError
from taskrun.model import ResourceError
from taskrun.resolve import ShellFailed

if TYPE_CHECKING:
    from taskrun.execute.pump import Stream
    from taskrun.link import Link, Process, Usage

_PATIENCE = 10.0  # seconds
_MOST = 16 * 1024 * 1024  # bytes
_MOST_SAID = 64 * 1024  # bytes of its stderr
_QUIET = 0.2


async def read_shell(link: Link, command: str, env: dict[str, str], cwd: str) -> str:
    """Stdout of ``sh -eu -c command``; what it says on stderr goes to ours, and into the failure.

    It does not get our own stderr: whoever makes that non-blocking does so for us too.

    Raises:
        ShellFailed: It failed, took longer than 10 s, or wrote more than 16 MiB.
        ResourceError: The machine has no room for it, or somebody killed its supervisor.
    """
    answer = bytearray()
    too_much = trio.Event()

    def take(data: bytes) -> None:
        if len(answer) + len(data) <= _MOST:
            answer.extend(data)
        else:
            too_much.set()

    said = bytearray()
    pump = Pump()
    read, write = os.pipe()
    read_error, write_error = os.pipe()
    streams = [pump.add(read, take), pump.add(read_error, lambda data: said.extend(data[: _MOST_SAID - len(said)]))]
    try:
        try:
            process = await link.spawn(
                ("sh", "-eu", "-c", command),
                env=env,
                cwd=cwd,
                stdin=None,
                stdout=write,
                stderr=write_error,
            )
        except SpawnError as error:
            why = ResourceError if error.failure.kind == "resources" else ShellFailed
            raise why(error.failure.message) from None
        finally:
            os.close(write)
            os.close(write_error)
        failed = await _read_all(link, process, pump, streams, too_much)
        lost = link.why if link.lost.is_set() else ""
    except HostLost as error:
        failed, lost = "", str(error)
    finally:
        for stream in streams:
            stream.close()
        pump.close()
    if lost:
        raise ResourceError(f"`{command}` cannot be read: the process supervising it was lost ({lost})")
    if failed:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise ShellFailed(f"{failed}: {last}" if last else failed)
    if said:
        with contextlib.suppress(OSError):
            await trio.to_thread.run_sync(os.write, 2, bytes(said), abandon_on_cancel=True)
    return answer.decode(errors="surrogateescape")


async def _read_all(link: Link, process: Process, pump: Pump, streams: list[Stream], too_much: trio.Event) -> str:
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
            await pump.drain(streams, _QUIET)
        nursery.cancel_scope.cancel()
    if too_much.is_set():
        return f"it wrote more than {_MOST >> 20} MiB"
    if patience.cancelled_caught:
        return f"it took longer than {_PATIENCE:.0f} seconds"
    if usage is None or usage.status is None:
        return "it cannot be killed"
    return reason_of(from_status(usage.status), (0,)) or ""
