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
    tries = 0
    while True:
        try:
            return await start()
        except OSError as error:
            from taskrun.host.launch import SHORTAGE_DELAYS  # the host waits as long for a process

            others = equipment.machinery.attempts - equipment.machinery.short - 1
            may_pass = error.errno in _MAY_PASS and tries < len(SHORTAGE_DELAYS)
            if not may_pass or others <= 0 or running.stopping is not None:
                raise
        equipment.machinery.short += 1
        try:
            with running.until_stopped(SHORTAGE_DELAYS[tries]):
                await trio.sleep_forever()
        finally:
            equipment.machinery.short -= 1
        tries += 1
