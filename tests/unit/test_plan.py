"""The plan's state machine: order, dependencies, failures, policies, retries, cancels. No clock, no trio."""

from __future__ import annotations

from random import Random

import pytest
from support.fakes import fails, plan_of, stopped, succeeds, task, times_out

from taskrun.config.project import GlobSource, Retry
from taskrun.model import (
    CancelKind,
    CancelReason,
    LookUpFailed,
    OnFailure,
    Outcome,
    ProjectError,
    State,
    StopRequest,
    UsageError,
)
from taskrun.plan import Plan, Retried, Settled, Start, StopRunning
from taskrun.resolve import Instance, Selection

CTRL_C = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")
TWICE = Retry(attempts=2, first_delay=1.0)


def begun(*specs, **options) -> Plan:
    plan = plan_of(*specs, **options)
    plan.begin()
    return plan


def start(plan):
    return [each.task for each in plan.startable()]


def finish(plan, **outcomes):
    """Starts all that can start, and settles it, until nothing is left: well, unless it is said otherwise."""
    changes = []
    while running := start(plan):
        for name in running:
            changes += plan.settle(name, outcomes.get(name, succeeds()))
    return changes


def states(plan, names):
    return {name: plan.state(name).value for name in names.split()}


def settled(changes):
    return {change.task: change for change in changes if isinstance(change, Settled)}


# --- order ------------------------------------------------------------------------------------------------------------


def test_the_longest_path_goes_first_then_the_file():
    r"""
    a    b    c        b -> d -> e is the longest way to go, a and c are alike
         |
         d -> e
    """
    specs = [task("a"), task("b"), task("c"), task("d", "b"), task("e", "d")]

    assert plan_of(*specs).order() == ["b", "d", "a", "c", "e"]


def test_known_durations_count_for_what_they_are():
    specs = [task("a"), task("b", "a"), task("slow"), task("unknown")]

    assert plan_of(*specs, durations={"slow": 60.0, "a": 0.1, "b": 0.2}).order() == ["slow", "unknown", "a", "b"]


def test_groups_are_not_in_the_order_and_cost_no_time():
    specs = [task("a"), task("all", "a", group=True), task("b"), task("c", "b")]

    assert plan_of(*specs).order() == ["b", "a", "c"]


def test_the_order_foretold_is_the_order_kept():
    r"""
    a ---> c ---> e        tidy after b, which d needs
    b ---> d --'
    """
    specs = [task("a"), task("b", finally_=["tidy"]), task("c", "a"), task("d", "b"), task("e", "c", "d"), task("tidy")]
    plan = begun(*specs)
    started = []
    while running := start(plan):
        started += running
        plan.settle(running[0], succeeds())

    assert started == plan.order()


def test_a_chain_and_a_crowd_of_thousands_need_no_recursion():
    chain = begun(*[task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(5000)])
    crowd = begun(task("root"), *[task(f"t{n}", "root") for n in range(5000)], jobs=8)

    assert len(settled(chain.settle(start(chain)[0], fails()))) == 5000
    assert len(settled(finish(crowd))) == 5001
    assert chain.finished
    assert crowd.finished


# --- dependencies -----------------------------------------------------------------------------------------------------


def test_a_task_starts_when_all_that_it_needs_has_succeeded():
    plan = begun(task("a"), task("b"), task("c", "a", "b"), jobs=4)

    assert plan.startable() == [Start(task="a", attempt=1), Start(task="b", attempt=1)]
    plan.settle("a", succeeds())
    assert start(plan) == []
    plan.settle("b", succeeds())
    assert start(plan) == ["c"]


def test_a_need_written_twice_counts_once():
    plan = begun(task("a"), task("b", "a", "a"))

    finish(plan)

    assert plan.finished


def test_groups_settle_by_themselves_and_silently():
    r"""a -> inner -> outer -> b, and a group of nothing that b needs too"""
    plan = begun(
        task("a"), task("inner", "a", group=True), task("outer", "inner", group=True), task("nothing", group=True),
        task("b", "outer", "nothing"),
    )  # fmt: skip

    assert list(settled(finish(plan))) == ["a", "b"]
    assert states(plan, "inner outer nothing") == dict.fromkeys(("inner", "outer", "nothing"), "succeeded")
    assert plan.counts() == {"succeeded": 2}


def test_a_plan_of_nothing_but_groups_is_finished_at_once():
    assert begun(task("a", group=True), task("b", "a", group=True)).finished
    assert begun().finished


def test_tasks_that_have_to_wait_for_a_slot_are_said_to_be_queued_once():
    plan = begun(task("a"), task("b"), task("c", "a"))

    assert plan.newly_queued() == ["a", "b"]
    assert start(plan) == ["a"]
    assert plan.newly_queued() == []
    plan.settle("a", succeeds())
    assert start(plan) == ["b"]
    assert plan.newly_queued() == ["c"]


def test_a_task_that_starts_at_once_is_never_queued():
    plan = begun(task("a"), task("b", "a"))
    start(plan)
    plan.settle("a", succeeds())
    start(plan)

    assert plan.newly_queued() == []


def test_look_ups_see_states_and_results():
    plan = begun(task("a"), task("b"), task("c"))
    start(plan)
    plan.settle("a", succeeds({"k": 1}))

    assert (plan.view("a").state, plan.view("a").result) == ("succeeded", {"k": 1})
    assert (plan.view("b").state, plan.view("b").result) == ("pending", None)


def test_the_group_of_a_foreach_has_the_results_of_those_that_succeeded():
    spec = task("probe", foreach={"n": GlobSource(glob=("*",))})
    names = [f"probe[n={n}]" for n in range(3)]
    instances = [
        Instance(name=n, spec=spec, keys={}, needs=("a",), finally_=(), position=0, is_group=False) for n in names
    ]
    instances.append(
        Instance(name="probe", spec=spec, keys={}, needs=("a", *names), finally_=(), position=0, is_group=True)
    )
    instances.insert(0, Instance(name="a", spec=task("a"), keys={}, needs=(), finally_=(), position=0, is_group=False))
    selection = Selection(instances={each.name: each for each in instances}, requested=("probe",))
    plan = Plan(selection, limits={}, jobs=3, on_failure=OnFailure.CONTINUE)
    plan.begin()
    start(plan)
    plan.settle("a", succeeds("not an instance"))
    start(plan)
    for name, outcome in zip(reversed(names), [succeeds(2), fails(), succeeds(0)], strict=True):
        plan.settle(name, outcome)

    assert plan.view("probe").result == [0, 2]
    assert plan.state("probe") is State.SKIPPED


def test_a_plan_that_cannot_come_to_an_end_is_refused():
    with pytest.raises(UsageError, match="`a` takes 3 of the limit `gpu`, which is 2"):
        plan_of(task("a", limits={"gpu": 3}), limits={"gpu": 2})
    with pytest.raises(ProjectError, match="`a` would have to wait for itself: a -> b -> a"):
        plan_of(task("a", "b"), task("b", "a"), task("c"))


def test_an_outcome_of_a_task_that_does_not_run_is_a_bug():
    plan = begun(task("a"), task("g", group=True))

    for name in ("a", "g"):
        with pytest.raises(ValueError, match="has no attempt under way"):
            plan.settle(name, succeeds())


# --- failures ---------------------------------------------------------------------------------------------------------


def test_skips_carry_their_cause_through_chains():
    r"""
    a -> b -> group -> c        d is none of a's business
    d
    """
    plan = begun(
        task("a"), task("b", "a"), task("group", "b", group=True), task("c", "group"), task("d"),
        on_failure=OnFailure.CONTINUE,
    )  # fmt: skip

    ends = settled(finish(plan, a=times_out()))

    assert ends["a"].state is State.TIMED_OUT
    for victim in "bc":
        assert (ends[victim].state, ends[victim].cause, ends[victim].reason) == (State.SKIPPED, "a", "a timed out")
    assert ends["d"].state is State.SUCCEEDED
    assert plan.first_cause == "a"


def test_finish_starts_nothing_new_and_lets_running_tasks_end():
    r"""
    a -> after-a        b (runs beside a) -> after-b        c waits for a slot
    """
    plan = begun(task("a"), task("after-a", "a"), task("b"), task("after-b", "b"), task("c"), jobs=2)
    start(plan)

    changes = plan.settle("a", fails(3))

    ends = settled(changes)
    assert len(changes) == len(ends)  # nothing is stopped
    assert (ends["a"].state, ends["a"].reason, ends["a"].cause) == (State.FAILED, "exit 3", None)
    assert (ends["after-a"].state, ends["after-a"].cause) == (State.SKIPPED, "a")
    for name in ("after-b", "c"):
        assert (ends[name].state, ends[name].cause, ends[name].reason) == (State.NOT_STARTED, "a", "a failed")
    assert start(plan) == []
    assert plan.state("b") is State.RUNNING
    plan.settle("b", succeeds())
    assert plan.finished


def test_stop_also_stops_what_runs_and_names_why():
    plan = begun(task("a"), task("b"), task("c"), jobs=2, on_failure=OnFailure.STOP)
    start(plan)

    changes = plan.settle("a", fails())

    (stop,) = [change for change in changes if isinstance(change, StopRunning)]
    assert str(stop.reason) == "a failed"
    assert plan.state("c") is State.NOT_STARTED
    plan.settle("b", stopped(StopRequest(reason=stop.reason, signal=15)))
    assert plan.state("b") is State.CANCELLED
    assert plan.first_cause == "a"
    assert plan.finished


def test_continue_runs_all_that_can_still_succeed():
    plan = begun(task("a"), task("b", "a"), task("c"), task("d", "c"), on_failure=OnFailure.CONTINUE)

    finish(plan, a=fails(), d=fails())

    assert states(plan, "a b c d") == {"a": "failed", "b": "skipped", "c": "succeeded", "d": "failed"}
    assert plan.first_cause == "a"
    assert plan.counts() == {"failed": 2, "skipped": 1, "succeeded": 1}


def test_an_allowed_failure_lets_its_dependents_run_and_is_no_cause():
    plan = begun(task("a", allow_failure=True), task("b", "a"))

    ends = settled(finish(plan, a=fails()))

    assert (ends["a"].state, ends["a"].allowed) == (State.FAILED, True)
    assert ends["b"].state is State.SUCCEEDED
    assert plan.first_cause is None


def test_later_failures_do_not_change_the_first_cause():
    plan = begun(task("a"), task("b"), jobs=2)
    start(plan)
    plan.settle("b", fails())
    plan.settle("a", fails())

    assert plan.first_cause == "b"


def test_a_task_that_is_ruled_out_is_skipped_and_its_dependents_go_on():
    plan = begun(task("a"), task("b", "a"))
    start(plan)

    (change,) = plan.rule_out("a", "`platform` is not macos")

    assert (change.state, change.reason, change.cause, change.attempt) == (
        State.SKIPPED, "`platform` is not macos", None, 0,
    )  # fmt: skip
    assert start(plan) == ["b"]
    assert plan.first_cause is None


def test_a_failed_look_up_is_a_failure_without_an_attempt():
    plan = begun(task("a", retry=TWICE), task("b", "a"))
    start(plan)

    ends = settled(plan.settle("a", Outcome(state=State.FAILED, ending=LookUpFailed(message="no"), reason="no")))

    assert (ends["a"].state, ends["a"].attempt) == (State.FAILED, 0)
    assert ends["b"].cause == "a"


def test_a_task_that_was_cancelled_by_itself_takes_its_dependents_with_it():
    plan = begun(task("a"), task("b", "a"), task("c"))
    start(plan)

    ends = settled(plan.settle("a", stopped(StopRequest(reason=CTRL_C, signal=2))))

    assert (ends["b"].state, ends["b"].reason) == (State.SKIPPED, "a was cancelled")
    assert plan.first_cause is None
    assert start(plan) == ["c"]


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_task_in_back_off_holds_nothing():
    plan = begun(task("a", retry=TWICE, limits={"gpu": 1}), task("b", limits={"gpu": 1}), limits={"gpu": 1})
    start(plan)
    assert plan.newly_queued() == ["b"]

    (retried,) = plan.settle("a", fails(75))

    assert retried == Retried(task="a", attempt=1, delay=1.0, why="exit 75", outcome=fails(75))
    assert plan.state("a") is State.WAITING
    assert start(plan) == ["b"]
    plan.due("a")
    assert plan.state("a") is State.PENDING
    assert start(plan) == []
    assert plan.newly_queued() == ["a"]
    plan.settle("b", succeeds())
    assert plan.startable() == [Start(task="a", attempt=2)]
    (end,) = plan.settle("a", succeeds())
    assert end.attempt == 2
    assert plan.finished


def test_the_last_failure_stands():
    plan = begun(task("a", retry=TWICE))
    start(plan)
    plan.settle("a", fails(1))
    plan.due("a")
    start(plan)

    (end,) = plan.settle("a", fails(2))

    assert (end.state, end.attempt, end.reason) == (State.FAILED, 2, "exit 2")
    assert plan.first_cause == "a"


@pytest.mark.parametrize("policy", [OnFailure.FINISH, OnFailure.STOP])
def test_after_a_failure_that_stands_finish_and_stop_start_no_retry(policy):
    plan = begun(
        task("waits", retry=TWICE), task("ready", retry=TWICE), task("runs", retry=TWICE), task("culprit"),
        jobs=4, on_failure=policy,
    )  # fmt: skip
    start(plan)
    plan.settle("waits", fails(7))
    plan.settle("ready", fails(8))
    plan.due("ready")

    ends = settled(plan.settle("culprit", fails()))
    ends |= settled(plan.settle("runs", fails(9)))
    plan.due("waits")

    for name, reason in {"waits": "exit 7", "ready": "exit 8", "runs": "exit 9"}.items():
        assert (ends[name].state, ends[name].reason, ends[name].attempt) == (State.FAILED, reason, 1)
    assert plan.first_cause == "culprit"
    assert start(plan) == []
    assert plan.finished


def test_with_continue_retries_go_on_after_a_failure():
    plan = begun(task("a", retry=TWICE), task("b"), jobs=2, on_failure=OnFailure.CONTINUE)
    start(plan)
    plan.settle("b", fails())

    assert isinstance(plan.settle("a", fails())[0], Retried)


def test_jitter_comes_from_the_generator_handed_in():
    retry = Retry(attempts=2, first_delay=8.0, longest_delay=8.0, jitter=True)
    delays = []
    for _ in range(2):
        plan = begun(task("a", retry=retry), random=Random(7))
        start(plan)
        delays.append(plan.settle("a", fails())[0].delay)

    assert delays[0] == delays[1] == Random(7).uniform(0.0, 8.0)


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancel_settles_what_has_not_started_and_leaves_what_runs_to_its_executor():
    r"""
    runs -> after        back-off        again (ready for its second attempt)        idle
    """
    plan = begun(
        task("runs"), task("after", "runs"), task("back-off", retry=TWICE), task("again", retry=TWICE), task("idle"),
        jobs=3,
    )  # fmt: skip
    assert start(plan) == ["runs", "back-off", "again"]
    plan.settle("back-off", fails())
    assert start(plan) == ["idle"]
    plan.settle("again", fails())
    plan.due("again")

    ends = settled(plan.cancel(CTRL_C))

    assert {name: end.state.value for name, end in ends.items()} == {
        "after": "not-started",
        "back-off": "cancelled",
        "again": "cancelled",
    }
    assert all((end.reason, end.cause) == ("SIGINT", None) for end in ends.values())
    assert ends["back-off"].outcome == fails()
    assert start(plan) == []
    plan.due("back-off")
    plan.due("again")
    plan.settle("idle", succeeds())
    plan.settle("runs", fails())
    assert start(plan) == []
    assert plan.finished


def test_after_a_cancel_nothing_is_tried_again():
    plan = begun(task("a", retry=TWICE))
    start(plan)
    plan.cancel(CTRL_C)

    (end,) = plan.settle("a", fails())

    assert (end.state, end.attempt) == (State.FAILED, 1)


def test_an_attempt_that_was_never_made_is_withdrawn():
    plan = begun(task("new"), task("again", retry=TWICE), jobs=2)
    start(plan)
    plan.settle("again", fails(4))
    plan.due("again")
    start(plan)
    plan.cancel(CTRL_C)

    (new,) = plan.withdraw("new")
    (again,) = plan.withdraw("again")

    assert (new.state, new.attempt, new.reason) == (State.NOT_STARTED, 0, "SIGINT")
    assert (again.state, again.attempt, again.outcome) == (State.CANCELLED, 1, fails(4))
    assert plan.finished


def test_a_cancel_before_the_beginning_settles_everything():
    plan = plan_of(task("a"), task("b", "a"), task("g", "b", group=True))

    ends = settled(plan.cancel(CTRL_C))

    assert [end.state for end in ends.values()] == [State.NOT_STARTED] * 2
    assert plan.begin() == []
    assert plan.finished
