"""Whether a failed attempt is repeated, and after how long. Pure: chance comes from the generator handed in."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from taskrun.model import (
    Clock,
    ClockHit,
    Exited,
    LookUpFailed,
    Lost,
    NoResult,
    Outcome,
    Raised,
    Signaled,
    SpawnFailed,
    State,
    Stopped,
)

if TYPE_CHECKING:
    from random import Random

    from taskrun.config.project import Retry, RetryRule

_MOST_DOUBLINGS = 60  # beyond it any delay is longer than a run, and a float would overflow at 1,024


def retry_decision(retry: Retry, outcome: Outcome, attempt: int, random: Random) -> float | None:
    """Seconds until the next attempt, or ``None``: this outcome stands.

    Args:
        retry: The task's rules.
        outcome: How the attempt ended.
        attempt: Its number, from 1.
        random: For the jitter.
    """
    if attempt >= retry.attempts or outcome.state not in {State.FAILED, State.TIMED_OUT}:
        return None
    ending = outcome.ending
    if isinstance(ending, Raised) and ending.kind == "retry":
        # What the task itself asks for outweighs `retry.on`; without a time of its own it gets the usual one.
        return ending.retry_after or back_off(retry, attempt, random)
    if not _is_retried(retry.on, outcome):
        return None
    return back_off(retry, attempt, random)


def back_off(retry: Retry, attempt: int, random: Random) -> float:
    """Seconds to wait after attempt number ``attempt``: the doubled delay up to the longest, or any below it."""
    doubled = retry.first_delay * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
    longest = min(doubled, max(retry.first_delay, retry.longest_delay))
    # Full jitter: tasks that failed together, of the same cause, do not come back together.
    return random.uniform(0.0, longest) if retry.jitter else longest


def _is_retried(rules: tuple[RetryRule, ...], outcome: Outcome) -> bool:
    if any(rule.negated and _matches(rule, outcome) for rule in rules):
        return False
    wanted = [rule for rule in rules if not rule.negated]
    if not wanted:
        return _is_worth_another_try(outcome)
    return any(_matches(rule, outcome) for rule in wanted)


def _is_worth_another_try(outcome: Outcome) -> bool:
    """Every failure is, but those that a second try cannot change, and what somebody wanted to end."""
    match outcome.ending:
        case Stopped() | LookUpFailed():
            return False
        case SpawnFailed(kind=kind):
            return kind != "not-found"
        case _:
            return True


def _matches(rule: RetryRule, outcome: Outcome) -> bool:
    ending = outcome.ending
    match rule.kind:
        case "failure":
            return _is_worth_another_try(outcome)
        case "exit":
            return _fits(rule.value, _exit_code(outcome))
        case "signal":
            return _is_signal(rule.value, _signal(outcome))
        case "exception":
            return isinstance(ending, Raised) and (rule.value is None or rule.value in ending.type_names)
        case "lost":
            return isinstance(ending, Lost)
        case "timeout" | "start" | "idle" | "stall":
            return isinstance(ending, ClockHit) and _clock_rule(ending.clock) == rule.kind
        case _:
            raise AssertionError(f"unknown retry rule {rule.kind!r}")


def _clock_rule(clock: Clock) -> str:
    """The word for it in ``retry.on``; imports that hang are a start that hangs."""
    return "start" if clock is Clock.IMPORT else clock.value.removesuffix("-timeout")


def _exit_code(outcome: Outcome) -> int | None:
    """The code of a process that ended by itself; one that a clock stopped has none that means anything."""
    match outcome.ending:
        case Exited(code=code) | NoResult(code=code):
            return code
        case _:
            return None


def _signal(outcome: Outcome) -> int | None:
    """The signal, not ours, that ended it."""
    match outcome.ending:
        case Signaled(signal=number):
            return number
        case NoResult():
            return outcome.signal
        case _:
            return None


def _fits(wanted: int | str | None, code: int | None) -> bool:
    return code is not None and (wanted is None or code == wanted)


def _is_signal(wanted: int | str | None, number: int | None) -> bool:
    if number is None or wanted is None or isinstance(wanted, int):
        return _fits(wanted, number)
    name = "SIG" + wanted.removeprefix("SIG")
    return getattr(signal, name, None) == number
