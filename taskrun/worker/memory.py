"""Memory that two processes can see: how it is made and mapped, and whether somebody here still looks at a mapping.

It knows nothing of what lies in it. On Linux it is a sealed memfd, elsewhere a file that has no name any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

numbers = itertools.count(1)
"""A number for each piece of memory that this process makes: a worker may know those of several owners."""


class Borrower(Protocol):
    """Who has been lent memory."""

    def forget(self, number: int) -> None:
        """There is no such memory any more."""


def make_sealed(size: int) -> int:
    """A memfd of that size, which nobody can shrink under a mapping: a descriptor.

    Raises:
        OSError: There is no memory for it, or no descriptor.
    """
    descriptor = os.memfd_create("taskrun", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with _closed_if_it_fails(descriptor):
        os.posix_fallocate(descriptor, 0, size)  # now, and with an error, and not with SIGBUS when it is written to
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def make_unlinked(size: int) -> int:
    """The same where there is no memfd: a file in the folder for temporary ones, whose name is gone.

    Raises:
        OSError: There is no room for it, or no descriptor.
    """
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"taskrun-{os.getpid()}-{os.urandom(8).hex()}")  # noqa: S108 - a name of 64 random bits, exclusively made
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with _closed_if_it_fails(descriptor):
        os.unlink(path)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    return descriptor


make = make_sealed if hasattr(os, "memfd_create") else make_unlinked
"""The way of this platform."""


@contextlib.contextmanager
def _closed_if_it_fails(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def not_to_be_had(size: int, error: Exception) -> MemoryError:
    """Making or mapping memory failed like this."""
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return MemoryError(f"no {size:,} bytes of shared memory can be had: {why}")


def map_whole(descriptor: int, size: int, *, writable: bool) -> mmap.mmap:
    """Maps it, with its pages at hand.

    Raises:
        OSError: There is no address space for it, or no descriptor.
        ValueError: It is smaller than that.
    """
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, flags=flags, prot=prot, trackfd=False)
    return mmap.mmap(descriptor, size, flags=flags, prot=prot)


def is_seen(mapping: mmap.mmap) -> bool:
    """Whether a view of a read-only mapping is left, however it was made: what numpy made of it counts too."""
    try:
        mapping.resize(len(mapping))  # never done: the first thing that it looks for is such a view
    except BufferError:
        return True
    except (TypeError, ValueError):
        return False
    except Exception:  # noqa: BLE001 - an interpreter that tells in another way
        return True
    return False
