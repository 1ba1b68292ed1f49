"""Processes that share a queue and are killed, stopped and raced: no acknowledged job is lost, none settled twice."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
import trio
from support import queue_program
from support.mounts import mounting
from support.queues import SqliteBench
from support.started import starting

from taskrun.jobqueue.values import Allowance, Cost, Done, JobState, NewJob

PATIENCE = 60.0  # seconds; only what hangs takes so long
IS_THOROUGH = bool(os.environ.get("TORTURE_SECONDS"))
KILLS = 60 if IS_THOROUGH else 3
RACED = 8000 if IS_THOROUGH else 240


@pytest.fixture
def bench(tmp_path):
    made = SqliteBench(str(tmp_path))
    yield made
    made.close()


@pytest.fixture
def started():
    with starting(queue_program.__file__, stdin=subprocess.DEVNULL) as start:
        yield start


def until(true, what):
    end = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return answer


def said(process):
    """What it has said by its end, by the first word."""
    found = {}
    for line in process.communicate(timeout=PATIENCE)[0].splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


def whole(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kills_amid_commits_lose_nothing_that_was_acknowledged_and_settle_nothing_twice(bench, started):
    stored, done, chance = set(), Counter(), random.Random(7)
    for kill in itertools.count():
        if kill >= KILLS and done:  # on a loaded machine a few more, until some job was ever settled
            break
        assert kill < KILLS + 50
        both = [started("enqueue", bench.path), started("work", bench.path)]
        for process in both:
            assert process.stdout.readline()  # it is at it
        time.sleep(chance.uniform(0.0, 0.1))  # any moment will do
        for process in both:
            process.send_signal(signal.SIGKILL)
        # The first line of each was read above; it is not counted, only more is required of the rest.
        stored.update(map(int, said(both[0]).get("stored", ())))
        done.update(map(int, said(both[1]).get("done", ())))
        assert whole(bench.path)
    there = {record.id: record for record in bench.queue().admin().find(limit=10**6)}
    assert stored
    assert stored <= set(there)
    assert done
    assert set(done.values()) == {1}
    assert {str(there[job].state) for job in done} == {"done"}
    worker = bench.worker()
    worker.look_after_others()
    assert bench.queue().admin().stats().counts[JobState.RUNNING] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "attempts", "begun"),
    [
        ("die-after-claim", 2, 1),
        ("die-in-job", 2, 2),
        ("die-after-job", 2, 2),
        ("die-before-commit", 2, 2),
        ("die-after-commit", 1, 1),
    ],
)
def test_a_worker_that_is_killed_at_any_step_leaves_a_job_that_is_done_in_the_end(
    bench, started, step, attempts, begun
):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t")])
    killed = started("serve", bench.path, step)
    first = said(killed)
    assert killed.returncode == -signal.SIGKILL
    again = []

    async def handle(job, _lease):
        again.append(job.id)
        return Done()

    trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=1), stop=trio.Event(), drain=True))
    record = queue.admin().show(job.id)
    assert (record.state, record.attempt) == (JobState.DONE, attempts)
    assert len([*first.get("took", ()), *again]) == begun
    assert whole(bench.path)


def test_a_job_is_nobody_elses_while_a_process_of_its_dead_worker_lives(bench, started):
    first, second = bench.queue().enqueue([NewJob(task="t"), NewJob(task="limited")])
    victim = started("serve", bench.path, "child", "hold", stdin=subprocess.PIPE)
    assert victim.stdout.readline().startswith("took")
    until(lambda: children(victim.pid), "no child")
    victim.kill()
    victim.wait()
    cost = Cost(limits={"two": 2})
    other = bench.worker(Allowance(slots=9, tasks={"t": cost, "limited": cost}, limits={"two": 2}))

    assert other.look_after_others() == []
    assert other.take(9) == []  # nor is what it takes of a limit
    victim.stdin.close()  # the child reads the end of it, and ends
    assert until(other.look_after_others, "the job was never given back") == [first.id]
    for job, attempt in ((first.id, 2), (second.id, 1)):
        assert [(claim.id, claim.attempt) for claim in other.take(9)] == [(job, attempt)]
        other.settle(job, Done())


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


# --- races ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 8])
def test_workers_that_race_take_each_job_once(bench, started, workers):
    ids = [stored.id for stored in bench.queue().enqueue([NewJob(task="t")] * RACED)]
    race = started("race", bench.path, workers)
    words = said(race)

    assert race.returncode == 0
    assert sorted(words["took"]) == sorted(f"{job} 1" for job in ids)
    assert "fenced" not in words
    assert bench.queue().admin().stats().counts[JobState.DONE] == RACED


@pytest.mark.slow
def test_workers_that_race_never_take_more_of_a_limit_than_there_is(bench, started):
    ids = [stored.id for stored in bench.queue().enqueue([NewJob(task="t")] * (RACED // 2))]
    race = started("race", bench.path, 4, "limited")
    words = said(race)

    assert race.returncode == 0
    assert "over" not in words
    assert sorted(words["took"]) == sorted(f"{job} 1" for job in ids)


def test_processes_that_make_the_same_queue_in_the_same_moment_all_store_their_job(bench, started):
    race = started("race", bench.path, 8, "first")

    assert sorted(map(int, said(race)["stored"])) == list(range(1, 9))
    assert race.returncode == 0
    assert whole(bench.path)


# --- a worker that stands still ---------------------------------------------------------------------------------------


def test_a_stopped_worker_keeps_its_job_and_settles_it_when_it_goes_on(bench, started):
    queue, other = bench.queue(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="t")])
    process = started("serve", bench.path, "hold", stdin=subprocess.PIPE)
    assert process.stdout.readline().startswith("took")
    process.send_signal(signal.SIGSTOP)

    assert other.look_after_others() == []
    assert other.take(1) == []
    process.stdin.close()
    process.send_signal(signal.SIGCONT)
    assert said_rest(process) == []
    assert queue.admin().show(job.id).state is JobState.DONE


def test_a_stopped_worker_whose_job_was_taken_from_it_is_refused_when_it_goes_on(bench, started):
    queue, other = bench.queue(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="t")])
    process = started("serve", bench.path, "hold", stdin=subprocess.PIPE)
    assert process.stdout.readline().startswith("took")
    process.send_signal(signal.SIGSTOP)
    with other.store._file.writing() as database:  # as who believes it dead would do it
        owner = queue.admin().show(job.id).worker
        assert other.store._clerk.give_back_of_dead(database, owner, time.time()) == [job.id]
    assert [claim.id for claim in other.take(1)] == [job.id]
    process.stdin.close()
    process.send_signal(signal.SIGCONT)
    (line,) = said_rest(process)
    assert line.startswith(f"trouble job {job.id} is not this worker's any more")
    assert queue.admin().show(job.id).state is JobState.RUNNING
    assert other.settle(job.id, Done())


def said_rest(process):
    with contextlib.suppress(ValueError):
        process.stdin = None
    return process.communicate(timeout=PATIENCE)[0].splitlines()


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL = """
import os, random, sys, trio
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import Allowance, Cost, Done, JobState, NewJob, QueueUnwritable

queue = SqliteQueue("disk/queue.db", trouble=lambda message: told.append(message))
told = []
first, second = queue.enqueue([NewJob(task="t", max_attempts=1)] * 2)

async def handle(job, lease):
    if job.id == first.id:
        fill = os.open("disk/fill", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(fill, bytes(512)):
                pass
        except OSError:
            pass
        os.close(fill)
        try:
            while True:
                queue.enqueue([NewJob(task="never", args={"x": "y" * 100_000})])
        except QueueUnwritable as error:
            print("refused:", error)
    return Done(result="z" * 60_000)

async def make_room():
    while not told:
        await trio.sleep(0.01)
    print("told:", told[0])
    os.unlink("disk/fill")

async def main():
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_room)
            await queue.serve(handle, allowance=Allowance(slots=1, tasks={"t": Cost()}), stop=trio.Event(), drain=True)

trio.run(main)
for job in first, second:
    record = queue.admin().show(job.id)
    print(record.state, record.attempt, len(record.result))
queue.close()
"""


def test_a_full_disk_refuses_new_jobs_and_loses_no_outcome(tmp_path):
    if not mounting():
        pytest.skip("this user may not mount anything, not in a user namespace either")
    (tmp_path / "program.py").write_text(FULL)
    script = f"mkdir disk; mount -t tmpfs -o size=600k none disk; {sys.executable} program.py"
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    finished = subprocess.run(
        [*mounting(), "bash", "-euc", script], cwd=tmp_path, env=here, capture_output=True, text=True, timeout=PATIENCE
    )

    assert finished.returncode == 0, finished.stderr
    full = "the disk of the queue"
    refused, told, *jobs = finished.stdout.splitlines()
    assert (refused.startswith(f"refused: {full}"), told.startswith(f"told: {full}")) == (True, True)
    assert jobs == ["done 1 60002"] * 2
