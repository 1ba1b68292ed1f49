"""What holds for every test: an environment that says nothing of this machine, and nothing left behind.

A test that leaves a child process, a process that inherited its environment, a thread or a descriptor fails.
"""

from __future__ import annotations

import compileall
import contextlib
import gc
import os
import secrets
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import hypothesis
import pytest

import taskrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Without a time limit per example: the machines of CI are slow and shared, and nothing timed asserts here.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# A suite that was started in the background, or under nohup, has these ignored, and all that it starts would too.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Seconds in which what a test has stopped may disappear: on a busy machine a host takes a while to see that its runner
# is gone. Only what fails waits so long.
_PATIENCE = float(os.environ.get("LEFT_BEHIND_PATIENCE") or 15.0)
_POLL = 0.01  # seconds
_MARK = "PYTEST_LEFT_BEHIND_MARK"
_STARTS_PROCESSES = frozenset(
    {"process", "contract", "cli", "anomaly", "faults"}
)  # folders whose tests are searched for orphans too
_CI_VARIABLES = frozenset(
    [
        "CI",
        "CONTINUOUS_INTEGRATION",
        "GITLAB_CI",
        "BUILDKITE",
        "CIRCLECI",
        "TRAVIS",
        "TF_BUILD",
        "TEAMCITY_VERSION",
        "JENKINS_URL",
        "APPVEYOR",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "LINES",
    ]
)
_CI_PREFIXES = ("TASKRUN_", "GITHUB_", "RUNNER_", "CI_", "BUILDKITE_")


def pytest_sessionstart() -> None:
    """What tests start writes no bytecode, and would compile a fifth of the package at each of two thousand starts."""
    if not sys.dont_write_bytecode:
        compileall.compile_dir(os.path.dirname(taskrun.__file__), quiet=2)


@pytest.fixture(autouse=True)
def _environment_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller, and not where this runs, decides what a test sees."""
    for name in list(os.environ):
        if name in _CI_VARIABLES or name.startswith(_CI_PREFIXES):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compares what is there before and after; a live process, a zombie, a thread and a descriptor all count."""
    mark = None
    if not _STARTS_PROCESSES.isdisjoint(request.node.path.parts):
        mark = secrets.token_hex(8)
        monkeypatch.setenv(_MARK, mark)
    before = _present(None)
    yield
    left = _wait_for_nothing(lambda: _present(mark) - before)
    if left:
        pytest.fail("left behind: " + "; ".join(sorted(left)), pytrace=False)


def _wait_for_nothing(left_behind: Callable[[], set[str]]) -> set[str]:
    """What is still there after a bounded wait."""
    until = time.monotonic() + _PATIENCE
    while left := left_behind():
        if time.monotonic() > until:
            return left
        gc.collect()  # an unreferenced file is closed
        time.sleep(_POLL)
    return set()


def _present(mark: str | None) -> set[str]:
    return _descriptors() | _threads() | _children() | (_orphans(mark) if mark else set())


def _descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add(f"descriptor {number} of {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def _threads() -> set[str]:
    """Without trio's, which it keeps for ten seconds for the next one who needs a thread."""
    return {f"thread {thread.name}" for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}


def _children() -> set[str]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # the kernel says at once that there are none, and mostly there are none
    me = os.getpid()
    return {f"child process {_describe(pid)}" for pid in _pids() if _parent(pid) == me}


def _orphans(mark: str) -> set[str]:
    """Processes that inherited the test's environment, whoever their parent is."""
    entry = f"{_MARK}={mark}".encode()
    found = set()
    for pid in _pids():
        if pid != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
                if entry in environ.read().split(b"\0"):
                    found.add(f"process {_describe(pid)}")
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int | None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
    return None


def _describe(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as cmdline:
        return f"{pid} {cmdline.read().replace(bytes(1), b' ').decode(errors='replace').strip() or '(zombie)'}"
    return str(pid)
