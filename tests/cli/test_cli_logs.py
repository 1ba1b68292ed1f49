"""`taskrun logs`: what tasks wrote, byte for byte, of any attempt, and while they write it."""

from __future__ import annotations

import time

import pytest
from support.records import Recorded

RUN, OLDER = "20261121-224312.417-aaa2", "20261121-224311.417-aaa1"


@pytest.fixture
def state(project) -> str:
    """The folder of records of a project with one task."""
    project.tasks('[tasks.a]\nrun = ["true"]')
    return str(project.path / ".taskrun")


@pytest.fixture
def recorded(state):
    """A finished run: `one` wrote to both streams, `two` was tried twice, `three` has two instances, `four` was
    skipped, `five` wrote nothing.
    """
    plan = ["one", "two", "three[k=a]", "three[k=b]", "four", "five"]
    with Recorded(state, RUN, plan=plan) as run:
        run.begins("one")
        run.writes("one", b"out 1\n")
        run.writes("one", b"err 1\n", stream="stderr")
        run.writes("one", b"out 2, no newline \xff\x00")
        run.ends("one")
        run.begins("two")
        run.writes("two", b"first try\n")
        run.retries("two")
        run.begins("two", 2)
        run.writes("two", b"second try\n", attempt=2)
        run.ends("two", 2)
        for key in ("a", "b"):
            run.begins(f"three[k={key}]")
            run.writes(f"three[k={key}]", f"from {key}\n".encode())
            run.ends(f"three[k={key}]")
        run.ends("four", 0, state="skipped", reason="one failed")
        run.begins("five")
        run.ends("five")
        run.end(0, succeeded=5)
    return run


def test_the_log_of_one_task_byte_for_byte(project, recorded):
    done = project.taskrun("logs", "one").succeeds().says_exactly("")
    assert done.out == b"out 1\nerr 1\nout 2, no newline \xff\x00"


def test_one_stream(project, recorded):
    assert project.taskrun("logs", "one", "--stream", "stdout").succeeds().out == b"out 1\nout 2, no newline \xff\x00"
    assert project.taskrun("logs", "one", "--stream", "stderr").succeeds().out == b"err 1\n"


def test_the_last_attempt_and_another(project, recorded):
    project.taskrun("logs", "two").succeeds().prints_exactly("second try\n").says_exactly("")
    project.taskrun("logs", "two", "--attempt", "1").succeeds().prints_exactly("first try\n")
    project.taskrun("logs", "two", "--attempt", "3").exits(4).says("no attempt 3", "its last is 2")
    project.taskrun("logs", "two", "--attempt", "0").exits(2)


def test_an_instance_and_all_instances_of_a_task(project, recorded):
    project.taskrun("logs", "three[k=b]").succeeds().prints_exactly("from b\n").says_exactly("")
    done = project.taskrun("logs", "three").succeeds().prints_exactly("from a\nfrom b\n")
    done.says_exactly("==> three[k=a] <==\n\n==> three[k=b] <==\n")


def test_globs_fit_tasks_and_instances(project, recorded):
    project.taskrun("logs", "t*").succeeds().prints_exactly("second try\nfrom a\nfrom b\n")
    project.taskrun("logs", "*[k=a]").succeeds().prints_exactly("from a\n").says_exactly("")
    project.taskrun("logs", "x*").exits(4).says("x*")


def test_all_tasks_with_headings_apart_from_the_output(project, recorded):
    done = project.taskrun("logs", "--stream", "stdout").succeeds()
    assert done.out == b"out 1\nout 2, no newline \xff\x00second try\nfrom a\nfrom b\n"
    done.says("==> one <==", "==> two, attempt 2 <==", "==> three[k=a] <==")
    done.never_says("five", "four")


def test_a_task_that_was_not_started_says_why(project, recorded):
    project.taskrun("logs", "four").exits(4).prints_exactly("").says("`four` was not started", "skipped (one failed)")


def test_a_task_that_wrote_nothing_prints_nothing(project, recorded):
    project.taskrun("logs", "five").succeeds().prints_exactly("").says_exactly("")


def test_an_unknown_task_gets_the_nearest(project, recorded):
    project.taskrun("logs", "onee").exits(4).says("did you mean `one`?")


def test_an_alias_of_the_file_is_known(project, recorded):
    project.tasks('[tasks.two]\naliases = ["t"]\nrun = ["true"]')
    project.taskrun("logs", "t").succeeds().prints_exactly("second try\n")


def test_another_run_by_its_id_or_its_end(project, state, recorded):
    with Recorded(state, OLDER, plan=["one"]) as run:
        run.begins("one")
        run.writes("one", b"older\n")
        run.ends("one")
        run.end(0)
    project.taskrun("logs", "one", "--run", OLDER).succeeds().prints_exactly("older\n")
    project.taskrun("logs", "one", "--run", "aaa1").succeeds().prints_exactly("older\n")
    project.taskrun("logs", "one", "--stream", "stderr").succeeds().prints_exactly("err 1\n")
    project.taskrun("logs", "one", "--run", "zzzz").exits(4).says("no run `zzzz`")
    project.taskrun("logs", "one", "--run", "2026").exits(4).says("2 runs")


def test_no_runs_at_all(project, state):
    project.taskrun("logs").exits(4).says("no run is recorded yet")


def test_following_a_run_that_has_ended_is_showing_it(project, recorded):
    project.taskrun("logs", "two", "--follow").succeeds().prints_exactly("second try\n")
    done = project.taskrun("logs", "-F", "--stream", "stdout").succeeds()
    assert b"out 1\n" in done.out
    assert b"from b\n" in done.out


def test_a_closed_pipe_is_silent(project, state):
    with Recorded(state, RUN, plan=["big"]) as run:
        run.begins("big")
        run.writes("big", b"line\n" * 400_000)
        run.ends("big")
        run.end(0)
    done = project.sh("taskrun logs big | head -1; echo ${PIPESTATUS[0]}").succeeds()
    done.prints_exactly("line\n141\n").says_exactly("")


# --- while it is written ----------------------------------------------------------------------------------------------


def test_following_shows_what_comes_and_ends_with_the_run(project, state):
    with Recorded(state, RUN, plan=["slow"]) as run:
        run.begins("slow")
        run.writes("slow", b"one\n")
        following = project.start("logs", "slow", "--follow").wait_for("one")
        run.writes("slow", b"two\n")
        following.wait_for("two")
        assert following.process.poll() is None
        run.ends("slow")
        run.end(0)
        following.finish().succeeds().prints_exactly("one\ntwo\n").says_exactly("")


def test_following_waits_for_a_task_that_has_not_begun_and_goes_on_with_the_next_attempt(project, state):
    with Recorded(state, RUN, plan=["first", "late"]) as run:
        run.begins("first")
        following = project.start("logs", "late", "--follow")
        run.ends("first")
        run.begins("late")
        run.writes("late", b"attempt 1\n")
        following.wait_for("attempt 1")
        run.retries("late")
        run.begins("late", 2)
        run.writes("late", b"attempt 2\n", attempt=2)
        following.wait_for("attempt 2")
        run.ends("late", 2)
        run.end(0)
        following.finish().succeeds().prints_exactly("attempt 1\nattempt 2\n")


def test_following_all_tasks_puts_a_heading_before_each_change(project, state):
    with Recorded(state, RUN, plan=["a", "b"]) as run:
        run.begins("a")
        run.begins("b")
        run.writes("a", b"a1\n")
        following = project.start("logs", "--follow").wait_for("a1")
        run.writes("b", b"b1\n")
        following.wait_for("b1")
        run.ends("a")
        run.ends("b")
        run.end(0)
        following.finish().succeeds().prints_exactly("a1\nb1\n").says("==> a <==", "==> b <==")


def test_following_a_task_that_the_run_does_not_have_ends_at_once(project, state):
    with Recorded(state, RUN, plan=["a"]) as run:
        run.begins("a")
        project.taskrun("logs", "nonsense", "--follow").exits(4)
        run.ends("a")


def test_following_ends_when_the_runner_dies(project, state):
    with Recorded(state, RUN, plan=["a"]) as run:
        run.begins("a")
        run.writes("a", b"last words\n")
        following = project.start("logs", "a", "--follow").wait_for("last words")
        run.dies()
        following.finish().succeeds().prints_exactly("last words\n")


@pytest.mark.slow
def test_following_a_real_run(project):
    project.tasks("""
        [tasks.slow]
        shell = "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; echo problem >&2"
    """)
    running = project.start("run", "slow")
    deadline = time.monotonic() + 20
    while not list(project.path.glob(".taskrun/runs/*/logs/*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    following = project.start("logs", "slow", "--follow").wait_for("one")
    project.write("go", "")
    running.finish().succeeds()
    following.finish().succeeds().prints_exactly("one\ntwo\nproblem\n")
    project.taskrun("logs", "slow", "--stream", "stderr").succeeds().prints_exactly("problem\n")
