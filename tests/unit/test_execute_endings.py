"""The words for how attempts end, and the states that endings lead to."""

from __future__ import annotations

import signal

import pytest

from taskrun.execute.endings import from_status, reason_of, state_of
from taskrun.model import (
    CancelKind,
    CancelReason,
    Clock,
    ClockHit,
    Exited,
    LookUpFailed,
    Lost,
    NoResult,
    Raised,
    Returned,
    Signaled,
    SpawnFailed,
    State,
    Stopped,
)

INTERRUPT = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        (Exited(code=0), State.SUCCEEDED, ""),
        (Exited(code=3), State.FAILED, "exit 3"),
        (Exited(code=9), State.SUCCEEDED, ""),
        (Signaled(signal=signal.SIGSEGV, core_dumped=True), State.FAILED, "killed by SIGSEGV (core dumped)"),
        (
            Signaled(signal=signal.SIGKILL),
            State.FAILED,
            "killed by SIGKILL (not by taskrun; out of memory?)",
        ),
        (
            Signaled(signal=signal.SIGKILL, out_of_memory=True),
            State.FAILED,
            "killed by SIGKILL (not by taskrun; out of memory)",
        ),
        (Signaled(signal=signal.SIGKILL, out_of_memory=False), State.FAILED, "killed by SIGKILL (not by taskrun)"),
        (Exited(code=137, out_of_memory=True), State.FAILED, "exit 137 (SIGKILL: out of memory)"),
        (Returned(), State.SUCCEEDED, ""),
        (Raised(type_names=("OSError",), message="no\nreally"), State.FAILED, "OSError: no"),
        (Raised(type_names=("MemoryError",), message="MemoryError()"), State.FAILED, "MemoryError"),
        (
            Raised(type_names=("X",), message="X (its message cannot be shown)"),
            State.FAILED,
            "X (its message cannot be shown)",
        ),
        (Raised(type_names=(), message="", kind="retry"), State.FAILED, "asked for another attempt"),
        (Raised(type_names=(), message="bad clip", kind="fail"), State.FAILED, "bad clip"),
        (Raised(type_names=("X",), message="x", kind="import"), State.FAILED, "cannot be imported: x"),
        (NoResult(why="exited (0) before returning a result"), State.FAILED, "exited (0) before returning a result"),
        (ClockHit(clock=Clock.TIMEOUT, after=90), State.TIMED_OUT, "timed out after 1m30s"),
        (
            ClockHit(clock=Clock.IDLE, after=0.25, killed=True),
            State.TIMED_OUT,
            "no output or progress for 250ms, did not stop and was killed",
        ),
        (SpawnFailed(kind="not-found", message="x: command not found"), State.FAILED, "x: command not found"),
        (Stopped(reason=INTERRUPT), State.CANCELLED, "SIGINT"),
        (Stopped(reason=INTERRUPT, killed=True), State.CANCELLED, "SIGINT, killed"),
        (Lost(why="the host died"), State.FAILED, "lost: the host died"),
        (LookUpFailed(message="no key `a`"), State.FAILED, "no key `a`"),
    ],
)
def test_every_ending_has_a_state_and_words(ending, state, reason):
    codes = (0, 9)
    assert state_of(ending, codes) is state
    assert reason_of(ending, codes) == reason


def test_wait_statuses_are_told_apart():
    assert from_status(3 << 8) == Exited(code=3)
    assert from_status(9) == Signaled(signal=9)
    assert from_status(11 | 0x80) == Signaled(signal=11, core_dumped=True)
