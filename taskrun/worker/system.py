"""What a new process asks of the kernel to become a template or a worker. Linux only; elsewhere most of it is left out.

Everything that can be found out once (addresses, bound functions) is found out in the template, before it forks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import time

LINUX = sys.platform == "linux"
MARK = "TASKRUN_MARK"

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl if LINUX else None


# Without Python's own hooks around it (PyDLL: and without letting go of its lock).
_fork = ctypes.PyDLL(None, use_errno=True).fork
_fork.argtypes, _fork.restype = (), ctypes.c_int


def fork_middle() -> int:
    """``fork()`` for a process that does nothing but ``os.fork()`` and ``os._exit``; needs a process of one thread.

    Python's hooks after a fork cost more than the fork where ``threading`` is loaded: this process does not need them,
    and the one that it forks gets them from ``os.fork``.

    Raises:
        OSError: No process could be made.
    """
    ctypes.set_errno(0)
    pid: int = _fork()
    if pid < 0:
        number = ctypes.get_errno() or errno.EAGAIN
        raise OSError(number, os.strerror(number))
    return pid


class ParentGone(Exception):  # noqa: N818 - an event
    """The process that this one is bound to has died already."""


def set_name(name: str) -> None:
    """What ``ps`` and ``top`` show as the command; at most 15 bytes."""
    if _prctl is not None:
        _prctl(_PR_SET_NAME, name.encode()[:15])


def die_with(parent: int) -> None:
    """The kernel kills this process when ``parent``, which must be its parent, dies.

    Raises:
        ParentGone: It has died before the kernel was told.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        # Bound to whoever is the parent now: compare with the pid that was meant, not with 1, since a subreaper may
        # have adopted us.
        if os.getppid() != parent:
            raise ParentGone


def adopt_orphans() -> None:
    """Processes below this one whose parent ends become its children, and not those of somebody further up."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def outlive_parent() -> None:
    """Takes ``die_with`` back."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, 0)


def await_adoption(middle: int, host: int) -> None:
    """Waits until ``middle``, which forked this process and exits, is gone, so that the host is the parent.

    Raises:
        ParentGone: Somebody else adopted this process: the host has died.
    """
    if not LINUX:
        return  # no subreaper there: the parent stays what it is
    turns = 0
    while (parent := os.getppid()) == middle:
        turns += 1
        if turns < 200:
            os.sched_yield()
        else:
            time.sleep(0.0005)
    if parent != host:
        raise ParentGone


def flush_c_streams() -> None:
    """Writes out what C code has printed: ``_exit`` would lose it, and a fork would print it twice."""
    _libc.fflush(None)


def flush() -> None:
    """Leaves nothing in a buffer that a fork would print again."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (AttributeError, ValueError):
            continue  # a module has replaced or closed it
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)  # nobody reads it any more: what is left goes nowhere
            os.dup2(null, number)
            os.close(null)
            stream.flush()
    flush_c_streams()


def seal_descriptors(channel: int, stdin: int | None, stdout: int, stderr: int) -> None:
    """Puts the given ones at 0 to 3, closes others but that of ``keep_open``; without ``stdin``, 0 stays as it is.

    None of them may be one of 0, 1 and 2.
    """
    if stdin is not None:
        os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    if channel != 3:
        os.dup2(channel, 3, inheritable=False)
    os.closerange(_first_free, LAST_DESCRIPTOR)


def keep_open(fd: int) -> None:
    """Puts a descriptor at 4, where all workers inherit it; called once, and before any other lies there."""
    global _first_free  # noqa: PLW0603 - forks have it too
    os.dup2(fd, 4)
    if fd != 4:
        os.close(fd)
    _first_free = 5


_first_free = 4
LAST_DESCRIPTOR = 2**31 - 1 if LINUX else os.sysconf("SC_OPEN_MAX")


class Environment:
    """The environment, in its three places: ``os.environ``, libc's, and the block that ``/proc/PID/environ`` shows.

    Made in the template: libc's variables are copied out of the initial block, which is then free to carry the mark.
    """

    def __init__(self) -> None:
        self._block, self._size = _initial_block()
        self._initial = dict(os.environ)
        self._now = self._initial
        self._changed: tuple[str, ...] = ()
        os.environ.clear()
        os.environ.update(self._initial)

    def note_changes(self) -> None:
        """Modules have been imported, and may have set variables."""
        before, now = self._initial, dict(os.environ)
        self._changed = tuple(name for name in {**before, **now} if before.get(name) != now.get(name))
        self._now = now

    def replace(self, variables: dict[str, str]) -> None:
        """Makes ``variables`` the whole environment.

        What a module set while the template imported it holds where the variable was, before that, what it is in
        ``variables``: there the module would have done the same in this process.
        """
        now = self._now
        if self._changed:
            variables = dict(variables)
            for name in self._changed:
                if self._initial.get(name) == variables.get(name):
                    if name in now:
                        variables[name] = now[name]
                    else:
                        variables.pop(name, None)
        for name in [name for name in now if name not in variables]:
            del os.environ[name]
        for name, value in variables.items():
            if now.get(name) != value:
                os.environ[name] = value
        if now.get("TZ") != variables.get("TZ"):
            time.tzset()

    def show_mark(self, mark: str) -> None:
        """Writes ``TASKRUN_MARK`` over the initial block, so that the host knows this process and its forks by it.

        Where the block is too small (an almost empty environment) it is left as it is.
        """
        text = os.fsencode(f"{MARK}={mark}") + b"\0"
        if len(text) <= self._size:
            ctypes.memset(self._block, 0, self._size)
            ctypes.memmove(self._block, text, len(text))


def _initial_block() -> tuple[int, int]:
    """Address and size of the environment that this program was started with; forks have it at the same place."""
    if not LINUX:
        return 0, 0
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0  # no /proc: nobody could read the mark either
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, the 50th and 51st of the line
    return start, end - start


def open_descriptors() -> set[int]:
    """Numbers of the descriptors that are open now."""
    folder = "/proc/self/fd" if LINUX else "/dev/fd"
    numbers = {int(name) for name in os.listdir(folder)}
    return {number for number in numbers if _is_open(number)}  # not the one that listed the folder


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def count_threads() -> int:
    """Threads of this process, those that C code started included."""
    return len(os.listdir("/proc/self/task")) if LINUX else 1
