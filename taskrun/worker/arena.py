"""Segments of memory between a program and a worker: the lender's, which are used again, and those that were borrowed.

Whoever sends makes the memory, lends a segment with a message that needs one, and gets it back when the other end says
so or has died. Each end learns of a segment once, with its descriptor, and knows it by number from then on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.frames import Descriptors
from taskrun.worker import memory

if TYPE_CHECKING:
    import _socket
    import mmap

    from taskrun.worker.memory import Borrower
    from taskrun.worker.shared import SharedBuffer

LEAST = 128 * 1024
"""Bytes of the smallest segment."""
SPARE = 64 * 1024 * 1024
"""Bytes that may lie unused in any case."""


class Segment:
    """Memory of one message at a time."""

    __slots__ = ("descriptor", "mapping", "number", "size")

    def __init__(self, size: int) -> None:
        """Makes it.

        Raises:
            OSError: There is no memory, or no descriptor, for it.
        """
        self.size = size
        self.descriptor = memory.make(size)
        try:
            self.mapping = memory.map_whole(self.descriptor, size, writable=True)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.number = next(memory.numbers)

    def close(self) -> None:
        """Gives the memory back, as soon as no other process has it."""
        os.close(self.descriptor)
        self.mapping.close()


class Arena:
    """Segments that are lent again and again, since new memory costs several times what copying into it does.

    Attributes:
        borrowers: Who is to be told when a segment is given up.
        size: Bytes of all segments.
    """

    def __init__(self) -> None:
        self.borrowers: set[Borrower] = set()
        self.size = 0
        self._free: list[Segment] = []  # the longest unused first
        self._lent = 0  # bytes
        self._needed = 0  # bytes that were lent at once lately, at most

    def lend(self, size: int) -> Segment:
        """A segment of at least so many bytes.

        Raises:
            MemoryError: It cannot be had; why.
        """
        wanted = _class_of(size)
        fitting = [segment for segment in self._free if wanted <= segment.size <= 2 * wanted]
        if fitting:
            segment = min(reversed(fitting), key=lambda each: each.size)
            self._free.remove(segment)
        else:
            segment = self._make(wanted)
        self._lent += segment.size
        self._needed = max(self._lent, self._needed - self._needed // 64)
        return segment

    def _make(self, size: int) -> Segment:
        try:
            try:
                segment = Segment(size)
            except OSError:
                if not self._free:
                    raise
                self._trim(0)
                segment = Segment(size)
        except (OSError, OverflowError) as error:
            raise memory.not_to_be_had(size, error) from None
        self.size += size
        return segment

    def take_back(self, segment: Segment) -> None:
        """It may be used again: nobody looks at it any more."""
        self._lent -= segment.size
        self._free.append(segment)
        self._trim(max(SPARE, self._needed) - self._lent)

    def give_up(self, segment: Segment) -> None:
        """It may not: the borrower still looks at it, or nobody knows."""
        self._lent -= segment.size
        self._drop(segment)

    def _trim(self, most: int) -> None:
        """Gives up what lies unused beyond so many bytes."""
        unused = sum(segment.size for segment in self._free)
        while self._free and unused > most:
            segment = self._free.pop(0)
            unused -= segment.size
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        self.size -= segment.size
        segment.close()
        for borrower in self.borrowers:
            borrower.forget(segment.number)

    def close(self) -> None:
        """Gives up all that is not lent."""
        self._trim(0)


def _class_of(size: int) -> int:
    """The sizes that segments have: four steps to each doubling, so that what is free fits often enough."""
    if size <= LEAST:
        return LEAST
    step = 1 << max(size.bit_length() - 3, 0)
    return -(-size // step) * step


class Borrowed:
    """What the other end of a channel has lent to this one."""

    def __init__(self) -> None:
        self._descriptors = Descriptors()
        self._mappings: dict[int, mmap.mmap] = {}
        self._shared: dict[int, SharedBuffer] = {}

    def receive(self, sock: _socket.socket, most: int) -> bytes:
        """Reads once, as ``recv`` does, and keeps the descriptors that come along.

        Raises:
            OSError: As ``recv`` does.
        """
        return self._descriptors.receive(sock, most)

    def learn(self, number: int, size: int, way: str) -> None:
        """Maps what the next descriptor stands for.

        Args:
            number: What it will be called.
            size: Bytes.
            way: How its counters are kept, where it is a ``SharedBuffer``; empty for a segment.

        Raises:
            OSError: There is no descriptor or no address space for it.
        """
        (descriptor,) = self._descriptors.take(1)
        if way:
            from taskrun.worker.shared import SharedBuffer

            self._shared[number] = SharedBuffer.of(number, descriptor, size, way)
            return
        try:
            self._mappings[number] = memory.map_whole(descriptor, size, writable=False)
        finally:
            os.close(descriptor)

    def mapping(self, number: int) -> mmap.mmap | None:
        """A segment; ``None`` for 0, which is none.

        Raises:
            KeyError: It is not known.
        """
        return self._mappings[number] if number else None

    def shared(self, number: int) -> SharedBuffer:
        """A shared buffer.

        Raises:
            KeyError: It is not known.
        """
        return self._shared[number]

    def keeps(self, number: int) -> bool:
        """Whether somebody here still looks at a segment. If so, it is forgotten, and is theirs for good."""
        if not number or not memory.is_seen(self._mappings[number]):
            return False
        del self._mappings[number]
        return True

    def forget(self, number: int) -> None:
        """It is lent no more. Whoever still looks at it keeps it."""
        self._mappings.pop(number, None)
        self._shared.pop(number, None)

    def close(self) -> None:
        """Forgets all."""
        self._descriptors.close()
        self._mappings.clear()
        self._shared.clear()
