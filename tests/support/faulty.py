"""Makes the system calls of a process fail, or ends the process, at a step that a test chooses. stdlib only.

A test that has the code in its own process uses ``DiskFaults``. A command gets it planted: a ``sitecustomize`` calls
``install``, which reads from ``FAULTY`` what is to happen in which of the processes that fork from each other: the
runner, its host, a template of that, the probe that takes its place, a worker.

Every step is written to a file, one line each, so that a first run tells which steps there are.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

VARIABLE = "FAULTY"

ROLES = ("runner", "host", "template", "probe", "worker")
"""Each forks from the one before it."""

_BY_PATH = ("open", "mkdir", "rename", "symlink")
_BY_DESCRIPTOR = ("write", "fsync", "close", "posix_fallocate", "ftruncate")
SPAWNS = ("fork", "posix_spawn", "pipe", "mkfifo")
"""What starts a process, or makes what one needs."""

# What a process does to the world, or asks of it; before each of these calls it may be killed.
# fmt: off
_DEEDS = frozenset({
    "open", "write", "writev", "close", "pipe", "pipe2", "mkfifo", "mkdir", "rename", "unlink", "rmdir", "symlink",
    "fork", "posix_spawn", "kill", "killpg", "waitpid", "wait4", "waitid", "fsync", "posix_fallocate", "ftruncate",
    "dup2", "read", "chdir", "setsid", "send", "sendmsg", "recv", "recvmsg", "socketpair", "memfd_create", "flock",
    "setrlimit", "signal", "set_wakeup_fd", "poll", "prctl",
})
# fmt: on


class DiskFaults:
    """What is written below a folder fails at a step.

    Args:
        folder: Absolute.
        at: Which step, from 1; 0: none, they are only counted.
        number: The errno.
        for_good: From that step on; else only there, if that step has a next one.
        short: The first write that fails has written half of its bytes, as a disk does that fills up.

    Attributes:
        steps: What was done so far, one text each.
        failed: The text of the first step that failed; empty: none has.
    """

    def __init__(self, folder: str, at: int, number: int, *, for_good: bool, short: bool = False) -> None:
        self.steps: list[str] = []
        self.failed = ""
        self.note: Callable[[str], None] = self.steps.append
        self._count = 0
        self._folder = folder
        self._at = at
        self._number = number
        self._for_good = for_good
        self._short = short
        self._names: dict[int, str] = {}
        self._real = {name: getattr(os, name) for name in (*_BY_PATH, *_BY_DESCRIPTOR)}

    def __enter__(self) -> Self:
        for name in _BY_PATH:
            setattr(os, name, self._by_path(name))
        for name in _BY_DESCRIPTOR:
            setattr(os, name, self._by_descriptor(name))
        return self

    def __exit__(self, *_exc: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _by_path(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            # A link has its place second; of a rename both are in one folder.
            place = os.fspath(arguments[0] if name == "symlink" else path)
            place = place if isinstance(place, str) else os.fsdecode(place)
            reads = name == "open" and not arguments[0] & (os.O_WRONLY | os.O_RDWR)
            if not place.startswith(self._folder) or reads:
                return real(path, *arguments, **named)
            self._step(name, place)
            result = real(path, *arguments, **named)
            if name == "open":
                self._names[result] = place
            return result

        return call

    def _by_descriptor(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(fd: int, *arguments: Any) -> Any:
            if fd not in self._names:
                return real(fd, *arguments)
            try:
                self._step(name, self._names[fd])
            except OSError:
                if name == "close":  # it is closed all the same: what was written late is what failed
                    del self._names[fd]
                    real(fd)
                elif name == "write" and self._short and self.failed and len(arguments[0]) > 1:
                    self._short = False
                    return real(fd, bytes(arguments[0])[: len(arguments[0]) // 2])
                raise
            if name == "close":
                del self._names[fd]
            return real(fd, *arguments)

        return call

    def _step(self, name: str, place: str) -> None:
        self._count += 1
        text = f"{name} {os.path.basename(place)}"
        self.note(text)
        if self._at and (self._count == self._at or (self._for_good and self._count > self._at)):
            self.failed = self.failed or text
            raise OSError(self._number, os.strerror(self._number))


class _Planted:
    """What happens in a command and the processes that fork from it.

    The plan has `what`, and in which `role`, and `at` which step, from 1. "disk": as ``DiskFaults``. "kill": SIGKILL
    before that step. "spawn": the first of `calls` from that step on fails with `errno`, or, `for_good`, all of them.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._depth = 0
        self._count = 0
        self._spent = False
        self._real = {name: getattr(os, name) for name in (*SPAWNS, "write", "open")}
        os.fork = self._fork
        for name in set(SPAWNS) - {"fork"}:
            setattr(os, name, self._spawning(name))
        self._take_role()

    @property
    def _role(self) -> str:
        return ROLES[min(self._depth, len(ROLES) - 1)]

    def _note(self, text: str) -> None:
        """Adds a line to the list of this role's steps."""
        path = os.path.join(self._plan["notes"], self._role)
        fd = self._real["open"](path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._real["write"](fd, text.encode() + b"\n")
        os.close(fd)

    def _take_role(self) -> None:
        """In the process whose turn it is, begins to look at its steps."""
        if self._plan.get("role") != self._role:
            return
        if self._plan["what"] == "disk":
            faults = DiskFaults(
                self._plan["folder"], self._plan["at"], self._plan["errno"], for_good=self._plan["for_good"]
            )
            faults.note = self._note
            faults.__enter__()
        elif self._plan["what"] == "kill" and self._depth:
            sys.setprofile(self._watch)

    def _fork(self) -> int:
        self._maybe_fail("fork")
        pid: int = self._real["fork"]()
        if pid == 0:
            self._depth += 1
            self._count, self._spent = 0, False
            sys.setprofile(None)
            self._take_role()
        elif self._plan["what"] == "kill" and self._role == self._plan["role"]:
            sys.setprofile(self._watch)  # of the runner: from here on
        return pid

    def _spawning(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*arguments: Any, **named: Any) -> Any:
            self._maybe_fail(name)
            return real(*arguments, **named)

        return call

    def _maybe_fail(self, name: str) -> None:
        plan = self._plan
        if plan["what"] != "spawn" or plan["role"] != self._role:
            return
        self._count += 1
        self._note(name)
        if plan["at"] and self._count >= plan["at"] and name in plan["calls"] and not self._spent:
            self._spent = not plan["for_good"]
            raise OSError(plan["errno"], os.strerror(plan["errno"]))

    def _watch(self, frame: FrameType, event: str, function: Any) -> None:
        """A profile function: counts what the process does, and kills it before the step that was chosen."""
        if event != "c_call" or function.__name__ not in _DEEDS:
            return
        if not frame.f_globals.get("__name__", "").startswith(("taskrun", "trio", "os", "tempfile", "shutil")):
            return
        self._count += 1
        sys.setprofile(None)
        self._note(f"{function.__name__} in {frame.f_globals['__name__']}")
        if self._count == self._plan["at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(self._watch)


def install() -> None:
    """For a ``sitecustomize``: does what ``FAULTY`` says, in taskrun's own processes only."""
    plan = os.environ.get(VARIABLE)
    if plan and sys.orig_argv[1:3] == ["-m", "taskrun"]:
        _Planted(json.loads(plan))


ENOSPC, EIO = errno.ENOSPC, errno.EIO
