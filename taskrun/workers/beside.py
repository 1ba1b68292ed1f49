"""What one worker of a pool has been lent, and what it has lent: the memory that goes beside frames.

It sends what it has to say of memory by the worker's outbox, ahead of the request that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.worker import requests
from taskrun.worker.arena import Borrowed
from taskrun.worker.buffers import Incoming

if TYPE_CHECKING:
    from taskrun.worker.arena import Arena, Segment
    from taskrun.worker.memory import Borrower
    from taskrun.worker.shared import SharedBuffer
    from taskrun.workers.post import Outbox
    from taskrun.workers.ticket import Ticket


class Beside:
    """The memory between the program and one worker.

    Args:
        arena: The pool's.
        worker: Is told when memory is given up.

    Attributes:
        borrowed: The worker's memory, for results.
    """

    def __init__(self, arena: Arena, worker: Borrower) -> None:
        self.borrowed = Borrowed()
        self._arena = arena
        self._worker = worker
        self._lent: dict[int, Segment] = {}  # by request
        self._told: set[int] = set()  # segments that the worker knows
        self._shared: dict[int, SharedBuffer] = {}  # likewise
        arena.borrowers.add(worker)

    def lend(self, ticket: Ticket, outbox: Outbox) -> int:
        """Puts a request's large values where its worker sees them; the number of their segment, or 0.

        Raises:
            MemoryError: There is no memory, or no descriptor, for them.
            TypeError: A shared buffer has been closed meanwhile.
            ValueError: A buffer's view has been released meanwhile.
        """
        outgoing = ticket.outgoing
        assert outgoing is not None
        try:
            for shared in outgoing.shared:
                self._show(shared, outbox)
            if not outgoing.size:
                return 0
            segment = self._arena.lend(outgoing.size)
            self._lent[ticket.id] = segment
            if segment.number not in self._told:
                lent = requests.Lent(number=segment.number, size=segment.size)
                outbox.send_descriptor(requests.encode(lent), segment.descriptor)
                self._told.add(segment.number)
            outgoing.write(segment.mapping)
        except OSError as error:  # of descriptors
            self.take_back(ticket)
            raise MemoryError(f"memory cannot be lent to a worker: {error.strerror}") from None
        except ValueError:
            self.take_back(ticket)
            raise
        return segment.number

    def _show(self, shared: SharedBuffer, outbox: Outbox) -> None:
        number = shared.name(back=False)
        if number not in self._shared:
            lent = requests.Lent(number=number, size=len(shared), way=shared.way)
            outbox.send_descriptor(requests.encode(lent), shared.descriptor)
            self._shared[number] = shared
            shared.borrowers.add(self._worker)

    def take_back(self, ticket: Ticket, *, kept: bool = False) -> None:
        """The worker has done with a request; what it ``kept`` is its own from now on."""
        segment = self._lent.pop(ticket.id, None)
        if segment is None:
            return
        if kept:
            self._told.discard(segment.number)  # it has forgotten it by itself
            self._arena.give_up(segment)
        else:
            self._arena.take_back(segment)

    def forget(self, number: int) -> bool:
        """Memory was given up; whether the worker knows of it."""
        known = number in self._told or number in self._shared
        self._told.discard(number)
        self._shared.pop(number, None)
        return known

    def incoming(self, segment: int) -> Incoming:
        """What came beside an answer; it must be taken out before the worker is told that it was."""
        return Incoming(self.borrowed.mapping(segment), self._shared.__getitem__, copied=True)

    def close(self, *, dead: bool) -> None:
        """Takes everything back: the worker is ``dead``, or nobody knows."""
        self._arena.borrowers.discard(self._worker)
        for shared in self._shared.values():
            shared.borrowers.discard(self._worker)
        self._shared.clear()
        for segment in self._lent.values():
            if dead:
                self._arena.take_back(segment)
            else:
                self._arena.give_up(segment)
        self._lent.clear()
        self.borrowed.close()
