"""`finally`: when clean-up is due, after what it runs, and what it survives."""

from __future__ import annotations

import pytest
from support.fakes import fails, plan_of, stopped, succeeds, task

from taskrun.config.project import Retry
from taskrun.model import CancelKind, CancelReason, OnFailure, ProjectError, State, StopRequest

CTRL_C = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")
STOPPED = stopped(StopRequest(reason=CTRL_C, signal=2))


def begun(*specs, **options):
    plan = plan_of(*specs, **{"jobs": 8, **options})
    plan.begin()
    return plan


def start(plan):
    return [each.task for each in plan.startable()]


def test_clean_up_runs_when_its_task_and_all_that_depends_on_it_have_ended():
    r"""
    db -> load -> report        db: finally drop
    """
    plan = begun(task("db", finally_=["drop"]), task("load", "db"), task("report", "load"), task("drop"))

    for name in ("db", "load", "report"):
        assert start(plan) == [name]
        plan.settle(name, succeeds())
    assert start(plan) == ["drop"]
    plan.settle("drop", succeeds())
    assert plan.finished


def test_clean_up_that_several_share_runs_once_after_the_last():
    plan = begun(*[task(name, finally_=["tidy"]) for name in "abc"], task("tidy"))
    start(plan)

    plan.settle("b", succeeds())
    plan.settle("a", fails())
    assert start(plan) == []
    plan.settle("c", succeeds())
    assert start(plan) == ["tidy"]


@pytest.mark.parametrize("policy", list(OnFailure))
def test_clean_up_runs_after_a_failure_under_every_policy(policy):
    plan = begun(task("a", finally_=["tidy"]), task("b", "a"), task("tidy"), on_failure=policy)
    start(plan)
    plan.settle("a", fails())

    assert start(plan) == ["tidy"]
    plan.settle("tidy", succeeds())
    assert plan.finished
    assert plan.first_cause == "a"


def test_clean_up_of_a_task_that_never_started_has_nothing_to_do():
    r"""first -> a (finally tidy, which tells with log)"""
    plan = begun(
        task("first"), task("a", "first", finally_=["tidy"]), task("tidy", finally_=["log"]), task("log"),
        on_failure=OnFailure.CONTINUE, requested=["a"],
    )  # fmt: skip
    start(plan)
    ends = {change.task: change for change in plan.settle("first", fails())}

    assert (ends["tidy"].state, ends["tidy"].reason, ends["tidy"].cause) == (State.SKIPPED, "a did not start", "first")
    assert ends["log"].state is State.SKIPPED
    assert plan.finished


def test_clean_up_of_a_task_that_was_ruled_out_has_nothing_to_do():
    plan = begun(task("a", finally_=["tidy"]), task("b", "a"), task("tidy"))
    start(plan)
    plan.rule_out("a", "not here")
    assert start(plan) == ["b"]
    (_, tidy) = plan.settle("b", succeeds())

    assert (tidy.state, tidy.reason, tidy.cause) == (State.SKIPPED, "a did not start", None)


def test_clean_up_of_what_a_cancel_kept_from_starting_is_not_started_either():
    plan = begun(task("first"), task("a", "first", finally_=["tidy"]), task("tidy"))
    start(plan)
    plan.cancel(CTRL_C)
    plan.settle("first", STOPPED)

    assert plan.state("tidy") is State.NOT_STARTED
    assert plan.finished


def test_after_a_cancel_clean_up_still_runs_and_after_a_second_one_not():
    plan = begun(task("a", finally_=["tidy-a"]), task("b", finally_=["tidy-b"]), task("tidy-a"), task("tidy-b"))
    start(plan)
    plan.cancel(CTRL_C)
    assert start(plan) == []
    plan.settle("a", STOPPED)
    assert start(plan) == ["tidy-a"]

    plan.cancel(CTRL_C, clean_up=False)

    plan.settle("b", STOPPED)
    assert start(plan) == []
    assert plan.state("tidy-b") is State.NOT_STARTED
    assert not plan.finished  # tidy-a runs, and is its executor's affair
    plan.settle("tidy-a", STOPPED)
    assert plan.finished


def test_the_failure_of_clean_up_is_never_the_first_cause_and_ends_nothing():
    plan = begun(task("a", finally_=["tidy"]), task("b"), task("c", "b"), task("tidy"))
    start(plan)
    plan.settle("a", succeeds())
    start(plan)
    plan.settle("tidy", fails())

    assert plan.state("tidy") is State.FAILED
    assert plan.first_cause is None
    plan.settle("b", succeeds())
    assert start(plan) == ["c"]


def test_clean_up_is_tried_again_after_a_failure_but_not_after_a_cancel():
    specs = [task("a", finally_=["tidy"]), task("tidy", retry=Retry(attempts=3))]
    failed, cancelled = begun(*specs), begun(*specs)
    for plan in (failed, cancelled):
        start(plan)
    failed.settle("a", fails())
    cancelled.cancel(CTRL_C)
    cancelled.settle("a", STOPPED)
    for plan in (failed, cancelled):
        assert start(plan) == ["tidy"]
        plan.settle("tidy", fails())

    assert failed.state("tidy") is State.WAITING
    assert cancelled.state("tidy") is State.FAILED
    failed.due("tidy")
    assert start(failed) == ["tidy"]


def test_clean_up_between_two_attempts_is_cancelled_with_the_run():
    plan = begun(task("a", finally_=["tidy"]), task("tidy", retry=Retry(attempts=3)))
    start(plan)
    plan.settle("a", succeeds())
    start(plan)
    plan.settle("tidy", fails())

    (end,) = plan.cancel(CTRL_C)

    assert (end.task, end.state) == ("tidy", State.CANCELLED)


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_has_ended_when_all_below_it_has():
    r"""
    a, b -> inner -> all (finally tidy): a fails while b still runs
    """
    plan = begun(
        task("a"), task("b"), task("inner", "a", "b", group=True), task("all", "inner", group=True, finally_=["tidy"]),
        task("tidy"),
    )  # fmt: skip
    start(plan)
    plan.settle("a", fails())
    assert plan.state("all") is State.SKIPPED
    assert start(plan) == []  # not yet: it might pull the rug from under b

    plan.settle("b", succeeds())

    assert start(plan) == ["tidy"]


def test_a_group_has_started_when_anything_below_it_has():
    r"""first -> b -> all (finally tidy): b never starts, but first did"""
    plan = begun(task("first"), task("b", "first"), task("all", "b", group=True, finally_=["tidy"]), task("tidy"))
    start(plan)
    plan.settle("first", fails())

    assert start(plan) == ["tidy"]


def test_a_group_of_nothing_needs_no_clean_up():
    plan = begun(task("none", group=True, finally_=["tidy"]), task("tidy"))

    assert plan.state("tidy") is State.SKIPPED
    assert plan.finished


# --- clean-up that is more than one task ------------------------------------------------------------------------------


def test_what_only_clean_up_needs_is_clean_up_too():
    r"""
    a (finally tidy)        tools -> list -> tidy
    """
    plan = begun(task("a", finally_=["tidy"]), task("b"), task("tools"), task("list", "tools"), task("tidy", "list"), requested=["a", "b"], jobs=8)  # fmt: skip
    assert start(plan) == ["a", "b"]
    assert [name for name in ("a", "b", "tools", "list", "tidy") if plan.cleans_up(name)] == ["tools", "list", "tidy"]
    plan.cancel(CTRL_C)
    plan.settle("b", STOPPED)
    plan.settle("a", STOPPED)

    for name in ("tools", "list", "tidy"):
        assert start(plan) == [name]
        plan.settle(name, succeeds())
    assert plan.finished


def test_what_only_undue_clean_up_needs_does_not_run():
    plan = begun(
        task("a", finally_=["tidy"]), task("tools"), task("tidy", "tools"), requested=["a"], on_failure=OnFailure.CONTINUE,
    )  # fmt: skip
    start(plan)
    plan.rule_out("a", "not here")

    assert plan.state("tools") is State.SKIPPED
    assert plan.state("tidy") is State.SKIPPED
    assert plan.finished


def test_clean_up_that_needs_what_the_cancel_kept_from_starting_does_not_run():
    plan = begun(
        task("gate"), task("need", "gate"), task("a", finally_=["tidy"]), task("tidy", "need"), requested=["a", "need"]
    )
    start(plan)
    plan.cancel(CTRL_C)

    assert plan.state("tidy") is State.NOT_STARTED


def test_clean_up_has_clean_up_of_its_own():
    plan = begun(task("a", finally_=["tidy"]), task("tidy", finally_=["log"]), task("log"), requested=["a"])
    for name in ("a", "tidy", "log"):
        assert start(plan) == [name]
        plan.settle(name, fails())

    assert plan.finished
    assert plan.first_cause == "a"


def test_clean_up_may_need_its_own_task_and_runs_however_that_ended():
    """`stop` needs `start`, and `start` has `stop` as its finally: no circle."""
    for outcome in (succeeds(), fails()):
        plan = begun(task("start", finally_=["stop"]), task("work", "start"), task("stop", "start"), requested=["work"])
        start(plan)
        plan.settle("start", outcome)
        for name in start(plan):
            if name == "work":
                plan.settle(name, succeeds())

        assert plan.state("stop") is State.RUNNING or start(plan) == ["stop"]


# --- clean-up that was asked for --------------------------------------------------------------------------------------


def test_clean_up_that_was_asked_for_runs_also_when_there_is_nothing_to_clean_up():
    plan = begun(task("a", finally_=["tidy"]), task("tidy"), requested=["a", "tidy"])
    assert start(plan) == ["a"]
    plan.rule_out("a", "not here")

    assert start(plan) == ["tidy"]


def test_but_not_after_the_run_was_halted():
    plan = begun(task("bad"), task("a", "bad", finally_=["tidy"]), task("tidy"), requested=["a", "tidy"])
    start(plan)
    plan.settle("bad", fails())

    assert plan.state("tidy") is State.NOT_STARTED
    assert plan.finished


def test_nor_when_it_needs_the_task_that_was_prevented():
    plan = begun(
        task("bad"), task("a", "bad", finally_=["tidy"]), task("tidy", "a"), requested=["tidy"],
        on_failure=OnFailure.CONTINUE,
    )  # fmt: skip
    start(plan)
    plan.settle("bad", fails())

    assert plan.state("tidy") is State.SKIPPED
    assert plan.finished


def test_what_needs_such_a_clean_up_is_prevented_with_it():
    r"""bad -> a (finally tidy, which needs a) and tidy -> after"""
    plan = begun(
        task("bad"), task("a", "bad", finally_=["tidy"]), task("tidy", "a"), task("after", "tidy"),
        requested=["after"], on_failure=OnFailure.CONTINUE,
    )  # fmt: skip
    start(plan)

    ends = {change.task: change for change in plan.settle("bad", fails())}

    assert {name: end.state for name, end in ends.items() if name != "bad"} == dict.fromkeys(
        ("a", "tidy", "after"), State.SKIPPED
    )
    assert {end.cause for end in ends.values()} == {None, "bad"}


def test_a_task_that_would_have_to_wait_for_its_own_clean_up_is_refused():
    r"""
    build (finally clean)        clean -> rebuild <- build: clean waits for all that needs build, so for rebuild
    """
    with pytest.raises(ProjectError, match=r"clean -> rebuild -> clean|rebuild -> clean -> rebuild") as raised:
        plan_of(task("build", finally_=["clean"]), task("clean"), task("rebuild", "clean", "build"))

    assert raised.value.diagnostics[0].code == "circle"
