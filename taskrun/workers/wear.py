"""When a worker has done enough to be replaced: by its requests, or by its memory. It looks, and replaces nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from taskrun.host.system import current_platform

if TYPE_CHECKING:
    from taskrun.workers.member import Member
    from taskrun.workers.settings import Settings

_MEMORY_LOOKS = 0.05  # seconds between two looks at a worker's memory


class Wear:
    """How much the workers of one pool may do and take."""

    def __init__(self, settings: Settings) -> None:
        self._requests = settings.max_requests
        self._memory = settings.max_memory
        self._platform = current_platform()

    def leaves_room(self, member: Member[Any]) -> bool:
        """Whether a worker may be given another request, beside those that it has."""
        return self._requests is None or member.served + len(member.inflight) < self._requests

    def is_worn(self, member: Member[Any]) -> bool:
        """Whether a worker, which has just answered, should get nothing more."""
        if self._requests is not None and member.served >= self._requests:
            return True
        if self._memory is None:
            return False
        now = trio.current_time()
        if now < member.memory_looked + _MEMORY_LOOKS:
            return False
        member.memory_looked = now
        return member.process is not None and self._platform.resident(member.process.pid) > self._memory
