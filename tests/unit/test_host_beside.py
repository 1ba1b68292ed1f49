"""What the runner has started itself is known by its pid and start time, or by its mark; nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.census import state_of

from taskrun.host.beside import Beside
from taskrun.host.system import current_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = current_platform()
MARK = f"beside{os.getpid()}"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "71.5"], env={**os.environ, "TASKRUN_MARK": ""})
    yield process
    process.kill()
    process.wait(30)


def start_of(process: subprocess.Popen[bytes]) -> int:
    seen = HERE.look(process.pid)
    assert seen is not None
    return seen.start


def test_it_is_stopped_by_pid_and_start_time(sleeper):
    beside = Beside(HERE)
    beside.know(MARK, sleeper.pid, start_of(sleeper))
    assert beside.alive()
    beside.stop(signal.SIGTERM)
    assert sleeper.wait(30) == -signal.SIGTERM
    assert not beside.alive()


def test_who_has_the_pid_later_is_left_alone(sleeper):
    beside = Beside(HERE)
    beside.know(MARK, sleeper.pid, start_of(sleeper) - 1)
    assert not beside.alive()
    beside.stop(signal.SIGTERM)
    beside.kill(1.0)
    assert state_of(sleeper.pid) in {"S", "R"}


def test_one_that_has_ended_is_nobodys_affair(sleeper):
    beside = Beside(HERE)
    beside.know(MARK, sleeper.pid, start_of(sleeper))
    beside.know("", 0, 0)
    beside.stop(signal.SIGTERM)
    beside.kill(1.0)
    assert state_of(sleeper.pid) in {"S", "R"}


def test_what_has_its_mark_is_its_own_also_before_the_pid_was_told():
    own = subprocess.Popen(["sleep", "71.5"], env={**os.environ, "TASKRUN_MARK": f"outer-3:{MARK}"})
    attempt = subprocess.Popen(["sleep", "71.5"], env={**os.environ, "TASKRUN_MARK": f"{MARK}-7"})
    within = subprocess.Popen(["sleep", "71.5"], env={**os.environ, "TASKRUN_MARK": f"{MARK}:inner-1"})
    try:
        beside = Beside(HERE)
        beside.know(MARK, 0, 0)
        beside.stop(signal.SIGTERM)
        assert own.wait(30) == -signal.SIGTERM
        assert beside.alive()
        assert state_of(within.pid) in {"S", "R"}  # the taskrun within is told, and stops it
        assert state_of(attempt.pid) in {"S", "R"}  # the host's own: it is stopped as such
        beside.kill(30.0)
        assert within.wait(30) == -signal.SIGKILL
        assert not beside.alive()
    finally:
        for process in (own, attempt, within):
            process.kill()
            process.wait(30)
