"""Picks the platform that this program runs on."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import Platform


def current_platform(*, one_thread: bool = False) -> Platform:
    """The platform that we run on; ``one_thread`` promises that this process never has a second one."""
    if sys.platform == "linux":
        from taskrun.host.linux import Linux

        return Linux(one_thread=one_thread)
    from taskrun.host.portable import Portable

    return Portable()
