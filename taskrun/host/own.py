"""What a fresh process does to itself, so that nothing of the process that it came from stays with it."""

from __future__ import annotations

import os

from taskrun.host.signals import signal


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
