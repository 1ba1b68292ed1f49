"""From what the kernel and the worker said to the way an attempt ended, and to the words for it. Pure."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, assert_never

from taskrun.config.wording import signal_name, spoken
from taskrun.model import (
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

if TYPE_CHECKING:
    from taskrun.model import Ending


def exit_of(status: int) -> tuple[int | None, int | None]:
    """(exit code, signal number) of a wait status; one of them is ``None``."""
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def from_status(status: int) -> Exited | Signaled:
    """The ending of a program that nobody stopped."""
    code, number = exit_of(status)
    if number is not None:
        return Signaled(signal=number, core_dumped=os.WCOREDUMP(status))
    return Exited(code=code or 0)


def state_of(ending: Ending, success_codes: tuple[int, ...]) -> State:
    """The state that an ending leads to, leaks left aside."""
    match ending:
        case Exited(code=code):
            return State.SUCCEEDED if code in success_codes else State.FAILED
        case Returned():
            return State.SUCCEEDED
        case ClockHit():
            return State.TIMED_OUT
        case Stopped():
            return State.CANCELLED
        case Signaled() | Raised() | NoResult() | SpawnFailed() | Lost() | LookUpFailed():
            return State.FAILED
        case _:
            assert_never(ending)


def reason_of(ending: Ending, success_codes: tuple[int, ...]) -> str:
    """One clause for people; empty for a success."""
    match ending:
        case Exited(code=code, out_of_memory=known):
            return "" if code in success_codes else f"exit {code}" + (" (SIGKILL: out of memory)" if known else "")
        case Returned():
            return ""
        case Signaled(signal=signal.SIGKILL, out_of_memory=known):
            return f"killed by SIGKILL (not by taskrun{_MEMORY_WORDS[known]})"
        case Signaled(signal=number, core_dumped=dumped):
            return f"killed by {signal_name(number)}" + (" (core dumped)" if dumped else "")
        case Raised(kind=kind, type_names=names, message=message):
            return _raised(kind, names[0] if names else "exception", message)
        case NoResult(why=why):
            return why
        case ClockHit():
            return _clock_hit(ending)
        case SpawnFailed(message=message) | LookUpFailed(message=message):
            return message
        case Stopped(reason=reason, killed=killed):
            return f"{reason}" + (", killed" if killed else "")
        case Lost(why=why):
            return f"lost: {why}"
        case _:
            assert_never(ending)


def _raised(kind: str, name: str, message: str) -> str:
    first = message.strip().split("\n", 1)[0]
    if kind == "fail":
        return first or "failed"
    if kind == "retry":
        return first or "asked for another attempt"
    if kind == "arguments":
        return f"wrong arguments: {first}"
    if kind == "import":
        return f"cannot be imported: {first}"
    if first.startswith((f"{name}(", f"{name} (")):  # it has no text: the worker sent its repr, or why there is none
        return first.removesuffix("()")
    return f"{name}: {first}" if first else name


_MEMORY_WORDS = {True: "; out of memory", False: "", None: "; out of memory?"}
_CLOCK_WORDS = {
    Clock.TIMEOUT: "timed out after {}",
    Clock.START: "no output or progress within {} of its start",
    Clock.IDLE: "no output or progress for {}",
    Clock.STALL: "progress did not move for {}",
    Clock.IMPORT: "its imports had not ended after {}",
}


def _clock_hit(ending: ClockHit) -> str:
    text = _CLOCK_WORDS[ending.clock].format(spoken(ending.after))
    return text + (", did not stop and was killed" if ending.killed else "")
