"""`taskrun worker` on a machine that cannot, for a moment, do its part; and what is no job's own fault."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.jobs import jobs_of
from support.runs import wait_until

from taskrun import events

QUICK = "[tasks.quick]\nrun = ['true']\n"


@pytest.fixture
def jobs(project):
    with jobs_of(project) as jobs:
        yield jobs


def _without_records(project) -> dict[str, str]:
    """The environment of a worker whose records can be written nowhere until `blocked` is removed."""
    blocked = project.write("blocked", "")
    queue = project.path / ".taskrun" / "queue.db"
    return {"TASKRUN_STATE": str(blocked / "state"), "HOME": str(blocked), "TASKRUN_QUEUE": str(queue)}


def test_while_nothing_can_be_recorded_jobs_wait_and_lose_no_attempt(project, jobs):
    project.tasks(QUICK)
    ids = jobs.add_many("quick", "quick", "quick")
    worker = project.start("worker", "-j", "2", env=_without_records(project))
    worker.wait_for("jobs wait until they can be recorded: cannot write to")
    jobs.cancel(ids[0])
    jobs.wait(ids[0], "cancelled")
    os.unlink(project.path / "blocked")
    for job in ids[1:]:
        assert jobs.wait(job, "done").attempt == 1
    ended = worker.signal(signal.SIGTERM).finish().succeeds()
    assert ended.stderr.count("jobs wait until") == 1


def test_a_worker_that_waits_for_room_for_records_ends_at_the_first_signal(project, jobs):
    project.tasks(QUICK)
    job = jobs.add("quick")
    worker = project.start("worker", env=_without_records(project))
    worker.wait_for("jobs wait until they can be recorded")
    worker.signal(signal.SIGTERM).finish().succeeds().says("given back")
    assert (jobs.state(job), jobs.show(job).attempt) == ("ready", 0)


def test_where_records_lie_elsewhere_it_is_said_once(project, jobs):
    project.tasks(QUICK)
    env = _without_records(project) | {"HOME": project.env["HOME"]}
    jobs.add_many("quick", "quick", "quick")
    ended = project.taskrun("worker", "--drain", env=env).succeeds()
    assert ended.stderr.count("the record is in") == 1


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("reads", "this command failed: exit 1"),
        ("lists", "`names` cannot be read"),
        ("enters", "the folder `work` of task `enters` does not exist"),
        ("calls", "no template"),
    ],
)
def test_what_may_pass_is_tried_again(project, jobs, task, error):
    project.tasks("""
        [run]
        python = "bin/python"
        [tasks.reads]
        foreach.name = { shell = "cat names" }
        run = ["echo", "{{ name }}"]
        [tasks.lists]
        foreach.name = { lines = "names" }
        run = ["echo", "{{ name }}"]
        [tasks.enters]
        cwd = "work"
        run = ["true"]
        [tasks.calls]
        python = "os:getpid"
    """)
    job = jobs.add(task)
    worker = project.start("worker")
    wait_until(lambda: jobs.show(job).error, "it was tried")
    record = jobs.show(job)
    assert (record.attempt, record.settled_at) == (1, None)
    assert error in record.error
    worker.signal(signal.SIGTERM).finish().succeeds()


def test_no_job_reads_what_the_worker_has_on_stdin(project, jobs):
    project.tasks("[tasks.reads]\nshell = 'cat > got'\nstdin = '-'\n")
    jobs.add("reads")
    project.taskrun("worker", "--drain", stdin=b"for somebody else").succeeds()
    assert project.read("got") == ""


def test_of_many_jobs_the_newest_records_stay(project, jobs):
    runs = project.path / ".taskrun" / "jobs" / "runs"
    project.tasks(QUICK)
    for number in range(520):
        old = runs / f"20200101-000000.{number:03d}-aaaa"
        old.mkdir(parents=True)
        (old / "events.jsonl").touch()
    jobs.add("quick")
    project.taskrun("worker", "--drain").succeeds()
    assert len(list(runs.glob("2*"))) == 500


def test_a_worker_that_had_nothing_to_do_says_how_long_it_was_there(project, jobs):
    project.tasks(QUICK)
    worker = project.start("worker", "--events", "events")
    jobs.wait(jobs.add("quick"), "done")
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 1.5, "it has been idle")  # longer than a clock may not be looked at
    worker.signal(signal.SIGTERM).finish().succeeds()
    end = events.decode(project.read("events").splitlines()[-1].encode()).event
    assert isinstance(end, events.WorkerEnd)
    assert end.elapsed > 1.5


def _stream(project, *options: str, status: int) -> list[events.AnyEvent]:
    """The events of a worker that is refused."""
    lines = project.taskrun("worker", "--events", "-", *options).exits(status).stdout.splitlines()
    return [events.decode(line.encode()).event for line in lines]


@pytest.mark.parametrize(
    ("options", "said"), [(("-f", "bad.toml"), "`run` in task `a`"), (("--only", "nope"), "--only nope")]
)
def test_the_events_of_a_worker_that_is_refused_have_an_end(project, options, said):
    project.tasks(QUICK).write("bad.toml", "[tasks.a]\nrun = 3\n")
    told, end = _stream(project, *options, status=2)
    assert isinstance(told, events.DiagnosticEvent)
    assert said in told.diagnostic.message
    assert end == events.WorkerEnd(exit_status=2)


def test_the_events_of_a_worker_whose_queue_is_damaged_say_so_and_its_status(project):
    project.tasks(QUICK).write(".taskrun/queue.db", b"SQLite format 3\0" + b"x" * 8192)
    start, told, end = _stream(project, status=2)
    assert isinstance(start, events.WorkerStart)
    assert isinstance(told, events.DiagnosticEvent)
    assert "queue.db" in told.diagnostic.message
    assert isinstance(end, events.WorkerEnd)
    assert end.exit_status == 2
