"""`SharedBuffer`: memory of the program's that all its workers see and write to, with counters that are exact.

What they write there is their affair: only counters are ordered among processes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from taskrun.worker import atomics, memory

if TYPE_CHECKING:
    import mmap
    from types import TracebackType
    from typing import NoReturn

    from taskrun.worker.atomics import Counter
    from taskrun.worker.memory import Borrower


class SharedBuffer:
    """Memory that workers see: a field of a request, of any pool. It begins with zeros.

    A context manager: leaving it closes it. Use it in one thread of the program, that of the pools.

    Args:
        size: Bytes.

    Raises:
        ValueError: ``size`` is below 1.
        MemoryError: There is not so much; why.

    Attributes:
        number: What this process calls it.
        descriptor: Of its memory.
        way: How its counters are kept.
        borrowers: Who is to be told when it is closed.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        try:
            self._open(memory.make(size), size, atomics.way())
        except (OSError, OverflowError) as error:
            raise memory.not_to_be_had(size, error) from None

    @classmethod
    def of(cls, origin: int, descriptor: int, size: int, way: str) -> SharedBuffer:
        """One that came from the program, which calls it ``origin``; it takes over the descriptor.

        Raises:
            OSError: There is no address space for it.
        """
        found = cls.__new__(cls)
        found._open(descriptor, size, way, origin)  # noqa: SLF001 - its own class
        return found

    def _open(self, descriptor: int, size: int, way: str, origin: int = 0) -> None:
        self._mapping: mmap.mmap | None = None  # what ``__del__`` finds if the next line fails
        self.descriptor = descriptor
        try:
            self._mapping = memory.map_whole(descriptor, size, writable=True)
        except BaseException:
            os.close(descriptor)
            raise
        self._size = size
        self._origin = origin
        self.number = next(memory.numbers)
        self.way = way
        self.borrowers: set[Borrower] = set()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._mapping is None

    @property
    def view(self) -> memoryview:
        """All of it, writable, as bytes: ``numpy.frombuffer(shared.view, dtype)`` is an array of it.

        Raises:
            ValueError: It is closed.
        """
        return memoryview(self._opened())

    def __buffer__(self, flags: int, /) -> memoryview:
        return self.view  # asked for since Python 3.12

    def __len__(self) -> int:
        return self._size

    def __reduce__(self) -> NoReturn:
        """Neither copied nor pickled: a copy would close the descriptor a second time, which may be another's by then.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a `SharedBuffer` is sent in requests of a pool: it cannot be copied or pickled")

    def counter(self, offset: int = 0) -> Counter:
        """The whole number of 64 bits, signed, that lies there: 0 at first.

        Args:
            offset: In bytes, a multiple of 8.

        Raises:
            ValueError: It is none, or beyond the end; or the buffer is closed.
            OSError: This process cannot keep counters in the way of the one that made the buffer.
        """
        if offset % 8 or not 0 <= offset <= self._size - 8:
            raise ValueError(f"a counter's offset is a multiple of 8 and at most {self._size - 8}, not {offset}")
        return atomics.counter(self.way, self._opened(), self.descriptor, offset)

    def name(self, *, back: bool) -> int:
        """What the receiver of a message calls it.

        Args:
            back: The receiver is the program, and not a worker.

        Raises:
            TypeError: It cannot be sent there, or not any more.
        """
        self._check()
        if back and not self._origin:
            raise TypeError("a `SharedBuffer` that was made in a worker cannot be sent")
        return self._origin if back else self.number

    def _check(self) -> None:
        if self._mapping is None:
            raise TypeError("this `SharedBuffer` is closed")

    def _opened(self) -> mmap.mmap:
        if self._mapping is None:
            raise ValueError("this SharedBuffer is closed")
        return self._mapping

    def close(self) -> None:
        """Lets go of it, here and in workers; views, arrays and counters that are left stay as they are."""
        mapping, self._mapping = self._mapping, None
        if mapping is None:
            return
        for borrower in self.borrowers:
            borrower.forget(self.number)
        self.borrowers.clear()
        os.close(self.descriptor)
        with contextlib.suppress(BufferError):  # somebody looks at it: it goes with the last of them
            mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_mapping", None) is not None:
            self.borrowers.clear()  # from wherever this is called, nothing is sent
            self.close()

    def __repr__(self) -> str:
        return f"<SharedBuffer of {self._size:,} bytes{', closed' if self.closed else ''}>"
