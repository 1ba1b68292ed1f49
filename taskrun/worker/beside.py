"""What goes beside the frames of a worker: the memory that it was lent with requests, and lends with results.

It decides nothing about requests; the program's end of it is in ``taskrun.workers.beside``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.worker import contract, requests
from taskrun.worker.arena import Arena, Borrowed
from taskrun.worker.buffers import Incoming, Outgoing

if TYPE_CHECKING:
    from taskrun.worker.arena import Segment
    from taskrun.worker.session import Session


class Beside:
    """The memory between this worker and the program.

    Attributes:
        borrowed: The program's, of requests.
    """

    def __init__(self, channel: Session) -> None:
        self.borrowed = Borrowed()
        self._channel = channel
        self._worker = os.getpid()
        self._arena = Arena()
        self._arena.borrowers.add(self)
        self._lent: dict[int, Segment] = {}
        self._told: set[int] = set()  # segments that the program knows

    def learn(self, message: requests.Lent | requests.Forget | requests.Taken) -> None:
        """What the program says of memory.

        Raises:
            OSError: There is no room for it here.
        """
        match message:
            case requests.Lent():
                self.borrowed.learn(message.number, message.size, message.way)
            case requests.Forget():
                self.borrowed.forget(message.number)
            case requests.Taken():
                self._arena.take_back(self._lent.pop(message.segment))

    def incoming(self, segment: int) -> Incoming:
        """What came beside a request."""
        return Incoming(self.borrowed.mapping(segment), self.borrowed.shared, copied=False)

    def encode(self, value: object) -> tuple[bytes, int]:
        """A result as bytes, and the number of the segment that its large values lie in.

        Raises:
            ContractMistake: It cannot be carried.
            MemoryError: There is no memory for it.
        """
        outgoing = Outgoing(back=True)
        body = contract.encode(value, outgoing)
        if not outgoing.size or os.getpid() != self._worker:  # a process that the handler forked answers for nobody
            return body, 0
        segment = self._arena.lend(outgoing.size)
        self._lent[segment.number] = segment
        outgoing.write(segment.mapping)
        if segment.number not in self._told:
            self._told.add(segment.number)
            lent = requests.encode(requests.Lent(number=segment.number, size=segment.size))
            self._channel.send_frame(lent, segment.descriptor)
        return body, segment.number

    def forget(self, number: int) -> None:
        """See ``Borrower``."""
        if number in self._told:
            self._told.discard(number)
            self._channel.send_frame(requests.encode(requests.Forget(number=number)))
