"""A worker's turns at the SQLite file: outcomes that are none, jobs that are many or large, and what is looked over."""

from __future__ import annotations

import contextlib
import math
import random
import sqlite3
from functools import partial

import pytest
import trio
from support.queues import SetClock, SqliteBench

from taskrun.jobqueue import sqlite_claims
from taskrun.jobqueue.values import Allowance, Cost, Done, JobState, NewJob, NoSuchJob, Retry
from taskrun.model import UsageError

PATIENCE = 30.0  # seconds; only what hangs takes so long
ONE = Allowance(slots=1)


@pytest.fixture
def bench(tmp_path):
    made = SqliteBench(str(tmp_path / "folder"), SetClock())
    yield made
    made.close()


def opened(path):
    return contextlib.closing(sqlite3.connect(path))


# --- outcomes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [math.nan, math.inf, -math.inf, 1e300])
def test_a_delay_that_is_no_time_ends_no_worker(bench, delay):
    queue, worker = bench.queue(), bench.worker()
    queue.enqueue([NewJob(task="t")])
    worker.take(1)

    assert worker.settle(1, Retry(error="x", delay=delay))
    assert queue.admin().show(1).state is (JobState.READY if delay < 0 else JobState.DELAYED)


def test_a_job_whose_carrier_says_nothing_about_it_has_failed(bench):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t", max_attempts=1)])

    async def nothing(_job, _lease):
        return None

    async def main():
        with trio.fail_after(PATIENCE):
            await queue.serve(nothing, allowance=ONE, stop=trio.Event(), drain=True)

    trio.run(main)
    record = queue.admin().show(job.id)
    assert (record.state, record.error) == (JobState.DEAD, "TypeError: a job ends with an outcome, and not with None")


def test_what_is_too_large_is_refused_and_a_result_that_is_too_large_is_a_dead_letter(bench, monkeypatch):
    for module in ("carrying", "accepting"):
        monkeypatch.setattr(f"taskrun.jobqueue.{module}.MOST_BYTES", 100)
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t")])

    async def much(_job, _lease):
        return Done(result="x" * 99)

    trio.run(partial(queue.serve, much, allowance=ONE, stop=trio.Event(), drain=True))
    record = queue.admin().show(job.id)
    assert (record.state, record.error) == (JobState.DEAD, "its result has 101 bytes, and may have 100")
    with pytest.raises(UsageError, match="have 107 bytes, and may have 100"):
        queue.enqueue([NewJob(task="t", args={"x": "y" * 99})])


def test_numbers_that_no_job_has_and_arguments_that_are_none_are_refused(bench):
    queue, admin = bench.queue(), bench.queue().admin()
    queue.enqueue([NewJob(task="t")])

    for number in (2**70, -(2**70)):
        assert admin.show(number) is None
        for change in (admin.cancel, admin.retry, lambda n: queue.enqueue([NewJob(task="t", after=n)])):
            with pytest.raises(NoSuchJob):
                change(number)
    assert len(admin.find(before=2**70, limit=2**70)) == 1
    assert admin.find(task="\ud800") == []
    with pytest.raises(UsageError, match="are a dict, not list"):
        queue.enqueue([NewJob(task="t", args=[1])])


# --- many -------------------------------------------------------------------------------------------------------------------


def test_many_jobs_whose_time_comes_at_once_are_taken_one_batch_after_the_other(bench, monkeypatch):
    monkeypatch.setattr(sqlite_claims, "_PROMOTED", 3)
    queue, done = bench.queue(), []
    ids = [stored.id for stored in queue.enqueue([NewJob(task="t", delay=10)] * 10)]
    bench.clock.now += 11

    async def main():
        stop = trio.Event()

        async def handle(job, _lease):
            done.append(job.id)
            if len(done) == len(ids):
                stop.set()
            return Done()

        with trio.fail_after(PATIENCE):
            await queue.serve(handle, allowance=Allowance(slots=5), stop=stop)

    trio.run(main)
    assert sorted(done) == ids


@pytest.mark.parametrize(
    "query",
    [
        sqlite_claims._FIRST,
        sqlite_claims._FIRST_OF_TASK,
        sqlite_claims._TASKS,
        sqlite_claims._ELSEWHERE,
        sqlite_claims._DUE,
        sqlite_claims._PROMOTE,
        sqlite_claims._HELD,
        sqlite_claims._SETTLE_HELD,
        sqlite_claims._BLOCKED_BY,
        sqlite_claims._UNBLOCK,
    ],
)
def test_no_statement_of_a_turn_looks_over_all_jobs_or_sorts_them(bench, query):
    bench.queue().enqueue([NewJob(task="t")])
    with opened(bench.path) as database:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", [1] * query.count("?"))]

    assert plan
    for step in plan:
        if "taskrun_job" in step:
            assert " USING " in step  # an index or the rowid
        assert "ORDER BY" not in step


def test_the_way_past_many_jobs_that_do_not_fit_finds_what_the_straight_way_finds(bench, monkeypatch):
    chance = random.Random(11)
    tasks = {
        "one": Cost(limits={"a": 1}),
        "two": Cost(limits={"a": 2}, slots=2),
        "both": Cost(limits={"a": 1, "b": 1}),
        "here": Cost(here={"b": 1}),
        "wide": Cost(slots=3),
        "cpu": Cost(),
    }
    queue = bench.queue()
    found = []
    names = ["cpu"] * 6 + [*tasks, "unknown"] * 2
    for _ in range(25):
        queue.enqueue([NewJob(task=chance.choice(names), priority=chance.randint(0, 9)) for _ in range(9)])
        limits = {"a": chance.randint(1, 3), "b": chance.randint(1, 2)}
        store = bench.worker(Allowance(slots=chance.randint(1, 9), tasks=tasks, limits=limits, here={"b": 1})).store
        running = chance.choices(["one", "both", "here", "cpu"], k=chance.randint(0, 2))
        with store._file.reading() as database:
            ways = []
            for skipped in (10**9, -1):
                monkeypatch.setattr(sqlite_claims, "_SKIPPED", skipped)
                ways.append([row[0] for row in store._clerk._choose(database, running, 9)])
        assert ways[0] == ways[1]
        found.append(len(ways[0]))
    assert max(found) > 2
