"""Turns a fresh process into the host, and runs it. Nothing of the process that it came from stays with it."""

from __future__ import annotations

import _socket
import os

from taskrun.host.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import Platform

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
"""A service manager sends the first three to everyone; the life-line ends the host, not a signal."""


def serve(fd: int, *, soft_files: int | None, forked: bool, platform: Platform | None = None) -> None:
    """Runs the host to its end on the socket ``fd``; for a process of its own, which should exit afterwards.

    Args:
        fd: A connected Unix stream socket to the runner. All other descriptors are closed.
        soft_files: The soft limit of open files that tasks shall have.
        forked: Whether this process is a fork of the runner (else it was exec'd).
        platform: Where processes are looked at; ``None``: as the system has it.
    """
    fd = leave_everything(fd)
    raise_files()
    from taskrun.host.control import Control
    from taskrun.host.loop import Loop
    from taskrun.host.platform import current
    from taskrun.host.supervisor import Supervisor

    platform = platform or current(one_thread=True)
    platform.become_subreaper()
    platform.set_name("taskrun-host")
    control = Control(_socket.socket(fileno=fd))
    supervisor = Supervisor(control, platform, Loop(), soft_files=soft_files, forked=forked)
    try:
        supervisor.run()
    except BaseException as error:
        supervisor.fail(error)
        raise


def leave_everything(fd: int) -> int:
    """Own session, no handlers, no blocked signals, no descriptors but ``fd``; returns its new number."""
    try:  # noqa: SIM105 - contextlib is slow to import
        os.setsid()
    except PermissionError:
        pass  # exec'd as a session leader already
    reset_signals()
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(os.umask(0o022))
    return keep_only(fd)


def keep_only(fd: int) -> int:
    """Puts ``fd`` at 3 and ``/dev/null`` at 0 to 2, and closes all the rest; returns 3."""
    import fcntl

    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)  # any of 0 to 3 may be free, or be fd itself
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
        os.set_inheritable(number, True)
    os.dup2(high, 3, inheritable=False)
    os.closerange(4, 1 << 20)
    return 3


def reset_signals() -> None:
    """Default dispositions, nothing blocked, no wake-up descriptor: what was inherited belongs to somebody else."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP} and signal.getsignal(number) is not None:
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def raise_files() -> int | None:
    """Raises the soft limit of open files to the hard one; returns what it was, or None where it was that already."""
    from resource import RLIMIT_NOFILE, getrlimit, setrlimit

    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft == hard:
        return None
    try:
        setrlimit(RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS: "unlimited" is refused
        return None
    return soft
