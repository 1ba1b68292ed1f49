"""Whether the process that writes a record is still alive. It looks, and changes nothing.

A writer holds a lock on its event file, which ends with it, also in another container that shares the folder. Where
locks do not work, its pid tells, with the moment at which that process started, since pids are used again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

_DEAD = frozenset({b"Z", b"X", b"x"})  # states of processes


def boot_id() -> str:
    """Identifies this boot of the machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; ``None``: there is none, or the system does not say.

    One that has ended is none, also where nobody reaps it, as in a container without an init.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in brackets may hold anything, brackets too. Field 22 is the 20th after it.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _DEAD else int(fields[19])


def is_process(pid: int, started: int | None, boot: str) -> bool:
    """Whether that very process still runs."""
    if pid <= 0 or boot != boot_id():
        return False
    if started is not None:
        return process_start(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def claim(fd: int) -> None:
    """Marks an open file as written by this process for as long as it lives; does nothing where locks do not work."""
    with contextlib.suppress(OSError):  # not supported here, or somebody is just asking; the pid tells too
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_claimed(path: str) -> bool:
    """Whether a living process has claimed the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in {errno.EWOULDBLOCK, errno.EACCES}
    else:
        return False
    finally:
        os.close(fd)
