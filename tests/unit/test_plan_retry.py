"""Retries by reason: which outcome is tried again, and after how long."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.config.project import Retry, RetryRule
from taskrun.model import (
    CancelKind,
    CancelReason,
    Clock,
    ClockHit,
    Exited,
    LookUpFailed,
    Lost,
    NoResult,
    Outcome,
    Raised,
    Returned,
    Signaled,
    SpawnFailed,
    State,
    Stopped,
)
from taskrun.plan import retry_decision
from taskrun.plan.retry import back_off

KILL, SEGV = 9, 11


def failed(ending, **keys):
    return Outcome(state=State.FAILED, ending=ending, **keys)


def hit(clock):
    return Outcome(state=State.TIMED_OUT, ending=ClockHit(clock=clock, after=1.0), exit_code=75, signal=KILL)


def raised(*names, kind="exception", retry_after=None):
    return failed(Raised(type_names=names, message="", kind=kind, retry_after=retry_after))


EXIT_75 = failed(Exited(code=75), exit_code=75)
KILLED = failed(Signaled(signal=KILL), signal=KILL)
OS_ERROR = raised("ConnectionError", "builtins.ConnectionError", "OSError", "builtins.OSError")
CANCELLED = Outcome(state=State.CANCELLED, ending=Stopped(reason=CancelReason(kind=CancelKind.SIGNAL)))


def rule(text):
    kind, _, value = text.removeprefix("!").partition(":")
    return RetryRule(kind=kind, value=int(value) if value.isdigit() else value or None, negated=text.startswith("!"))


def is_retried(outcome, *rules, attempt=1):
    retry = Retry(attempts=3, on=tuple(map(rule, rules)))
    return retry_decision(retry, outcome, attempt, Random(0)) is not None


@pytest.mark.parametrize(
    "outcome",
    [EXIT_75, KILLED, OS_ERROR, hit(Clock.TIMEOUT), hit(Clock.STALL), failed(Lost(why="")), failed(NoResult(why=""))]
    + [failed(SpawnFailed(kind=kind, message="")) for kind in ("not-executable", "cwd", "resources")],
)
def test_without_rules_every_failure_is_tried_again(outcome):
    assert is_retried(outcome)


@pytest.mark.parametrize(
    "outcome",
    [
        failed(SpawnFailed(kind="not-found", message="", code=127), exit_code=127),
        failed(LookUpFailed(message="")),
        CANCELLED,
        Outcome(state=State.SUCCEEDED, ending=Returned()),
    ],
)
@pytest.mark.parametrize("rules", [(), ("failure",), ("!exit:2",)])
def test_a_command_that_is_not_there_and_what_was_stopped_are_not(outcome, rules):
    assert not is_retried(outcome, *rules)


@pytest.mark.parametrize(
    ("rules", "outcome", "expected"),
    [
        (["exit:75"], EXIT_75, True),
        (["exit:75"], failed(Exited(code=1)), False),
        (["exit"], failed(Exited(code=1)), True),
        (["exit:75"], failed(NoResult(why="exited", code=75)), True),
        (["exit:75"], hit(Clock.TIMEOUT), False),  # it exited 75 since it had been told to stop
        (["signal:KILL"], KILLED, True),
        (["signal:SIGKILL"], KILLED, True),
        (["signal:9"], KILLED, True),
        (["signal"], KILLED, True),
        (["signal:KILL"], failed(Signaled(signal=SEGV)), False),
        (["signal:KILL"], hit(Clock.TIMEOUT), False),  # we killed it
        (["signal:NONSENSE"], KILLED, False),
        (["signal:SEGV"], failed(NoResult(why="died"), signal=SEGV), True),
        (["signal:KILL"], EXIT_75, False),
        (["timeout"], hit(Clock.TIMEOUT), True),
        (["timeout"], hit(Clock.IDLE), False),
        (["idle"], hit(Clock.IDLE), True),
        (["start"], hit(Clock.START), True),
        (["start"], hit(Clock.IMPORT), True),
        (["timeout"], hit(Clock.IMPORT), False),  # no time of the task's own
        (["stall"], hit(Clock.STALL), True),
        (["stall"], EXIT_75, False),
        (["lost"], failed(Lost(why="")), True),
        (["lost"], EXIT_75, False),
        (["exception"], OS_ERROR, True),
        (["exception:OSError"], OS_ERROR, True),  # a base class
        (["exception:builtins.ConnectionError"], OS_ERROR, True),
        (["exception:ValueError"], OS_ERROR, False),
        (["exception:OSError"], EXIT_75, False),
        (["failure"], KILLED, True),
        (["!exit:2"], EXIT_75, True),
        (["!exit:75"], EXIT_75, False),
        (["failure", "!exit:75"], EXIT_75, False),
        (["exit", "!exit:75"], failed(Exited(code=3)), True),
        (["exit:75", "timeout", "idle"], hit(Clock.IDLE), True),
    ],
)
def test_rules_say_which_failures_are_tried_again(rules, outcome, expected):
    assert is_retried(outcome, *rules) is expected


def test_a_task_that_asks_for_a_retry_gets_it_whatever_the_rules_say():
    wish = raised("Retry", "taskrun.Retry", kind="retry", retry_after=7.5)

    assert retry_decision(Retry(attempts=2, on=(rule("exit:75"), rule("!exception"))), wish, 1, Random(0)) == 7.5


def test_a_retry_without_a_time_waits_as_the_task_always_does():
    wish = raised("Retry", "taskrun.Retry", kind="retry", retry_after=0.0)

    assert retry_decision(Retry(attempts=2, first_delay=4.0, longest_delay=4.0), wish, 1, Random(0)) == 4.0


def test_not_even_a_wish_exceeds_the_attempts():
    wish = raised("Retry", kind="retry", retry_after=1.0)

    assert retry_decision(Retry(attempts=3), wish, 2, Random(0)) == 1.0
    assert retry_decision(Retry(attempts=3), wish, 3, Random(0)) is None
    assert retry_decision(Retry(), EXIT_75, 1, Random(0)) is None


def test_a_delay_doubles_up_to_the_longest_and_a_single_one_stays():
    doubled = Retry(attempts=9, first_delay=1.0, longest_delay=30.0)
    fixed = Retry(attempts=9, first_delay=5.0, longest_delay=5.0)
    only_first = Retry(attempts=9, first_delay=5.0)

    assert [back_off(doubled, attempt, Random(0)) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert [back_off(fixed, attempt, Random(0)) for attempt in range(1, 4)] == [5, 5, 5]
    assert [back_off(only_first, attempt, Random(0)) for attempt in range(1, 4)] == [5, 5, 5]


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(0, 1e9), st.randoms(use_true_random=False))
def test_full_jitter_stays_below_the_doubled_delay(attempt, first, longest, random):
    retry = Retry(attempts=10**7, first_delay=first, longest_delay=longest, jitter=True)
    ceiling = back_off(Retry(first_delay=first, longest_delay=longest), attempt, random)

    assert 0 <= back_off(retry, attempt, random) <= ceiling <= max(first, longest)


def test_full_jitter_uses_the_whole_range():
    retry = Retry(first_delay=8.0, longest_delay=8.0, jitter=True)
    random = Random(1)
    delays = [back_off(retry, 1, random) for _ in range(200)]

    assert min(delays) < 0.5
    assert max(delays) > 7.5
