"""Starts a host: by fork, at the top of the command line's entry, or by exec, from any program. No more."""

from __future__ import annotations

import _socket
import os
import sys

from taskrun.host.own import raise_files


class HostStart:
    """A host that has been started, and that nobody talks to yet.

    Attributes:
        socket: The runner's end, closed over exec. It is the life-line: when its last copy is closed, the host stops
            every task and exits.
        pid: The host's process id; a child of this process.
    """

    __slots__ = ("pid", "socket")

    def __init__(self, socket: _socket.socket, pid: int) -> None:
        self.socket = socket
        self.pid = pid


def fork_host() -> HostStart:
    """Forks this process into a host.

    Only for a process that has one thread and has imported little: the host, and the templates that it forks, keep what
    it has. Call it before ``raise_nofile_limit``, so that tasks get the limit which the user has set.

    Raises:
        OSError: The machine, or a limit of this user's, has no room for one more process or descriptor.
    """
    ours, theirs = _socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return HostStart(ours, pid)
    status = 70
    try:
        ours.close()
        from taskrun.host.serve import serve

        serve(theirs.detach(), soft_files=_soft_files(), forked=True)
        status = 0
    finally:
        os._exit(status)


def exec_host(soft_files: int | None = None) -> HostStart:
    """Starts a host as a fresh interpreter, without ``site``; for programs with threads, and in place of a lost host.

    Args:
        soft_files: The soft limit of open files that tasks shall have; ``None``: this process's own.
    """
    from taskrun.host.launch import spawn

    ours, theirs = _socketpair()
    boot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
    limit = _soft_files() if soft_files is None else soft_files
    options = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}"]
    argv = [sys.executable, *options, boot, "3", "-" if limit is None else str(limit)]
    # Above 3, so that the file actions cannot overwrite it before it is used.
    high = _above(theirs.detach(), 4)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = spawn(sys.executable, argv, dict(os.environ), [null, null, null, high])
    finally:
        os.close(high)
        os.close(null)
    return HostStart(ours, pid)


def raise_nofile_limit() -> int | None:
    """Raises this process's soft limit of open files to the hard one.

    A run needs about three descriptors for each attempt that is under way. Tasks do not get the raised limit, which
    would break programs that use ``select()``: the host gives each the soft limit that the run was started with.

    Returns:
        The soft limit as it was, for ``exec_host``; ``None`` where nothing was changed.
    """
    return raise_files()


def _soft_files() -> int | None:
    from resource import RLIMIT_NOFILE, getrlimit

    return getrlimit(RLIMIT_NOFILE)[0]


def _socketpair() -> tuple[_socket.socket, _socket.socket]:
    """A pair of raw sockets, without the ``socket`` module, which costs milliseconds."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return ours, theirs


def _above(fd: int, least: int) -> int:
    """Moves a descriptor to a number of at least ``least``, closed over exec."""
    import fcntl

    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
    os.close(fd)
    return high
