"""The requests of a pool that no worker has, and who waits for room among them: both in their order."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from taskrun.workers.ticket import Turn


class Queue:
    """A heap: the higher priority first. Who leaves from its middle stays in it, unseen, until it is his turn.

    Args:
        most: How many may wait; ``None``: any number. What is pushed without having waited for room is taken anyway.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._heap: list[Turn] = []
        self._present: set[Turn] = set()
        self._outside = trio.lowlevel.ParkingLot()
        self._promised = 0  # places of those who were let in, and have not come yet

    def __len__(self) -> int:
        return len(self._present)

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self._most is not None and len(self._present) + self._promised >= self._most

    async def room(self) -> None:
        """Waits until there is room for another one, which is then to be pushed before anything else is awaited."""
        if self.is_full:
            await self._outside.park()
            self._promised -= 1

    def push(self, ticket: Turn) -> None:
        """Another one."""
        heappush(self._heap, ticket)
        self._present.add(ticket)

    def pop(self) -> Turn:
        """Takes the first; there must be one."""
        while True:
            ticket = heappop(self._heap)
            if ticket in self._present:
                self._present.remove(ticket)
                self._let_in()
                return ticket

    def withdraw(self, ticket: Turn) -> bool:
        """Takes this one out for good; whether it was there."""
        if ticket not in self._present:
            return False
        self._present.remove(ticket)
        if not self._present:
            self._heap.clear()
        self._let_in()
        return True

    def close(self) -> list[Turn]:
        """Takes out all, and returns them in order; lets in everyone, to be told why there is no room."""
        heap, present = self._heap, self._present
        self._heap, self._present = [], set()
        self.release()
        return sorted(ticket for ticket in heap if ticket in present)

    def release(self) -> None:
        """Lets in everyone."""
        self._promised += len(self._outside)
        self._outside.unpark_all()

    def _let_in(self) -> None:
        while self._outside and not self.is_full:
            self._promised += 1
            self._outside.unpark()
