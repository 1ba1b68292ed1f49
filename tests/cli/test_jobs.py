"""`taskrun jobs`: what there is, why it stands there, and changing its course."""

from __future__ import annotations

import pytest
from support.queues import SetClock, SqliteBench

from taskrun.cli import jobs
from taskrun.jobqueue.values import Cancelled, Dead, Done, JobState, NewJob, Retry

NASTY = "line one\n\x1b[31m\x1b]0;title\x07  red\u202e\n\tindented\r\n"


@pytest.fixture
def bench(project):
    """The queue of a project with the tasks `a` and `b`, in this process's hands; ages are what the clock makes them."""
    project.env["TZ"] = "UTC"
    project.tasks('[tasks.a]\nrun = ["true"]\n[tasks.b]\nrun = ["true"]')
    (project.path / ".taskrun").mkdir()
    bench = SqliteBench(str(project.path / ".taskrun"))
    yield bench
    bench.close()


def settle(bench, *outcomes) -> None:
    """Each outcome for the job that is taken next."""
    worker = bench.worker()
    for outcome in outcomes:
        (claim,) = worker.take()
        assert worker.settle(claim.id, outcome)
    worker.close()


def test_without_a_queue_nothing_is_made_and_nothing_is_wrong(project):
    project.tasks('[tasks.a]\nrun = ["true"]')
    project.taskrun("jobs", "list").succeeds().prints_exactly("").says_exactly("no job is stored\n")
    assert project.taskrun("jobs", "list", "--json").succeeds().json() == []
    assert project.taskrun("jobs", "stats", "--json").succeeds().json()["workers"] == 0
    project.taskrun("jobs", "prune").succeeds().prints_exactly("forgot 0 jobs\n")
    project.taskrun("jobs", "retry", "--dead").succeeds().says_exactly("no job is dead\n")
    project.taskrun("jobs", "cancel", "4").exits(2).says("there is no job 4")
    assert not (project.path / ".taskrun").exists()


def test_jobs_are_listed_newest_first_with_why_they_stand_there(project, bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="a", args={"x": "two words"}, max_attempts=1), NewJob(task="b", args={"n": 3})])
    settle(bench, Dead(error="exit 3\nsecond line"), Done())
    queue.enqueue([NewJob(task="gone"), NewJob(task="a", delay=7300), NewJob(task="b", after=1), NewJob(task="a")])
    project.taskrun("jobs", "list").succeeds().says_exactly("").prints(
        "6  ready    a",
        "0/3  for",
        "stuck: no worker lives: `taskrun worker` takes it\n",
        "5  blocked  b",
        "stuck: job 1 is dead: retry or cancel that one\n",
        "4  delayed  a",
        "in 2 hours",
        "3  ready    gone",
        "stuck: the file has no such task any more: no worker takes it\n",
        "2  done     b n=3",
        "1/3",
        "ago\n",
        "1  dead     a 'x=two words'",
        "dead after 1 of 1 attempts: exit 3 second line\n",
    )
    with _Living(bench):
        assert "no worker lives" not in project.taskrun("jobs", "list").succeeds().stdout
    listed = project.taskrun("jobs", "list", "--state", "done", "--state", "dead", "--json").succeeds().json()
    assert [(job["id"], job["state"], job["args"]) for job in listed] == [
        (2, "done", {"n": 3}),
        (1, "dead", {"x": "two words"}),
    ]
    only = project.taskrun("jobs", "list", "--task", "a", "--limit", "1").succeeds().says("the newest 1")
    assert only.stdout.split()[0] == "6"
    project.taskrun("jobs", "list", "--state", "cancelled").succeeds().prints_exactly("").says_exactly("no job is so\n")


class _Living:
    """A worker that lives as long as the block."""

    def __init__(self, bench) -> None:
        self.worker = bench.worker()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exc: object) -> None:
        self.worker.close()


def test_on_a_terminal_lines_fit_and_the_reason_can_be_seen(project, bench):
    bench.queue().enqueue([NewJob(task="a", args={"path": "x" * 200})])
    with project.terminal("jobs", "list", columns=80) as terminal:
        terminal.expect("no worker")
        screen = terminal.finish().succeeds()
    assert all(len(line) <= 80 for line in repr(screen).splitlines() if "xxx" in line)


def test_show_tells_everything_and_nothing_that_harms_a_terminal(project, bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="a", args={"x": NASTY, "n": 1.5, "on": True}, unique="k\x1b[0m", priority=4)])
    queue.enqueue([NewJob(task="b", after=1, max_attempts=2)])
    settle(bench, Dead(error=NASTY))
    shown = project.taskrun("jobs", "show", "1", "2").succeeds()
    shown.prints(
        "job 1: a\n", "state      dead\n", "arguments  ", "n=1.5 on=true\n", "attempts   1 of 3\n", "priority   4\n",
        "unique     k\\x1b[0m\n", "error\n    line one\n    \\x1b[31m\\x1b]0;title\\x07  red\\u202e\n        indented\n",
        "\njob 2: b\n", "state      blocked\n", "stuck      job 1 is dead: retry or cancel that one\n", "after      job 1\n",
    )  # fmt: skip
    assert "\x1b" not in shown.stdout
    assert "\x1b" not in project.taskrun("jobs", "list").succeeds().stdout
    plain = project.taskrun("jobs", "show", "--json", "1").succeeds()
    assert not any(bad in plain.stdout for bad in ("\x1b", "\u202e", "\x07"))
    (job,) = plain.json()
    assert (job["error"], job["args"]["x"], job["payload"]) == (NASTY, NASTY, None)


def test_bytes_that_are_no_arguments_are_shown_as_bytes(project, bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="a"), NewJob(task="a")])
    with queue._file.writing() as database:
        database.execute("UPDATE taskrun_job SET args = ? WHERE id = 1", (b"\xff\x1b{not json",))
        database.execute("UPDATE taskrun_job SET args = ? WHERE id = 2", (b"[1, 2]",))
    project.taskrun("jobs", "show", "1").succeeds().prints(
        "arguments  no arguments, but the bytes b'\\xff\\x1b{not json'"
    )
    first, second = project.taskrun("jobs", "show", "1", "2", "--json").succeeds().json()
    assert (first["args"], first["payload"]) == (None, "\\xff\x1b{not json")
    assert (second["args"], second["payload"]) == (None, "[1, 2]")


def test_several_are_retried_and_cancelled_and_what_cannot_be_stops_no_other(project, bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="a"), NewJob(task="a"), NewJob(task="b"), NewJob(task="a", delay=60)])
    settle(bench, Dead(error="x"), Cancelled(), Done())
    project.taskrun("jobs", "retry", "1", "3", "99", "2", "1").exits(2).prints_exactly(
        "job 1: ready\njob 2: ready\n"
    ).says("job 3 is done: only dead and cancelled jobs can be retried", "there is no job 99")
    worker = bench.worker()
    assert [claim.id for claim in worker.take(1)] == [1]
    project.taskrun("jobs", "cancel", "1", "4", "98").exits(2).prints_exactly(
        "job 1: asked to stop\njob 4: cancelled\n"
    ).says("there is no job 98")
    assert worker.asked_to_stop() == [1]
    answer = project.taskrun("jobs", "cancel", "2", "--json").succeeds().json()
    assert answer == [{"id": 2, "state": "cancelled"}]


def test_all_dead_ones_are_retried_or_those_of_a_task(project, bench):
    bench.queue().enqueue([NewJob(task="a"), NewJob(task="b"), NewJob(task="a"), NewJob(task="a", max_attempts=1)])
    settle(bench, *[Dead(error="x")] * 3, Retry(error="last"))
    project.taskrun("jobs", "retry", "--dead", "--task", "b").succeeds().prints_exactly("job 2: ready\n")
    project.taskrun("jobs", "retry", "--dead").succeeds().prints_exactly("job 1: ready\njob 3: ready\njob 4: ready\n")
    for wrong in ([], ["--dead", "1"], ["--task", "a", "1"]):
        project.taskrun("jobs", "retry", *wrong).exits(2)


def test_more_than_a_page_of_jobs_is_gone_through(project, bench, monkeypatch):
    bench.queue().enqueue([NewJob(task="ab"[number % 2]) for number in range(9)])
    monkeypatch.setattr(jobs, "_PAGE", 2)
    desk = jobs._Desk(str(project.path / "tasks.toml"))
    try:
        assert [job.id for job in desk.every(states=[JobState.READY])] == list(range(9, 0, -1))
        assert [job.id for job in desk.every(states=[JobState.READY], task="b")] == [8, 6, 4, 2]
    finally:
        desk._queue.close()


def test_old_ones_are_forgotten_and_stats_count_the_others(project, bench):
    bench.clock = SetClock(1_700_000_000.0)
    queue = bench.queue()
    queue.enqueue([NewJob(task="a"), NewJob(task="a"), NewJob(task="gone"), NewJob(task="a", at=4e9)])
    settle(bench, Done(), Dead(error="x"))
    counted = project.taskrun("jobs", "stats", "--json").succeeds().json()
    assert {state: count for state, count in counted["counts"].items() if count} == {
        "delayed": 1, "ready": 1, "done": 1, "dead": 1,
    }  # fmt: skip
    assert counted["stuck"] == [{"why": "the file has no such task any more: no worker takes it", "jobs": [3]}]
    assert counted["oldest_ready"] > 1e7
    project.taskrun("jobs", "stats").succeeds().prints(
        "ready      1\n", "no worker lives\n", "stuck: 1 job (3): the file has"
    )
    project.taskrun("jobs", "prune", "--dead", "10000d").succeeds().prints_exactly("forgot 1 job\n")
    assert project.taskrun("jobs", "prune", "--json").succeeds().json() == {"forgotten": 1}


def test_a_file_that_is_broken_by_now_hides_no_jobs(project, bench):
    bench.queue().enqueue([NewJob(task="a")])
    project.write("tasks.toml", '[tasks.a]\nrnu = ["true"]')
    project.taskrun("jobs", "list").succeeds().prints("1  ready")
    project.write("tasks.toml", "[tasks.a\n")
    project.taskrun("jobs", "show", "1").succeeds().prints("job 1: a")
    bench.close()  # the last one out leaves the database alone
    project.write(".taskrun/queue.db", b"damaged" * 4000)
    project.taskrun("jobs", "list").exits(2).prints_exactly("").says("queue.db")


def test_the_log_of_a_jobs_run_is_found_by_its_id(project):
    project.tasks('[tasks.a]\nshell = "echo said by a job; exit 3"')
    project.taskrun("enqueue", "a", "--max-attempts", "1").succeeds()
    project.taskrun("worker", "--drain", "-q", "--output", "none")
    (folder,) = (each for each in (project.path / ".taskrun/jobs/runs").iterdir() if not each.is_symlink())
    project.taskrun("logs", "--run", folder.name).succeeds().prints_exactly("said by a job\n")
    (job,) = project.taskrun("jobs", "show", "1", "--json").succeeds().json()
    assert job["state"] == "dead"
    assert "exit 3" in job["error"]


def test_what_is_very_long_or_far_away_is_shown_all_the_same(project, bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="a", args={"x": "ÿ" * 300_000}), NewJob(task="a", at=9e11)])
    settle(bench, Dead(error="z" * 300_000))
    listed = project.taskrun("jobs", "list").succeeds().stdout
    assert max(map(len, listed.splitlines())) < 600
    assert len(listed.splitlines()[0]) < 120  # the other's length is not its own
    with project.terminal("jobs", "list", columns=60) as terminal:
        terminal.finish().succeeds()
    (far,) = project.taskrun("jobs", "show", "2", "--json").succeeds().json()
    assert far["due"] == "900000000000"
    project.taskrun("jobs", "show", "2").succeeds().prints("due        ", "(in 28", " years)\n")
    for wrong in ("0", "x", "-1", "1.5", str(2**63), "9" * 5000):
        project.taskrun("jobs", "show", "--", wrong).exits(2).says("is no job")
