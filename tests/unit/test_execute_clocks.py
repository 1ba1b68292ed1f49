"""The four clocks of an attempt, and the run's clock: plain arithmetic."""

from __future__ import annotations

from support.fakes import attempt_of

from taskrun.execute.clocks import AttemptClocks, RunClock
from taskrun.execute.running import Running
from taskrun.model import Clock, Clocks


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_suspension_is_left_out_of_run_time():
    hand = Hand()
    clock = RunClock(hand)
    clock.suspend()
    hand.seconds = 160.0
    assert clock.now() == 100.0
    assert clock.resume() == 60.0
    hand.seconds = 161.0
    assert clock.now() == 101.0
    assert clock.real(105.0) == 165.0


def test_suspending_twice_counts_once():
    hand = Hand()
    clock = RunClock(hand)
    clock.suspend()
    hand.seconds = 110.0
    clock.suspend()
    hand.seconds = 120.0
    assert clock.resume() == 20.0
    assert clock.resume() == 0.0


def test_a_pause_that_nobody_announced_is_left_out_by_whoever_looks_first():
    hand = Hand()
    clock = RunClock(hand)
    clock.beat()
    hand.seconds = 100.5
    assert clock.now() == 100.5
    clock.beat()
    hand.seconds = 200.0
    assert clock.now() == 100.5
    assert clock.real(101.0) == 200.5
    clock.beat()
    hand.seconds = 200.25
    assert clock.now() == 100.75


def test_a_clock_that_gets_no_beats_expects_none():
    hand = Hand()
    clock = RunClock(hand)
    hand.seconds = 200.0
    assert clock.now() == 200.0


def test_a_suspension_is_no_missing_beat():
    hand = Hand()
    clock = RunClock(hand)
    clock.beat()
    clock.suspend()
    hand.seconds = 150.0
    clock.beat()
    assert clock.resume() == 50.0
    assert clock.now() == 100.0
    hand.seconds = 150.5
    assert clock.now() == 100.5


def test_without_limits_no_clock_ever_runs_out():
    clocks = AttemptClocks(Clocks(), 0.0)
    assert clocks.next_deadline() == float("inf")
    assert clocks.expired(1e9) is None


def test_the_timeout_runs_from_the_start_whatever_the_task_does():
    clocks = AttemptClocks(Clocks(timeout=10), 0.0)
    clocks.saw_output(9.0)
    clocks.saw_progress(9.5, moved=True)
    assert clocks.next_deadline() == 10.0
    assert clocks.expired(9.99) is None
    assert clocks.expired(10.0) == (Clock.TIMEOUT, 10)


def test_the_start_clock_is_met_by_the_first_output():
    clocks = AttemptClocks(Clocks(start=5), 0.0)
    assert clocks.expired(5.0) == (Clock.START, 5)
    clocks.saw_output(4.0)
    assert clocks.expired(1000.0) is None


def test_the_idle_clock_begins_anew_with_every_output():
    clocks = AttemptClocks(Clocks(idle=5), 0.0)
    assert clocks.next_deadline() == 5.0
    clocks.saw_output(4.0)
    assert clocks.next_deadline() == 9.0
    assert clocks.expired(9.0) == (Clock.IDLE, 5)


def test_the_stall_clock_waits_for_the_first_progress_and_then_for_movement():
    clocks = AttemptClocks(Clocks(stall=5), 0.0)
    clocks.saw_output(1.0)
    assert clocks.next_deadline() == float("inf")
    clocks.saw_progress(2.0, moved=True)
    assert clocks.next_deadline() == 7.0
    clocks.saw_progress(6.0, moved=False)
    clocks.saw_output(6.5)
    assert clocks.expired(7.0) == (Clock.STALL, 5)


def test_idle_and_stall_stand_still_while_nobody_reads():
    clocks = AttemptClocks(Clocks(timeout=100, idle=5, stall=6), 0.0)
    clocks.saw_progress(1.0, moved=True)
    clocks.hold(2.0)
    assert clocks.next_deadline() == 100.0
    assert clocks.expired(50.0) is None
    clocks.release(52.0)
    assert clocks.next_deadline() == 56.0
    assert clocks.expired(56.0) == (Clock.IDLE, 5)


def test_what_was_written_while_nobody_read_is_not_asked_for_at_once():
    clocks = AttemptClocks(Clocks(start=5, idle=8), 0.0)
    clocks.hold(1.0)
    assert clocks.next_deadline() == float("inf")
    clocks.release(61.0)
    assert clocks.expired(61.0) is None
    assert clocks.expired(65.0) == (Clock.START, 5)
    clocks.saw_output(62.0)
    assert clocks.expired(69.0) is None
    assert clocks.expired(70.0) == (Clock.IDLE, 8)


def test_progress_that_came_while_output_was_not_read_is_no_later_than_the_reading():
    clocks = AttemptClocks(Clocks(idle=5, stall=6), 0.0)
    clocks.hold(1.0)
    clocks.saw_progress(30.0, moved=True)
    clocks.release(61.0)
    assert clocks.expired(66.0) == (Clock.IDLE, 5)
    assert clocks.expired(67.0) is not None


def test_an_attempt_that_begins_while_nobody_reads_waits_as_well():
    clocks = AttemptClocks(Clocks(start=5), 0.0)
    clocks.hold(0.0)
    clocks.restart(40.0)
    clocks.release(50.0)
    assert clocks.next_deadline() == 55.0


def test_other_limits_do_not_let_go_of_a_hold():
    running = Running(attempt_of("a"), control=None, clock=RunClock(Hand()))
    running.clocks.hold(100.0)
    running.only_clocks(Clocks(idle=1))
    assert running.clocks.next_deadline() == float("inf")


def test_of_two_clocks_the_longest_overdue_is_named():
    clocks = AttemptClocks(Clocks(timeout=10, idle=3), 0.0)
    assert clocks.expired(20.0) == (Clock.IDLE, 3)


def test_a_call_begins_after_its_imports():
    clocks = AttemptClocks(Clocks(timeout=10, start=2), 0.0)
    clocks.saw_output(1.0)
    clocks.restart(50.0)
    assert clocks.time_left(52.0) == 8.0
    assert clocks.expired(52.0) == (Clock.START, 2)
