"""`taskrun worker`: real jobs of every kind, in order, with what becomes of them; how it begins and how it ends."""

from __future__ import annotations

import json
import os
import signal

import msgspec
import pytest
from support import runs
from support.census import state_of
from support.commands import CTRL_C, CTRL_Z
from support.jobs import jobs_of
from support.real import WAIT_FOR_GO
from support.runs import wait_for_files, wait_until

from taskrun import events

SLOW = f"""
[vars]
name = {{ type = "str", default = "slow" }}
[tasks.slow]
shell = ": > $NAME.up; {WAIT_FOR_GO}; : > $NAME.done"
env = {{ NAME = "{{{{ vars.name }}}}" }}
[tasks.quick]
run = ["true"]
"""
"""A task that says that it runs, and goes on until it is told to."""

CALLS = """
import os, time
import taskrun

def double(n: int) -> int:
    taskrun.progress(1, 2)
    return 2 * n

def pid() -> int:
    return os.getpid()
"""


@pytest.fixture
def jobs(project):
    with jobs_of(project) as jobs:
        yield jobs


def drain(project, *options, **how):
    return project.taskrun("worker", "--drain", *options, **how)


# --- jobs and what becomes of them ------------------------------------------------------------------------------------


def test_jobs_run_in_order_and_one_that_fails_is_dead_with_its_error(project, jobs):
    project.tasks("""
        [tasks.note]
        shell = "echo $N >> order; echo noted"
        env = { N = "{{ vars.n }}" }
        [tasks.bad]
        shell = "echo bad >> order; echo the disk is on fire >&2; exit 3"
        [vars]
        n = { type = "int", default = 0 }
    """)
    ids = [jobs.add("note", n=1), jobs.add("bad", job={"max_attempts": 1}), jobs.add("note", n=2), jobs.add("note")]
    drain(project, "-j", "1").succeeds().prints("note#1 | noted").says("DEAD", "job 2", "jobs: 3 done, 1 dead")
    assert project.read("order").split() == ["1", "bad", "2", "0"]
    assert [jobs.state(job) for job in ids] == ["done", "dead", "done", "done"]
    dead = jobs.show(ids[1])
    assert dead.error == "exit 3\nthe disk is on fire"
    assert dead.run is not None
    project.taskrun("logs", "--run", dead.run).succeeds().prints_exactly("the disk is on fire\n")


def test_a_failing_jobs_attempts_rise_to_the_maximum(project, jobs):
    project.tasks("[tasks.bad]\nshell = 'echo x >> tries; exit 1'\n")
    job = jobs.add("bad", job={"max_attempts": 3})
    worker = project.start("worker", "--events", "events")
    waits = 0

    def hurry() -> bool:
        """Its back-off may be seconds: somebody has the clock set, so to say."""
        nonlocal waits
        record = jobs.show(job)
        if record.state == "delayed":
            waits += 1
            _make_due(project)
            jobs.engine.wake()
        return record.state == "dead"

    wait_until(hurry, "the job is dead")
    worker.signal(signal.SIGTERM).finish().succeeds()
    assert project.read("tries").split() == ["x"] * 3
    assert jobs.show(job).attempt == 3
    ends = [each for each in _events(project) if isinstance(each.event, events.JobEnd)]
    assert [each.event.outcome for each in ends] == ["retry", "retry", "dead"]


def _make_due(project) -> None:
    import sqlite3

    with sqlite3.connect(project.path / ".taskrun" / "queue.db", timeout=10) as database:
        database.execute("UPDATE taskrun_job SET due_at = 0 WHERE state = 'delayed'")
    database.close()


def test_what_a_function_returns_is_the_jobs_result_in_a_pool_too(project, jobs):
    project.write("calls.py", CALLS)
    project.tasks("""
        [pools.crew]
        size = 1
        [tasks.double]
        python = "calls:double"
        [tasks.pid]
        python = "calls:pid"
        pool = "crew"
    """)
    doubled = jobs.add("double", n=21)
    pids = [jobs.add("pid") for _ in range(3)]
    drain(project, "-j", "3").succeeds()
    assert jobs.result(doubled) == 42
    assert len({jobs.result(job) for job in pids}) == 1  # the pool outlives the jobs, and had one worker


def test_a_job_brings_what_its_task_needs_and_tidies_up(project, jobs):
    project.tasks("""
        [tasks.first]
        shell = "echo first >> order"
        [tasks.second]
        needs = ["first"]
        finally = ["tidy"]
        shell = "echo second >> order; exit 1"
        [tasks.tidy]
        shell = "echo tidy >> order"
        [tasks.group]
        needs = ["first"]
    """)
    job, group = jobs.add("second", job={"max_attempts": 1}), jobs.add("group")
    drain(project, "-j", "1").succeeds()
    assert project.read("order").split() == ["first", "second", "tidy", "first"]
    assert (jobs.state(job), jobs.state(group)) == ("dead", "done")


def test_a_task_sees_its_jobs_id_at_each_attempt_also_in_a_pool(project, jobs):
    project.write("calls.py", "import os\ndef job():\n    return os.environ.get('TASKRUN_JOB')\n")
    project.tasks("""
        [pools.crew]
        size = 1
        [tasks.program]
        shell = "test $TASKRUN_JOB = 1; test -e tried || { : > tried; exit 1; }"
        retry.attempts = 2
        [tasks.call]
        python = "calls:job"
        pool = "crew"
    """)
    ids = jobs.add_many("program", "call", "call")
    drain(project, "-j", "1").succeeds()
    assert [jobs.show(job).attempt for job in ids] == [1, 1, 1]
    assert [jobs.result(job) for job in ids] == [None, "2", "3"]


def test_a_dependency_that_fails_is_named_in_the_jobs_error(project, jobs):
    project.tasks("[tasks.a]\nshell = 'exit 7'\n[tasks.b]\nneeds = ['a']\nrun = ['true']\n")
    job = jobs.add("b", job={"max_attempts": 1})
    drain(project).succeeds()
    assert jobs.show(job).error == "a: exit 7"


@pytest.mark.parametrize(
    ("task", "args", "error"),
    [
        ("double", {}, "`n`"),
        ("double", {"n": "many"}, "argument `n` of `calls:double`"),
        ("double", {"n": 1, "m": 2}, "`m`"),
        ("double", {"n": [1]}, "the argument `n` is neither a text, a number, true nor false"),
        ("typed", {"port": "http"}, "port"),
        ("missing", {}, "no.such.module"),
    ],
)
def test_arguments_that_do_not_fit_any_more_make_a_dead_letter_at_once(project, jobs, task, args, error):
    """The file has changed since it was stored; another attempt would bring the same."""
    project.write("calls.py", CALLS)
    project.tasks("""
        [vars]
        port = { type = "int", default = 80 }
        [tasks.double]
        python = "calls:double"
        [tasks.missing]
        python = "no.such.module:call"
        [tasks.typed]
        shell = "exit {{ vars.port }}"
    """)
    job = jobs.add(task, **args)
    drain(project).succeeds().says("DEAD")
    record = jobs.show(job)
    assert (record.state, record.attempt) == ("dead", 1)
    assert error in record.error
    assert record.run is None


def test_jobs_of_tasks_that_the_file_does_not_have_wait_for_somebody_who_knows_them(project, jobs):
    project.tasks(SLOW)
    unknown, known = jobs.add("from-yesterday"), jobs.add("quick")
    drain(project).succeeds()
    assert (jobs.state(unknown), jobs.state(known)) == ("ready", "done")


def test_a_worker_takes_what_it_is_told_to(project, jobs):
    project.tasks(SLOW + "[tasks.quack]\nrun = ['true']\n")
    ids = jobs.add_many("quick", "quack", "quick")
    drain(project, "--only", "quack").succeeds()
    assert [jobs.state(job) for job in ids] == ["ready", "done", "ready"]
    drain(project, "--only", "qui*").succeeds()
    assert [jobs.state(job) for job in ids] == ["done"] * 3
    drain(project, "--only", "quik").exits(2).says("--only quik", "did you mean", "quick")


def test_a_task_that_no_worker_takes_cannot_be_asked_for(project):
    project.tasks("[tasks.asks]\ninteractive = true\nrun = ['cat']\n[tasks.needy]\nneeds = ['asks']\nrun = ['true']\n")
    for name in ("asks", "needy"):
        drain(project, "--only", name).exits(2).says(f"--only {name}: it is interactive, or needs a task that is")
    drain(project, "--only", "*").succeeds()


def test_a_cancelled_job_is_stopped_by_the_ladder_and_the_others_go_on(project, jobs):
    project.tasks("""
        [tasks.long]
        shell = "trap 'echo tidied; exit 1' TERM; : > long.up; while :; do sleep 0.02; done"
        [tasks.quick]
        run = ["true"]
    """)
    job = jobs.add("long")
    worker = project.start("worker", "-j", "1")
    wait_for_files(project, "long.up")
    jobs.cancel(job)
    after = jobs.add("quick")
    jobs.wait(after, "done")
    assert jobs.state(job) == "cancelled"
    worker.signal(signal.SIGTERM).finish().succeeds().prints("long#1 | tidied").says("STOPPED", "1 cancelled")


def test_of_a_named_limit_no_more_is_held_by_two_workers_than_there_is(project, jobs):
    project.tasks("""
        [limits]
        gpu = 1
        [tasks.train]
        limits = ["gpu"]
        shell = "mkdir held; sleep 0.05; rmdir held"
        [tasks.needy]
        needs = ["train"]
        run = ["true"]
    """)
    ids = jobs.add_many("train", "needy", "train", "needy", "train", "train")
    workers = [project.start("worker", "--drain", "-j", "4") for _ in range(2)]
    for worker in workers:
        worker.finish().succeeds()
    assert jobs.states() == dict.fromkeys(ids, "done")
    assert [jobs.show(job).attempt for job in ids] == [1] * 6  # mkdir would fail where two hold it


def test_wide_tasks_have_their_slots_and_no_more_run_beside_them(project, jobs):
    project.tasks("""
        [tasks.wide]
        slots = 2
        shell = "test $TASKRUN_SLOTS = 2; mkdir wide; sleep 0.05; rmdir wide"
        [tasks.thin]
        shell = "test $TASKRUN_SLOTS = 1; ! test -e wide"
        [tasks.all]
        slots = "all"
        shell = "test $TASKRUN_SLOTS = 2; ! test -e wide"
    """)
    ids = jobs.add_many("wide", "thin", "wide", "thin", "all", "thin")
    drain(project, "-j", "2").succeeds()
    assert jobs.states() == dict.fromkeys(ids, "done")
    assert [jobs.show(job).attempt for job in ids] == [1] * 6


def test_a_task_that_recurs_is_stored_once_for_all_workers(project, jobs):
    project.tasks("[tasks.beat]\nevery = '1s'\nshell = 'echo beat >> beats'\n")
    workers = [project.start("worker") for _ in range(2)]
    wait_until(lambda: len(jobs.states()) >= 2, "it has recurred")
    for worker in workers:
        worker.signal(signal.SIGTERM).finish().succeeds()
    dues = [record.enqueued_at for record in jobs.engine.admin().find()]
    assert len({int(due) for due in dues}) == len(dues)


# --- its end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_after_the_first_signal_it_finishes_what_runs_and_takes_nothing_new(project, jobs, number):
    project.tasks(SLOW)
    running, waiting = jobs.add("slow"), jobs.add("quick")
    worker = project.start("worker", "-j", "1")
    wait_for_files(project, "slow.up")
    worker.signal(number).wait_for("1 running job will be finished first")
    project.write("go", "")
    worker.finish().succeeds()
    assert (jobs.state(running), jobs.state(waiting)) == ("done", "ready")
    assert jobs.show(waiting).attempt == 0


def test_ctrl_c_reaches_the_worker_and_not_the_job(project, jobs):
    project.tasks(SLOW)
    job = jobs.add("slow")
    with project.terminal("worker") as terminal:
        wait_for_files(project, "slow.up")
        terminal.expect(r"0 done.*1 running")
        terminal.press(CTRL_C)
        terminal.expect(r"Interrupted: 1 running job will be finished first \(Ctrl\+C again to stop\)")
        project.write("go", "")
        terminal.finish().exits(0)
    assert jobs.state(job) == "done"


def test_after_the_second_signal_what_runs_is_stopped_and_given_back(project, jobs):
    project.tasks("""
        [tasks.long]
        shell = "trap 'echo tidied; exit 1' INT; : > long.up; while :; do sleep 0.02; done"
    """)
    job = jobs.add("long")
    worker = project.start("worker")
    wait_for_files(project, "long.up")
    worker.signal(signal.SIGTERM).wait_for("will be finished first")
    worker.signal(signal.SIGINT).finish().dies_of(signal.SIGINT).prints("tidied").says("given back")
    record = jobs.show(job)
    assert (record.state, record.attempt, record.error) == ("ready", 0, None)


def test_the_third_signal_kills(project, jobs):
    project.tasks("""
        [tasks.stubborn]
        shell = "trap '' INT TERM; : > stubborn.up; while :; do sleep 0.02; done"
    """)
    job = jobs.add("stubborn")
    worker = project.start("worker", "--grace", "100s")
    wait_for_files(project, "stubborn.up")
    worker.signal(signal.SIGTERM).wait_for("will be finished first")
    worker.signal(signal.SIGINT).wait_for("Interrupted: stopping 1 task")
    worker.signal(signal.SIGHUP).finish().dies_of(signal.SIGINT).says("Killing 1 task")
    assert jobs.state(job) == "ready"


def test_an_idle_worker_ends_at_once(project, jobs):
    project.tasks(SLOW)
    worker = project.start("worker", "--events", "events")
    wait_until(lambda: (project.path / "events").exists() and _events(project), "it has begun")
    job = jobs.add("quick")
    jobs.wait(job, "done")
    worker.signal(signal.SIGTERM).finish().succeeds()


def test_ctrl_z_stops_everything_and_fg_continues_it(project, jobs):
    project.tasks("[tasks.tick]\nshell = ': > tick.up; until [ -e go ]; do sleep 0.02; done'\n")
    job = jobs.add("tick")
    terminal = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": "READY> "})
    with terminal:
        terminal.expect("READY> ")
        terminal.press("taskrun worker\n")
        wait_for_files(project, "tick.up")
        terminal.expect(r"1 running")
        leader = _leader(project)
        terminal.press(CTRL_Z)
        terminal.expect("READY> ")
        runs.wait_state(leader, "T")
        terminal.press("fg\n")
        runs.wait_state(leader, "SR")
        project.write("go", "")
        jobs.wait(job, "done")
        terminal.press(CTRL_C)
        terminal.expect("READY> ")
        terminal.press("exit 0\n").finish().exits(0)


def _leader(project) -> int:
    """The pid of the one task of the one job, as its record has it."""
    found = []

    def started() -> bool:
        for path in (project.path / ".taskrun" / "jobs" / "runs").glob("*-*/events.jsonl"):
            each = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            found[:] = [event["pid"] for event in each if event["event"] == "task.start"]
        return bool(found)

    wait_until(started, "its start is recorded")
    assert len(found) == 1
    return found[0]


# --- what dies --------------------------------------------------------------------------------------------------------


def test_of_a_killed_worker_nothing_is_left_and_its_job_is_the_next_ones(project, jobs):
    project.tasks(SLOW)
    job = jobs.add("slow")
    worker = project.start("worker")
    wait_for_files(project, "slow.up")
    leader = _leader(project)
    next_one = project.start("worker")
    worker.signal(signal.SIGKILL).finish()
    runs.wait_gone(leader)
    wait_until(lambda: jobs.show(job).attempt == 2, "the other worker has it")
    project.write("go", "")
    jobs.wait(job, "done")
    next_one.signal(signal.SIGTERM).finish().succeeds().says("was a worker's that has ended")


def test_while_a_process_of_a_killed_workers_job_lives_nobody_else_gets_it(project, jobs):
    """Worker and host die in one moment, so that nobody is left to end it: it holds the lock itself."""
    project.tasks(SLOW)
    job = jobs.add("slow")
    worker = project.start("worker")
    wait_for_files(project, "slow.up")
    leader = _leader(project)
    host = runs.named(worker.pid, runs.HOST)
    os.kill(worker.pid, signal.SIGSTOP)  # else it would sweep what its host left
    os.kill(host, signal.SIGKILL)
    worker.signal(signal.SIGKILL).finish()
    runs.wait_gone(host)
    next_one = project.start("worker", "--events", "events")
    quick = jobs.add("quick")
    jobs.wait(quick, "done")
    assert state_of(leader)
    assert (jobs.state(job), jobs.show(job).attempt) == ("running", 1)
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: jobs.show(job).attempt == 2, "the other worker has it")
    project.write("go", "")
    jobs.wait(job, "done")
    next_one.signal(signal.SIGTERM).finish().succeeds()


def test_a_job_that_kills_its_worker_each_time_is_dead_at_its_maximum(project, jobs):
    project.tasks("[tasks.poison]\nshell = 'kill -9 $(cut -d\" \" -f4 /proc/$PPID/stat)'\n")
    job = jobs.add("poison", job={"max_attempts": 2})
    for _ in range(2):
        project.start("worker").finish().dies_of(signal.SIGKILL)
    drain(project).succeeds()
    record = jobs.show(job)
    assert (record.state, record.attempt) == ("dead", 2)
    assert "the worker ended during attempt 2 of 2" in record.error


def test_a_job_whose_process_is_killed_is_tried_again(project, jobs):
    project.tasks("[tasks.once]\nshell = 'test -e tried || { : > tried; kill -9 $$; }'\nretry.attempts = 1\n")
    job = jobs.add("once")
    worker = project.start("worker")
    wait_until(lambda: jobs.show(job).error, "it has failed")
    assert "SIGKILL" in jobs.show(job).error
    _make_due(project)
    jobs.engine.wake()
    jobs.wait(job, "done")
    worker.signal(signal.SIGTERM).finish().succeeds()


def test_without_its_host_a_worker_ends_and_the_job_is_tried_again(project, jobs):
    project.tasks(SLOW)
    job = jobs.add("slow")
    worker = project.start("worker")
    wait_for_files(project, "slow.up")
    os.kill(runs.named(worker.pid, runs.HOST), signal.SIGKILL)
    worker.finish().exits(125).says("the process supervising the tasks was lost")
    record = jobs.show(job)
    assert (record.state, record.attempt) == ("delayed", 1)
    assert "supervising process was lost" in record.error


# --- what it says -----------------------------------------------------------------------------------------------------


def _events(project) -> list[events.Stamped]:
    lines = (project.path / "events").read_bytes().splitlines(keepends=True)
    return [events.decode(line) for line in lines if line.endswith(b"\n")]


def test_the_events_are_those_of_the_worker_and_of_each_jobs_run(project, jobs):
    project.tasks(SLOW)
    ids = jobs.add_many("quick", "quick")
    drain(project, "--events", "events").succeeds()
    streams: dict[str, list[events.Stamped]] = {}
    for stamped in _events(project):
        streams.setdefault(stamped.run, []).append(stamped)
    for stream in streams.values():
        assert [stamped.seq for stamped in stream] == list(range(1, len(stream) + 1))
    worker, *of_jobs = ([type(stamped.event).__name__ for stamped in stream] for stream in streams.values())
    assert worker[0] == "WorkerStart"
    assert worker[-1] == "WorkerEnd"
    assert sorted(worker[1:-1]) == ["JobEnd", "JobEnd", "JobStart", "JobStart"]
    assert of_jobs == [["RunStart", "TaskStart", "TaskEnd", "RunEnd"]] * 2
    starts = [stamped.event for stamped in streams[next(iter(streams))] if isinstance(stamped.event, events.JobStart)]
    assert {(start.job, start.carried_by) for start in starts} == {(job, jobs.show(job).run) for job in ids}


def test_the_schema_of_the_events_has_them_all(project):
    schema = project.tasks("[tasks.a]\nrun = ['true']\n").taskrun("schema", "--events").succeeds().json()
    assert {"WorkerStart", "JobStart", "JobEnd", "WorkerStopping", "WorkerEnd"} <= set(schema["$defs"])


def test_a_percent_is_shown_for_each_job(project, jobs):
    project.tasks(f"""
        [tasks.half]
        shell = 'echo 50%; {WAIT_FOR_GO}'
        progress = "percent"
    """)
    jobs.add_many("half", "half")
    with project.terminal("worker", "-j", "2", "--drain") as terminal:
        terminal.expect(r"half#1 .* 50%")
        terminal.expect(r"half#2 .* 50%")
        project.write("go", "")
        terminal.finish().exits(0)
    assert "jobs: 2 done" in terminal.text


def test_records_of_jobs_do_not_push_out_those_of_runs(project, jobs):
    project.tasks(SLOW + "[run]\nkeep-runs = 1\n")
    project.taskrun("run", "quick").succeeds()
    before = project.taskrun("runs", "--json").json()
    jobs.add_many("quick", "quick", "quick")
    drain(project).succeeds()
    assert project.taskrun("runs", "--json").json() == before
    assert len(list((project.path / ".taskrun" / "jobs" / "runs").glob("*-*/run.json"))) == 3


def test_a_mistake_in_the_file_is_told_before_anything_starts(project):
    project.tasks("[tasks.a]\nrun = 3\n").taskrun("worker").exits(2).says("tasks.toml:2:7")
    assert not (project.path / ".taskrun").exists()


def test_a_queue_that_is_damaged_is_refused(project):
    project.tasks(SLOW)
    project.write(".taskrun/queue.db", b"SQLite format 3\0" + b"x" * 8192)
    drain(project).exits(2).says("queue.db").never_says("Traceback")


def test_a_json_payload_of_any_shape_never_stops_a_worker(project, jobs):
    import sqlite3

    project.tasks(SLOW)
    ids = jobs.add_many("quick", "quick", "quick")
    with sqlite3.connect(project.path / ".taskrun" / "queue.db", timeout=10) as database:
        for job, payload in zip(ids, (b"\xff\x00", b"[1, 2]", msgspec.json.encode({"x": {"y": 1}})), strict=True):
            database.execute("UPDATE taskrun_job SET args = ? WHERE id = ?", (payload, job))
    database.close()
    drain(project).succeeds()
    assert [jobs.state(job) for job in ids] == ["dead"] * 3
    assert jobs.show(ids[0]).payload == b"\xff\x00"
