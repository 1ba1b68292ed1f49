"""The scheduler in virtual time, with an executor that follows a script: order, retries, clocks, cancels, bugs."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from support.fakes import (
    FOREVER,
    FakeExecutor,
    Recorder,
    attempt_of,
    fails,
    plan_of,
    prepare_plainly,
    succeeds,
    task,
    times_out,
)

from taskrun.config.project import Retry
from taskrun.events import RunCancel, TaskEnd, TaskQueued, TaskRetry, TaskStart
from taskrun.model import CancelKind, CancelReason, LookUpFailed, OnFailure, Outcome, Raised, State
from taskrun.plan import RuledOut
from taskrun.schedule import Scheduler

INT, TERM, USR1 = 2, 15, 10
CTRL_C = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")
AGAIN = CancelReason(kind=CancelKind.SECOND_SIGNAL, detail="SIGINT")


class Stage:
    """A scheduler with everything around it, and its run in virtual time."""

    def __init__(
        self,
        *specs,
        script=None,
        stubborn=(),
        prepare=prepare_plainly,
        cleanup=2.0,
        deadline=None,
        clock=None,
        **options,
    ):
        self.plan = plan_of(*specs, **{"jobs": 8, **options})
        self.executor = FakeExecutor(script, stubborn=stubborn)
        self.recorder = Recorder()
        self.scheduler = Scheduler(
            self.plan, self.executor, prepare, self.recorder, cleanup=cleanup, deadline=deadline, clock=clock
        )  # fmt: skip
        self.took = math.nan

    def run(self, *acts):
        """Acts are (seconds, what to do then)."""

        async def act(at, what):
            await trio.sleep_until(began + at)
            what()

        async def main():
            nonlocal began
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for at, what in acts:
                    nursery.start_soon(act, at, what)
                await self.scheduler.run()
                self.took = trio.current_time() - began
                nursery.cancel_scope.cancel()
            assert self.executor.running == []

        began = 0.0
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return self

    def cancel(self, reason=CTRL_C, signal=INT, *, kill=False):
        return lambda: self.scheduler.cancel(reason, signal, kill)

    @property
    def ends(self):
        return {event.task: event for event in self.recorder.of(TaskEnd)}

    @property
    def states(self):
        return {event.task: event.state for event in self.recorder.of(TaskEnd)}

    @property
    def started(self):
        return [name for name, _ in self.executor.started]

    def told(self, *kinds):
        """The events of some kinds as (kind, task), in their order."""
        events = [event for event in self.recorder.events if isinstance(event, kinds)]
        return [(type(event).__name__, getattr(event, "task", None)) for event in events]


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_diamond_of_one_hour_each_takes_three_hours():
    r"""
      ,-> b -.
    a -> c -> d
    """
    specs = [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")]
    stage = Stage(*specs, script={name: [(3600, succeeds(name))] for name in "abcd"}).run()

    assert stage.took == 3 * 3600
    assert stage.started == ["a", "b", "c", "d"]
    assert stage.executor.peaks["slots"] == 2
    assert stage.states == dict.fromkeys("abcd", "succeeded")
    assert stage.ends["d"].result == "d"


def test_events_come_in_one_order():
    stage = Stage(task("a"), task("b", "a"), task("c"), jobs=1).run()

    assert stage.told(TaskQueued, TaskStart, TaskEnd) == [
        ("TaskQueued", "c"),
        ("TaskStart", "a"),
        ("TaskEnd", "a"),
        ("TaskStart", "b"),
        ("TaskEnd", "b"),
        ("TaskStart", "c"),
        ("TaskEnd", "c"),
    ]


def test_a_plan_of_nothing_ends_at_once():
    assert Stage().run().took == 0
    assert Stage(task("g", group=True)).run().recorder.events == []


def test_an_end_tells_all_that_the_outcome_does():
    ending = Raised(type_names=("ValueError",), message="no", traceback="Traceback ...")
    outcome = Outcome(
        state=State.FAILED, ending=ending, reason="ValueError: no", exit_code=1, elapsed=2.0, cpu=0.5, max_rss=7, log="a.log",
    )  # fmt: skip
    stage = Stage(task("a", allow_failure=True), script={"a": [(2, outcome)]}).run()

    assert stage.ends["a"] == TaskEnd(
        task="a", attempt=1, state="failed", exit_code=1, elapsed=2.0, cpu=0.5, max_rss=7, reason="ValueError: no",
        allowed=True, log="a.log", detail="Traceback ...",
    )  # fmt: skip


def test_thousands_of_attempts_that_never_wait_do_not_keep_others_waiting():
    """An executor that returns at once must not hold the loop: a signal has to come through in between."""
    stage = Stage(*[task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(1000)], jobs=1)
    turns = 0

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await stage.scheduler.run()
            nursery.cancel_scope.cancel()

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    trio.run(main)
    assert turns >= 100  # a turn in every few attempts is enough


# --- prepare ----------------------------------------------------------------------------------------------------------


def test_a_task_that_is_ruled_out_is_skipped_and_its_dependents_run():
    def prepare(name, number):
        return RuledOut(why="`platform` is not macos") if name == "a" else attempt_of(name, number)

    stage = Stage(task("a"), task("b", "a"), prepare=prepare).run()

    assert stage.states == {"a": "skipped", "b": "succeeded"}
    assert (stage.ends["a"].reason, stage.ends["a"].attempt) == ("`platform` is not macos", 0)
    assert stage.started == ["b"]


def test_a_failed_look_up_fails_the_task_without_an_attempt():
    def prepare(name, number):
        failed = Outcome(state=State.FAILED, ending=LookUpFailed(message="no `k`"), reason="no `k`")
        return failed if name == "a" else attempt_of(name, number)

    stage = Stage(task("a"), task("b", "a"), task("c"), prepare=prepare).run()

    assert stage.states == {"a": "failed", "b": "skipped", "c": "not-started"}
    assert stage.ends["a"].attempt == 0
    assert stage.executor.started == []
    assert stage.plan.first_cause == "a"


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_retry_comes_after_its_delay_and_others_use_the_slot_meanwhile():
    stage = Stage(
        task("a", retry=Retry(attempts=3, first_delay=10, longest_delay=60)), task("b"),
        script={"a": [(1, fails(75)), (1, fails(75)), (1, succeeds())], "b": [(5, succeeds())]}, jobs=1,
    ).run()  # fmt: skip

    assert stage.executor.started == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    assert stage.took == 1 + 10 + 1 + 20 + 1
    assert [(event.attempt, event.why, event.delay, event.exit_code) for event in stage.recorder.of(TaskRetry)] == [
        (1, "exit 75", 10, 75),
        (2, "exit 75", 20, 75),
    ]
    assert stage.ends["a"].attempt == 3


def test_a_retry_without_delay_comes_at_once():
    stage = Stage(task("a", retry=Retry(attempts=2)), script={"a": [(1, fails()), (1, succeeds())]}).run()

    assert stage.took == 2
    assert stage.states == {"a": "succeeded"}


# --- failures ---------------------------------------------------------------------------------------------------------


def test_stop_terminates_what_runs_and_names_the_culprit():
    stage = Stage(
        task("bad"), task("long", stop_signal=USR1), task("later", "long"), on_failure=OnFailure.STOP,
        script={"bad": [(1, fails())], "long": [FOREVER]},
        prepare=lambda name, number: attempt_of(name, number, stop_signal=USR1),
    ).run()  # fmt: skip

    assert stage.took == 1
    assert stage.states == {"bad": "failed", "long": "cancelled", "later": "not-started"}
    assert stage.ends["long"].reason == "bad failed"
    ((name, request),) = stage.executor.requests
    assert (name, request.signal, request.grace) == ("long", USR1, None)
    assert stage.told(TaskEnd, RunCancel)[:2] == [("TaskEnd", "bad"), ("RunCancel", None)]
    assert stage.scheduler.cancelled is None


def test_finish_lets_what_runs_end():
    stage = Stage(
        task("bad"), task("long"), task("later", "long"), script={"bad": [(1, fails())], "long": [(9, succeeds())]}
    ).run()

    assert stage.took == 9
    assert stage.states == {"bad": "failed", "long": "succeeded", "later": "not-started"}
    assert stage.executor.requests == []


def test_an_attempt_that_no_executor_knows_yet_is_not_made():
    """`a` fails in the very turn in which `b` and `c` were given their slots: nobody could stop them."""

    def prepare(name, number):
        failed = Outcome(state=State.FAILED, ending=LookUpFailed(message="no"), reason="no")
        return failed if name == "z" else attempt_of(name, number)

    stage = Stage(task("a"), task("b"), task("z"), prepare=prepare, on_failure=OnFailure.STOP).run()

    assert stage.states == {"a": "not-started", "b": "not-started", "z": "failed"}
    assert stage.executor.started == []
    assert stage.ends["a"].cause == "z"


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_signal_stops_what_runs_and_starts_nothing_more():
    stage = Stage(
        task("a"), task("b"), task("c", "a"), script={"a": [FOREVER], "b": [(9, succeeds())]}, stubborn=["b"], jobs=2
    )

    stage.run((3, stage.cancel()))

    assert stage.took == 3 + 5  # b took its grace period
    assert stage.states == {"a": "cancelled", "b": "cancelled", "c": "not-started"}
    assert [(name, request.signal, request.grace) for name, request in stage.executor.requests] == [
        ("a", INT, None),
        ("b", INT, None),
    ]
    assert stage.told(RunCancel, TaskEnd)[0] == ("RunCancel", None)
    assert stage.scheduler.cancelled == CTRL_C


def test_a_second_signal_kills_at_once_and_leaves_clean_up_out():
    stage = Stage(task("a", finally_=["tidy"]), task("tidy"), script={"a": [FOREVER]}, stubborn=["a"])

    stage.run((3, stage.cancel()), (4, stage.cancel(AGAIN, kill=True)))

    assert stage.took == 4
    assert stage.states == {"a": "cancelled", "tidy": "not-started"}
    assert stage.executor.requests[-1][1].grace == 0.0
    assert [event.killing for event in stage.recorder.of(RunCancel)] == [False, True]
    assert stage.scheduler.cancelled == AGAIN


def test_what_ends_well_before_the_stop_reaches_it_has_succeeded():
    stage = Stage(task("a"), task("b", "a"), script={"a": [(3, succeeds())]})

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.scheduler.run)
            await trio.sleep(3)
            await trio.testing.wait_all_tasks_blocked()
            stage.scheduler.cancel(CTRL_C, INT)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert stage.states["a"] == "succeeded"


def test_a_task_in_back_off_is_cancelled_and_the_run_does_not_wait_for_it():
    stage = Stage(task("a", retry=Retry(attempts=2, first_delay=600)), script={"a": [(1, fails())]})

    stage.run((2, stage.cancel()))

    assert stage.took == 2
    assert stage.states == {"a": "cancelled"}


def test_a_cancel_before_the_run_starts_nothing():
    stage = Stage(task("a"), task("b", "a"))
    trio.run(cancel_first, stage, clock=trio.testing.MockClock(autojump_threshold=0))

    assert stage.states == {"a": "not-started", "b": "not-started"}
    assert stage.executor.started == []


async def cancel_first(stage):
    stage.scheduler.cancel(CTRL_C, INT)
    await stage.scheduler.run()


def test_a_cancel_after_the_end_changes_nothing():
    stage = Stage(task("a")).run()
    told = list(stage.recorder.events)

    stage.scheduler.cancel(CTRL_C, INT)

    assert stage.recorder.events == told
    assert stage.scheduler.cancelled is None


def test_a_weaker_reason_does_not_replace_a_stronger_one():
    stage = Stage(task("a"), script={"a": [FOREVER]}, stubborn=["a"], deadline=4)
    stage.run((3, stage.cancel()))

    assert stage.scheduler.cancelled == CTRL_C
    assert len(stage.recorder.of(RunCancel)) == 1


# --- clean-up ---------------------------------------------------------------------------------------------------------


def test_clean_up_after_a_cancel_has_so_long_in_all_from_when_the_rest_has_ended():
    stage = Stage(
        task("a", finally_=["quick", "slow", "never"]), task("quick"), task("slow"), task("never"),
        script={"a": [FOREVER], "quick": [(1, succeeds())], "slow": [(60, succeeds())]}, stubborn=["a", "slow"], jobs=1,
    )  # fmt: skip
    stage.run((3, stage.cancel()))

    assert stage.took == 3 + 5 + 2  # a's grace period, then two seconds for all clean-up together
    assert stage.states == {"a": "cancelled", "quick": "succeeded", "slow": "cancelled", "never": "not-started"}
    assert stage.executor.requests[-1][1].grace == 0.0


def test_clean_up_that_runs_already_goes_on_after_a_cancel():
    stage = Stage(
        task("a", finally_=["tidy"]), task("b"), task("tidy"),
        script={"a": [(1, succeeds())], "tidy": [(4, succeeds())], "b": [FOREVER]},
    )  # fmt: skip
    stage.run((4, stage.cancel()))

    assert stage.states == {"a": "succeeded", "b": "cancelled", "tidy": "succeeded"}
    assert stage.took == 5


def test_clean_up_after_a_failure_has_all_the_time_it_needs():
    stage = Stage(
        task("a", finally_=["tidy"]), task("b"), task("tidy"), on_failure=OnFailure.STOP,
        script={"a": [(1, fails())], "tidy": [(600, succeeds())], "b": [FOREVER]},
    ).run()  # fmt: skip

    assert stage.took == 601
    assert stage.states == {"a": "failed", "b": "cancelled", "tidy": "succeeded"}


# --- deadline and suspension ------------------------------------------------------------------------------------------


def test_at_the_deadline_running_tasks_are_cancelled_with_their_own_stop_signal():
    stage = Stage(task("a"), task("b", "a"), script={"a": [FOREVER]}, deadline=5400).run()

    assert stage.took == 5400
    assert stage.states == {"a": "cancelled", "b": "not-started"}
    assert stage.ends["a"].reason == "the run's deadline of 1h30m came"
    assert stage.executor.requests[0][1].signal == TERM
    assert stage.scheduler.cancelled.kind is CancelKind.DEADLINE


def test_a_run_that_ends_in_time_never_sees_its_deadline():
    stage = Stage(task("a"), script={"a": [(1, times_out())]}, deadline=5).run()

    assert stage.took == 1
    assert stage.scheduler.cancelled is None


def test_deadline_and_back_off_stand_still_while_the_run_is_suspended():
    stage = Stage(
        task("a", retry=Retry(attempts=2, first_delay=10)), script={"a": [(1, fails()), FOREVER]}, deadline=20
    )  # fmt: skip
    stage.run(
        (5, stage.scheduler.pause),
        (5, stage.scheduler.pause),
        (105, stage.scheduler.resume),
        (106, stage.scheduler.resume),
    )

    retried_at = stage.recorder.times[stage.recorder.events.index(TaskStart(task="a", attempt=2))]
    assert retried_at - stage.recorder.times[0] == 11 + 100
    assert stage.took == 20 + 100


class Forgetful:
    """A clock that leaves out what it is told to."""

    left_out = 0.0

    def now(self):
        return trio.current_time() - self.left_out

    def real(self, moment):
        return moment + self.left_out

    def leave_out(self):
        self.left_out = 7.0


def test_time_that_its_clock_leaves_out_does_not_count():
    clock = Forgetful()
    stage = Stage(task("a"), script={"a": [FOREVER]}, deadline=20, clock=clock)
    stage.run((15, clock.leave_out))

    assert stage.took == 27


def test_nothing_is_started_while_the_run_is_suspended():
    stage = Stage(task("a"), task("b", "a"), script={"a": [(1, succeeds())]})
    stage.run((0.5, stage.scheduler.pause), (10, stage.scheduler.resume))

    assert stage.took == 10
    assert stage.states == {"a": "succeeded", "b": "succeeded"}


def test_not_even_what_had_its_slot_already():
    stage = Stage(task("a"), task("b"))

    def prepare(name, number):
        if name == "a":
            stage.scheduler.pause()
        return attempt_of(name, number)

    stage.scheduler._prepare = prepare
    stage.run((10, stage.scheduler.resume))

    assert stage.took == 10
    assert stage.told(TaskStart) == [("TaskStart", "a"), ("TaskStart", "b")]
    assert stage.recorder.times[stage.recorder.events.index(TaskStart(task="a", attempt=1))] == stage.recorder.times[-1]


def test_a_cancel_while_suspended_takes_effect():
    stage = Stage(task("a"), task("b", "a"), script={"a": [FOREVER]})
    stage.run((1, stage.scheduler.pause), (2, stage.cancel()))

    assert stage.took == 2
    assert stage.states == {"a": "cancelled", "b": "not-started"}


# --- bugs -------------------------------------------------------------------------------------------------------------


class BugError(Exception):
    pass


class BuggyExecutor(FakeExecutor):
    """`bad` raises; the others are recorded when they are cancelled."""

    def __init__(self, *args, **keys):
        super().__init__(*args, **keys)
        self.cancelled = []

    async def execute(self, attempt, emit):
        if attempt.task == "bad":
            await trio.sleep(1)
            raise BugError("in the executor")
        try:
            return await super().execute(attempt, emit)
        except trio.Cancelled:
            self.cancelled.append(attempt.task)
            raise


def test_a_bug_of_the_executor_ends_the_run_as_itself():
    stage = Stage(task("bad"), task("a"), task("b"))
    stage.executor = stage.scheduler._executor = BuggyExecutor({"a": [FOREVER], "b": [FOREVER]})

    with pytest.raises(BugError, match="in the executor"):
        in_virtual_time(stage.scheduler.run)
    assert sorted(stage.executor.cancelled) == ["a", "b"]


def test_a_second_bug_while_the_others_are_cancelled_is_noted():
    class Worse(BuggyExecutor):
        async def execute(self, attempt, emit):
            try:
                return await super().execute(attempt, emit)
            except trio.Cancelled:
                raise BugError("in its clean-up") from None

    stage = Stage(task("bad"), task("a"))
    stage.scheduler._executor = Worse({"a": [FOREVER]})

    with pytest.raises(BugError, match="in the executor") as raised:
        in_virtual_time(stage.scheduler.run)
    assert "in its clean-up" in raised.value.__notes__[0]


@pytest.mark.parametrize("where", ["prepare", "emit"])
def test_a_bug_beside_the_executor_ends_the_run_as_itself(where):
    def buggy(*args):
        raise BugError(where)

    stage = Stage(task("a"))
    setattr(stage.scheduler, f"_{where}", buggy)

    with pytest.raises(BugError, match=where):
        in_virtual_time(stage.scheduler.run)


def test_a_bug_in_a_later_attempt_of_a_chain_comes_through_too():
    def prepare(name, number):
        if name == "b":
            raise BugError("late")
        return attempt_of(name, number)

    stage = Stage(task("a"), task("b", "a"), prepare=prepare)

    with pytest.raises(BugError, match="late"):
        in_virtual_time(stage.scheduler.run)


def test_cancelling_the_surrounding_scope_cancels_every_attempt():
    stage = Stage(task("a"), task("b"))
    stage.executor = stage.scheduler._executor = BuggyExecutor({"a": [FOREVER], "b": [FOREVER]})

    async def main():
        with trio.move_on_after(5) as scope:
            await stage.scheduler.run()
        assert scope.cancelled_caught

    in_virtual_time(main)
    assert sorted(stage.executor.cancelled) == ["a", "b"]


def in_virtual_time(main):
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
