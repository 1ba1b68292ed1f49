"""How workers of one machine know that each other live, and wake each other. It knows nothing of jobs.

Beside the database lies a folder, and in it two files for each worker: one whose lock the worker holds, and which its
tasks inherit, so that the kernel says when the last of them has ended; and a socket at which it is woken.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = ".lock"
_BELL = ".sock"
_LONGEST = 100  # bytes of a socket's path; the kernel takes 107, macOS 103
_DRAIN = 64  # wakes that are taken at once


class Presence:
    """This worker's lock and socket.

    Attributes:
        worker: Its name, never used by another.
        descriptor: The locked file; processes of jobs inherit it.
        bell: Where wakes arrive; ``None`` where there can be no socket, and one has to look.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder
        self.worker, self.descriptor = _take_lock(folder)
        self.bell = _hang_bell(folder, self.worker + _BELL)

    def silence(self) -> None:
        """Takes the wakes that are waiting; they are one."""
        if self.bell is not None:
            with contextlib.suppress(BlockingIOError):
                for _ in range(_DRAIN):
                    self.bell.recv(1)

    def leave(self, *, clean: bool) -> None:
        """Closes both.

        Never unlocks, since that would free the lock of the processes which inherited it too.

        Args:
            clean: No job is this worker's any more. Else the lock's file stays for whoever gives the jobs back.
        """
        if self.bell is not None:
            self.bell.close()
            self.bell = None
            _remove(self._folder, self.worker + _BELL)
        if clean:
            _remove(self._folder, self.worker + _LOCK)
        os.close(self.descriptor)


def is_alive(folder: str, worker: str) -> bool:
    """Whether a worker, or a process that inherited its lock, lives; by the lock alone, which no clock can change.

    One of which that cannot be told lives: it is another user's, or no more files can be opened.
    """
    try:
        descriptor = os.open(os.path.join(folder, worker + _LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may be looking, too
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def has_lock(folder: str, worker: str) -> bool:
    """Whether a worker's lock is where others look for it."""
    return os.path.lexists(os.path.join(folder, worker + _LOCK))


def refresh(folder: str, worker: str) -> None:
    """Makes a worker's files look used, for programs that remove what has not been for days."""
    for end in (_LOCK, _BELL):
        with contextlib.suppress(OSError):
            os.utime(os.path.join(folder, worker + end))


def living(folder: str) -> list[str]:
    """The workers that live."""
    return [worker for worker in _workers(folder) if is_alive(folder, worker)]


def forget_dead(folder: str) -> None:
    """Removes the files of workers that have ended; to be called when no job is theirs any more."""
    for worker in _workers(folder):
        with contextlib.suppress(OSError):
            descriptor = os.open(os.path.join(folder, worker + _LOCK), os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder, worker + _BELL)
                _remove(folder, worker + _LOCK)  # under the lock: one that is just being made notices
            finally:
                os.close(descriptor)


def ring(folder: str, *, but: str = "") -> None:
    """Wakes all workers but one; one that cannot be woken looks by itself within a second."""
    try:
        bells = [name for name in os.listdir(folder) if name.endswith(_BELL) and name != but + _BELL]
    except OSError:
        return
    if not bells:
        return
    try:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:  # no more files can be opened
        return
    with sender:
        sender.setblocking(False)
        for name in bells:
            try:
                with _address(folder, name) as address:
                    sender.sendto(b"!", address)
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:  # its process is gone, and its name is never used again
                    _remove(folder, name)


def _workers(folder: str) -> list[str]:
    try:
        return sorted(name.removesuffix(_LOCK) for name in os.listdir(folder) if name.endswith(_LOCK))
    except OSError:  # there is no such folder, or no more files can be opened: one looks again
        return []


def _take_lock(folder: str) -> tuple[str, int]:
    while True:
        worker = uuid.uuid4().hex
        path = os.path.join(folder, worker + _LOCK)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # who looks whether we live holds it for a moment
        if os.fstat(descriptor).st_nlink:  # else one who removes dead workers' files was between the two lines
            os.write(descriptor, b"%d\n" % os.getpid())
            return worker, descriptor
        os.close(descriptor)


def _hang_bell(folder: str, name: str) -> socket.socket | None:
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.setblocking(False)
    try:
        with _address(folder, name) as address:
            bell.bind(address)
    except OSError:  # a file system without sockets, or too long a path where there is no /proc
        bell.close()
        return None
    return bell


@contextlib.contextmanager
def _address(folder: str, name: str) -> Iterator[str]:
    """A path that fits into a socket's address: a long one goes through a descriptor of its folder."""
    path = os.path.join(folder, name)
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _remove(folder: str, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, name))
