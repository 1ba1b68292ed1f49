"""--die-with-parent: notices that the process which started taskrun is gone.

CI services often signal only the shell of a step; a shell that dies of it signals nobody. PR_SET_PDEATHSIG would be
quicker, but is Linux's alone and fires for a dying thread of the parent, too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.report.settings import Settings

_LOOK = 0.5  # seconds
_PARENT = os.getppid()  # at import: as early as possible, so that a parent that dies during the start is noticed


def dies_with_parent(asked: bool | None, settings: Settings) -> bool:  # noqa: FBT001 - the option's own values
    """Whether it was asked for; in a CI service without asking."""
    return settings.ci is not None if asked is None else asked


async def watch_parent(gone: Callable[[], None]) -> None:
    """Calls ``gone`` once, when the parent is another than at the start."""
    while os.getppid() == _PARENT:  # noqa: ASYNC110 - nobody sends an event for this
        await trio.sleep(_LOOK)
    gone()
