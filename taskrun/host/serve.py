"""Turns a fresh process into the host, and runs it. Nothing of the process that it came from stays with it."""

from __future__ import annotations

import _socket
import os

from taskrun.host.own import keep_only, raise_files, reset_signals
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
    from taskrun.host.supervisor import Supervisor
    from taskrun.host.system import current_platform

    platform = platform or current_platform(one_thread=True)
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
