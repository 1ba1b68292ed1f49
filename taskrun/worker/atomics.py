"""Whole numbers in memory of several processes, changed exactly: no change is lost or half done, whoever is killed.

Python has no such thing, so the processor's own instruction is called: by libatomic, which comes with gcc's libraries,
or, on x86-64 without it, by a few bytes of machine code. Elsewhere a lock of the kernel's serves, which is slower and
goes with its owner. Whoever made the memory decides which: the two ways do not see each other.
"""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import sys
from _thread import allocate_lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NATIVE = "native"
LOCKED = "locked"


class Counter:
    """A signed whole number of 64 bits that several processes change; beyond them it begins at the other end."""

    __slots__ = ()

    def add(self, number: int = 1) -> int:
        """Adds, and returns the sum."""
        raise NotImplementedError

    def swap(self, expected: int, new: int) -> bool:
        """Sets it to ``new`` if it is ``expected``; whether it was."""
        raise NotImplementedError

    def store(self, number: int) -> None:
        """Sets it."""
        raise NotImplementedError

    @property
    def value(self) -> int:
        """What it is now."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<Counter at {self.value}>"


def way() -> str:
    """The best way that this process has."""
    return LOCKED if instructions() is None else NATIVE


def counter(way: str, mapping: mmap.mmap, descriptor: int, offset: int) -> Counter:
    """The number at ``offset``.

    Raises:
        OSError: This process does not have that way.
    """
    if way == LOCKED:
        return _Locked(mapping, descriptor, offset)
    found = instructions()
    if found is None:
        raise OSError("this process cannot call the processor's atomic instructions, as whoever made the memory can")
    return _Native(found, mapping, offset)


# --- by instruction ---------------------------------------------------------------------------------------------------


class Instructions:
    """Functions of an address and numbers; each returns what was there before."""

    def __init__(
        self, add: Callable[[int, int], int], exchange: Callable[[int, int], int], swap: Callable[[int, int, int], int]
    ) -> None:
        self.add = add
        self.exchange = exchange
        self.swap = swap


@functools.cache
def instructions() -> Instructions | None:
    """The processor's; ``None``: there is no way to call them."""
    try:
        import ctypes  # not everywhere

        if ctypes.sizeof(ctypes.c_void_p) != 8:
            return None
    except ImportError:
        return None
    for make in (by_library, by_code):
        try:
            return make()
        except (OSError, AttributeError, ValueError):
            continue
    return None


def by_library() -> Instructions:
    """By libatomic.

    Raises:
        OSError: It is not here, or would use a lock of its own, which other processes do not see.
    """
    import ctypes

    library = ctypes.PyDLL("libatomic.so.1")  # which keeps the interpreter's lock: it takes nanoseconds
    number, address, order = ctypes.c_int64, ctypes.c_void_p, 5  # sequentially consistent
    is_lock_free = getattr(library, "__atomic_is_lock_free")
    is_lock_free.argtypes = (ctypes.c_size_t, address)
    if not is_lock_free(8, None):
        raise OSError("libatomic uses locks")
    add, exchange, swap = (
        getattr(library, f"__atomic_{what}_8") for what in ("fetch_add", "exchange", "compare_exchange")
    )
    add.restype = exchange.restype = number
    add.argtypes = exchange.argtypes = (address, number, ctypes.c_int)
    swap.restype = ctypes.c_bool
    swap.argtypes = (address, address, number, ctypes.c_int, ctypes.c_int)

    def swapped(where: int, expected: int, new: int) -> int:
        before = number(expected)
        swap(where, ctypes.byref(before), new, order, order)
        return before.value

    return Instructions(lambda where, n: add(where, n, order), lambda where, n: exchange(where, n, order), swapped)


_ADD = bytes.fromhex("48 89 f0  f0 48 0f c1 07  c3")  # mov rax, rsi; lock xadd [rdi], rax; ret
_EXCHANGE = bytes.fromhex("48 89 f0  48 87 07  c3")  # mov rax, rsi; xchg [rdi], rax; ret
_SWAP = bytes.fromhex("48 89 f0  f0 48 0f b1 17  c3")  # mov rax, rsi; lock cmpxchg [rdi], rdx; ret


def by_code() -> Instructions:
    """By functions of one instruction each, in memory of their own that nobody can write to.

    Raises:
        OSError: This is no x86-64 Unix, or does not allow that.
    """
    import ctypes

    if os.uname().machine not in {"x86_64", "amd64"} or sys.platform == "win32":
        raise OSError("another processor")
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    for at, code in ((0, _ADD), (16, _EXCHANGE), (32, _SWAP)):
        page[at : at + len(code)] = code
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(start, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "memory cannot be made executable")
    _pages.append(page)
    number, address = ctypes.c_int64, ctypes.c_void_p
    one = ctypes.PYFUNCTYPE(number, address, number)
    two = ctypes.PYFUNCTYPE(number, address, number, number)
    return Instructions(one(start), one(start + 16), two(start + 32))


_pages: list[mmap.mmap] = []


class _Native(Counter):
    __slots__ = ("_cell", "_how", "_where")

    def __init__(self, how: Instructions, mapping: mmap.mmap, offset: int) -> None:
        import ctypes

        self._how = how
        self._cell = ctypes.c_int64.from_buffer(mapping, offset)  # keeps the mapping
        self._where = ctypes.addressof(self._cell)

    def add(self, number: int = 1) -> int:
        return _signed(self._how.add(self._where, number) + number)

    def swap(self, expected: int, new: int) -> bool:
        return self._how.swap(self._where, expected, new) == expected

    def store(self, number: int) -> None:
        self._how.exchange(self._where, number)

    @property
    def value(self) -> int:
        return self._how.add(self._where, 0)


def _signed(number: int) -> int:
    return number if -(1 << 63) <= number < 1 << 63 else (number + (1 << 63)) % (1 << 64) - (1 << 63)


# --- by a lock --------------------------------------------------------------------------------------------------------

_threads = allocate_lock()  # the kernel's lock is the process's: it does not keep its threads apart


class _Locked(Counter):
    __slots__ = ("_cell", "_descriptor", "_offset")

    def __init__(self, mapping: mmap.mmap, descriptor: int, offset: int) -> None:
        self._cell: Any = memoryview(mapping)[offset : offset + 8].cast("q")  # written by one instruction
        self._descriptor = os.dup(descriptor)
        self._offset = offset

    def _change(self, new: Callable[[int], int]) -> int:
        """Sets it to what ``new`` makes of it; returns what it was."""
        with _threads:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 8, self._offset)
            try:
                before: int = self._cell[0]
                self._cell[0] = _signed(new(before))
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, self._offset)
        return before

    def add(self, number: int = 1) -> int:
        return _signed(self._change(lambda before: before + number) + number)

    def swap(self, expected: int, new: int) -> bool:
        return self._change(lambda before: new if before == expected else before) == expected

    def store(self, number: int) -> None:
        self._change(lambda _before: number)

    @property
    def value(self) -> int:
        return self._cell[0]  # type: ignore[no-any-return]  # a whole number

    def __del__(self) -> None:
        os.close(self._descriptor)
