"""A link to a real, exec'd host for tests, and the pipes of what it starts."""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

import trio

from taskrun.host.portable import Portable
from taskrun.host.start import HostStart
from taskrun.link import Link, Process, Usage, open_link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PATIENCE = 30.0  # seconds; a bound on hanging, nothing here takes that long


class Task:
    """A process and what it writes."""

    def __init__(self, process: Process, output: trio.lowlevel.FdStream) -> None:
        self.process = process
        self._output = output
        self._text = b""

    async def line(self) -> str:
        """The next line of its output."""
        while b"\n" not in self._text:
            piece = await self._output.receive_some(65536)
            assert piece, f"it ended after {self._text!r}"
            self._text += piece
        line, self._text = self._text.split(b"\n", 1)
        return line.decode()

    async def pid_in_line(self) -> int:
        """The number at the end of the next line."""
        return int((await self.line()).split()[-1])

    async def end(self) -> tuple[Usage, str]:
        """Waits for its end; how it ended, and the rest of its output."""
        usage = await self.process.wait()
        while piece := await self._output.receive_some(65536):
            self._text += piece
        await self._output.aclose()
        return usage, self._text.decode()


async def start(
    link: Link,
    argv: tuple[str, ...],
    *,
    env: dict[str, str] | None = None,
    cwd: str = "/",
    stdin: int | None = None,
) -> Task:
    """Starts a program whose stdout and stderr are one pipe."""
    reading, writing = os.pipe()
    try:
        process = await link.spawn(
            argv,
            env=dict(os.environ) if env is None else env,
            cwd=cwd,
            stdin=stdin,
            stdout=writing,
            stderr=writing,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return Task(process, trio.lowlevel.FdStream(reading))


async def outcome(link: Link, argv: tuple[str, ...], **how: Any) -> tuple[Usage, str]:
    """Starts a program and waits for its end."""
    return await (await start(link, argv, **how)).end()


@contextlib.asynccontextmanager
async def linked(**how: Any) -> AsyncIterator[Link]:
    """A link; afterwards this process is no subreaper, as it was before."""
    try:
        async with open_link(**how) as link:
            yield link
    finally:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def portable_host() -> HostStart:
    """A forked host that knows processes from ``ps`` alone, as on macOS."""
    ours, theirs = _socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            from taskrun.host.serve import serve

            serve(theirs.detach(), soft_files=None, forked=False, platform=Portable())
        os._exit(0)
    theirs.close()
    return HostStart(ours, pid)


def run(test: Callable[[Link], Awaitable[None]], **how: Any) -> None:
    """Runs a test with a link, within bounds."""

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with linked(**how) as link:
                await test(link)

    trio.run(main)
