"""What the machine is short of when a process is to be started: it may come free while other attempts run, and end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running
    from taskrun.link import Process

_MAY_PASS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC})
_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)  # seconds; the host waits as long for a process


async def patiently(start: Callable[[], Awaitable[Process]], running: Running, equipment: Equipment) -> Process:
    """Tries again as long as others run whose end could help, and nobody has asked the attempt to stop.

    Args:
        start: Makes what the process needs, and has it started.
        running: The attempt.
        equipment: Knows how many there are.

    Raises:
        OSError: It could not be made.
        SpawnError, HostLost: As ``start`` does.
    """
    for delay in _DELAYS:
        try:
            return await start()
        except OSError as error:
            others = equipment.attempts - equipment.short - 1
            if error.errno not in _MAY_PASS or others <= 0 or running.stopping is not None:
                raise
        equipment.short += 1
        try:
            with running.until_stopped(delay):
                await trio.sleep_forever()
        finally:
            equipment.short -= 1
    return await start()
