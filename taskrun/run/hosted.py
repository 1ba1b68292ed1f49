"""What surrounds a run and a queue worker alike: signals are answered, a host is there, the terminal is given back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from taskrun.link import open_link
from taskrun.run.options import RunResult
from taskrun.run.python import open_scratch
from taskrun.run.signals import taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskrun.host.start import HostStart
    from taskrun.link import Link
    from taskrun.run.signals import SignalDesk
    from taskrun.run.terminal import Terminal


async def with_host(
    work: Callable[[Link, int], Awaitable[RunResult]],
    host: HostStart | None,
    desk: SignalDesk,
    terminal: Terminal,
    *,
    warn: Callable[[str], None],
) -> RunResult:
    """Has the work done below a host; returns when nothing that was started is left.

    Args:
        work: Is given the link to the host, and where its templates print to (see ``open_scratch``).
        host: The one that was forked for it; ``None``: another is started.
        desk: Answers signals meanwhile.
        terminal: Is restored at the end.
        warn: Told what happens to templates.
    """
    result = RunResult()
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.serve, taken())
        said = open_scratch()
        try:
            async with open_link(host, warn=warn, templates_log=said) as link:
                result = await work(link, said)
        finally:
            os.close(said)
            terminal.restore()
            nursery.cancel_scope.cancel()
    return result
