"""`taskrun worker` when it, or a job, is told to stop at an awkward moment, or nobody reads what it says."""

from __future__ import annotations

import os
import signal
import types
from typing import TYPE_CHECKING, Any

import pytest
import trio
from support.jobs import jobs_of
from support.real import WAIT_FOR_GO
from support.runs import wait_for_files, wait_until

from taskrun.run import worker as worker_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOW_IMPORT = """
import os, time
open("begun", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)

def call() -> int:
    return 1
"""

BEGINS_SLOWLY = f"""
[tasks.imports]
python = "slow:call"
[tasks.reads]
foreach.each = {{ shell = ": > begun; {WAIT_FOR_GO}; echo 1" }}
run = ["echo", "{{{{ each }}}}"]
"""
"""Tasks that say that they are looked at before they run, for as long as nobody tells them to go on."""


@pytest.fixture
def jobs(project):
    with jobs_of(project) as jobs:
        yield jobs


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    try:
        yield write
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("task", ["imports", "reads"])
def test_a_second_signal_does_not_wait_for_what_a_job_would_begin_with(project, jobs, task):
    project.write("slow.py", SLOW_IMPORT)
    project.tasks(BEGINS_SLOWLY)
    job = jobs.add(task)
    worker = project.start("worker")
    wait_for_files(project, "begun")
    worker.signal(signal.SIGTERM).wait_for("1 running job will be finished first")
    worker.signal(signal.SIGINT).finish().dies_of(signal.SIGINT).says("given back")
    assert (jobs.state(job), jobs.show(job).attempt) == ("ready", 0)


@pytest.mark.parametrize("task", ["imports", "reads"])
def test_a_job_that_is_cancelled_before_it_runs_is_over_at_once(project, jobs, task):
    project.write("slow.py", SLOW_IMPORT)
    project.tasks(BEGINS_SLOWLY + "[tasks.quick]\nrun = ['true']\n")
    job = jobs.add(task)
    worker = project.start("worker", "-j", "1")
    wait_for_files(project, "begun")
    jobs.cancel(job)
    jobs.wait(job, "cancelled")
    jobs.wait(jobs.add("quick"), "done")
    worker.signal(signal.SIGTERM).finish().succeeds()


CHATTY = f"""
[tasks.chatty]
shell = ": > $TASKRUN_JOB.up; {WAIT_FOR_GO}; yes 'as long a line as anybody would have in a log that somebody is expected to read'"
log = "1MiB"
[tasks.long]
shell = "head -c 300000 /dev/zero | tr '\\\\0' x | fold -w 100"
"""


def test_while_nobody_reads_a_job_can_be_cancelled_and_the_worker_be_stopped(project, jobs, unread):
    project.tasks(CHATTY)
    cancelled, other = jobs.add_many("chatty", "chatty")
    worker = project.start("worker", "-j", "2", "--output", "stream", stdout=unread)
    wait_for_files(project, f"{cancelled}.up", f"{other}.up")
    read = _read_by(worker.pid)
    project.write("go", "")
    wait_until(lambda: _read_by(worker.pid) > read + (1 << 20), "they write")
    wait_until(_unchanged(lambda: _read_by(worker.pid)), "nobody has room for what they write")
    jobs.cancel(cancelled)
    jobs.wait(cancelled, "cancelled")
    assert jobs.state(other) == "running"
    worker.signal(signal.SIGTERM).signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    assert jobs.state(other) == "ready"


def _unchanged(look: Callable[[], object], times: int = 25) -> Callable[[], bool]:
    """Whether what one sees was the same the last times that one looked."""
    seen: list[object] = []

    def is_unchanged() -> bool:
        seen.append(look())
        return len(seen) >= times and all(each == seen[-1] for each in seen[-times:])

    return is_unchanged


def _read_by(pid: int) -> int:
    """Bytes that a process has read until now."""
    with open(f"/proc/{pid}/io") as file:
        return int(file.readline().split()[1])


def test_a_second_signal_ends_the_waiting_for_who_does_not_read(project, jobs, unread):
    project.tasks(CHATTY)
    job = jobs.add("long")
    worker = project.start("worker", "--output", "stream", stdout=unread)
    jobs.wait(job, "done")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: not list((project.path / ".taskrun").glob("queue.db.workers/*.lock")), "it serves no more")
    worker.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)


def test_while_nobody_reads_no_more_jobs_begin_than_there_is_room_for(project, jobs):
    """Each has 100 kB to tell, and the worker keeps 4 MB."""
    project.tasks(f"[tasks.wordy]\nrun = ['true', '{'x' * 100_000}']\n")
    count = 80
    jobs.add_many(*["wordy"] * count)
    read, write = os.pipe()
    worker = project.start("worker", "--drain", "-j", "2", "--events", "-", stdout=write)
    os.close(write)

    def running() -> tuple[int, ...]:
        states = jobs.states()
        assert set(states.values()) != {"done"}, "all have run"
        return tuple(job for job, state in states.items() if state == "running")

    wait_until(running, "it has begun")
    wait_until(_unchanged(running), "no job goes on")
    assert len(running()) == 2
    with open(read, "rb") as stream:
        content = stream.read()  # somebody reads after all
    worker.finish().succeeds()
    assert set(jobs.states().values()) == {"done"}
    assert content.count(b'"event":"job.end"') == count
    assert content.splitlines()[-1].count(b'"event":"worker.end"') == 1


ENDLESS = "[tasks.endless]\nshell = ': > up; while :; do echo on; sleep 0.02; done'\n"


def test_when_its_reader_goes_away_a_worker_gives_its_jobs_back(project, jobs):
    project.tasks(ENDLESS)
    job = jobs.add("endless")
    read, write = os.pipe()
    worker = project.start("worker", "--output", "stream", stdout=write)
    os.close(write)
    wait_for_files(project, "up")
    os.close(read)
    worker.finish().dies_of(signal.SIGPIPE)
    assert (jobs.state(job), jobs.show(job).attempt) == ("ready", 0)


@pytest.mark.parametrize("options", [("--events", "/dev/full"), ("--output", "stream")])
def test_what_cannot_be_written_ends_a_worker_and_costs_no_job_an_attempt(project, jobs, options):
    project.tasks(ENDLESS)
    job = jobs.add("endless")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = project.start("worker", *options, stdout=full).finish()
    finally:
        os.close(full)
    ended.exits(125).says("cannot be written: No space left on device")
    assert (jobs.state(job), jobs.show(job).attempt) == ("ready", 0)


def test_usr1_tells_what_it_is_doing_also_while_nothing_runs(project, jobs):
    project.write("slow.py", SLOW_IMPORT)
    project.tasks(
        BEGINS_SLOWLY
        + f"[tasks.runs]\nshell = ': > runs; {WAIT_FOR_GO}'\n"
        + "[tasks.waits]\nshell = ': > waits; exit 1'\nretry = { attempts = 2, delay = '60s' }\n"
    )
    worker = project.start("worker", "-j", "3", "--events", "events")
    wait_until(lambda: (project.path / "events").exists() and project.read("events"), "it has begun")
    worker.signal(signal.SIGUSR1).wait_for("no job is running")
    running, waiting, _ = jobs.add_many("runs", "waits", "imports")
    wait_for_files(project, "runs", "waits", "begun")
    worker.wait_for("attempt 2 in").signal(signal.SIGUSR1)
    worker.wait_for(f"job {running}: runs running for ").wait_for(f"job {waiting}: waits waits, and nothing of it")
    worker.wait_for("1 job looked at before anything of it runs")
    project.write("go", "")
    jobs.cancel(waiting)
    worker.signal(signal.SIGTERM).finish().succeeds()


def test_a_trouble_is_told_once_and_when_it_comes_back(monkeypatch):
    moments = iter((0.0, 1.0, 299.0, 86_400.0, 86_400.0))
    monkeypatch.setattr(worker_module, "time", types.SimpleNamespace(monotonic=lambda: next(moments)))
    setting: Any = types.SimpleNamespace(run=types.SimpleNamespace(run_id="none"))
    worker = worker_module.QueueWorker(setting, None)
    told: list[Any] = []
    worker._facts.listen(None, [told.append])
    for _ in range(4):
        worker._tell_trouble("the queue is locked")
    worker._tell_trouble("the disk is full")
    assert [stamped.event.diagnostic.message for stamped in told] == [
        "the queue is locked",
        "the queue is locked",
        "the disk is full",
    ]


def test_signals_that_come_before_anything_has_begun_do_no_harm(monkeypatch):
    stopped: list[bool] = []
    monkeypatch.setattr(worker_module, "stop_this_process", lambda: stopped.append(True))
    setting: Any = types.SimpleNamespace(run=types.SimpleNamespace(run_id="none"))
    worker = worker_module.QueueWorker(setting, None)
    worker.cancel(signal.SIGTERM, kill=False)
    worker.cancel(signal.SIGINT, kill=False)
    worker.cancel(signal.SIGINT, kill=True)
    worker.continued()
    worker.show_status()
    worker.tell_state()
    trio.run(worker.suspend)
    assert stopped == [True]
