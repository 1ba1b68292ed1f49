"""Whether a process that got SIGKILL from nobody we know was killed by the kernel for want of memory. Only counts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec

from taskrun.host.system import current_platform
from taskrun.model import Exited, Signaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.model import Ending


class MemoryKills:
    """Compares how many processes the kernel has killed with how many were seen to die of it.

    Made when a run begins. The kernel counts before it kills, so that the count is there when the death is seen.

    Args:
        count: Reads the kernel's count; ``None`` where nobody counts.
    """

    def __init__(self, count: Callable[[], int | None] | None = None) -> None:
        self._count = current_platform().memory_kills if count is None else count
        self._explained = self._count()

    def explain(self, ending: Ending) -> Ending:
        """The same ending; of a death by SIGKILL, also of one that a shell tells by its status, with what is known."""
        match ending:
            case Signaled(signal=signal.SIGKILL) | Exited(code=137):  # as a shell says it
                return msgspec.structs.replace(ending, out_of_memory=self._one_more())
            case _:
                return ending

    def _one_more(self) -> bool | None:
        count = self._count()
        if count is None or self._explained is None:
            return None
        if count <= self._explained:
            return False
        self._explained += 1
        return True
