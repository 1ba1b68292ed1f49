"""What every engine of the queue promises, also when its calls come in any order and workers die between them.

To put another one to the test, write its bench, with workers that can be led by hand, and add it to ``BENCHES``.
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from functools import partial

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.queues import BENCHES, SetClock

from taskrun.jobqueue.values import (
    Allowance,
    Cancelled,
    Cost,
    Dead,
    Done,
    Duplicate,
    JobState,
    NewJob,
    NoSuchJob,
    Recurring,
    Released,
    Retention,
    Retry,
    Stored,
)
from taskrun.model import UsageError

PATIENCE = 30.0  # seconds; only what hangs takes so long
EXAMPLES = 250 if os.environ.get("TORTURE_SECONDS") else 25
HOUR = 3600.0


@pytest.fixture(params=list(BENCHES))
def bench(request, tmp_path):
    made = BENCHES[request.param](str(tmp_path), SetClock())
    yield made
    made.close()


def states(queue, *jobs):
    return [queue.admin().show(job).state for job in jobs]


# --- storing ----------------------------------------------------------------------------------------------------------


def test_jobs_are_taken_by_priority_and_then_by_age(bench):
    queue, worker = bench.queue(), bench.worker()
    ids = [stored.id for stored in queue.enqueue([NewJob(task="t", priority=p) for p in (0, 5, 0, 5, -1)])]

    assert [claim.id for claim in worker.take(9)] == [ids[1], ids[3], ids[0], ids[2], ids[4]]


def test_a_unique_key_gives_the_same_job_until_that_one_is_settled(bench):
    queue, worker = bench.queue(), bench.worker()
    (first,) = queue.enqueue([NewJob(task="t", unique="k")])

    assert queue.enqueue([NewJob(task="other", unique="k"), NewJob(task="t")]) == [
        Duplicate(id=first.id),
        Stored(id=first.id + 1),
    ]
    worker.take(1)
    assert queue.enqueue([NewJob(task="t", unique="k")]) == [Duplicate(id=first.id)]
    worker.settle(first.id, Done())
    assert isinstance(queue.enqueue([NewJob(task="t", unique="k")])[0], Stored)


@pytest.mark.parametrize(
    "bad",
    [
        NewJob(task=""),
        NewJob(task="t", max_attempts=0),
        NewJob(task="t", delay=math.nan),
        NewJob(task="t", delay=-1),
        NewJob(task="t", at=math.inf),
        NewJob(task="t", priority=2**70),
        NewJob(task="t", args={"x": object()}),
        NewJob(task="\ud800"),
    ],
)
def test_of_jobs_one_of_which_is_not_well_formed_none_is_stored(bench, bad):
    queue = bench.queue()

    with pytest.raises(UsageError):
        queue.enqueue([NewJob(task="good"), bad])

    assert queue.admin().find() == []


@pytest.mark.parametrize("name", ["nobody", "\udcff", "a\0b", "t" * 100_000])
def test_of_a_task_that_no_job_has_none_is_found_whatever_its_name(bench, name):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    assert queue.admin().find(task=name) == []


def test_a_job_after_one_that_is_not_there_is_refused_and_nothing_is_stored(bench):
    queue = bench.queue()

    with pytest.raises(NoSuchJob):
        queue.enqueue([NewJob(task="good"), NewJob(task="t", after=99)])

    assert queue.admin().find() == []


def test_a_job_that_comes_after_another_waits_until_that_one_is_done(bench):
    queue, worker = bench.queue(), bench.worker()
    (first,) = queue.enqueue([NewJob(task="t", max_attempts=1)])
    (second,) = queue.enqueue([NewJob(task="t", after=first.id)])
    (third,) = queue.enqueue([NewJob(task="t", after=second.id)])

    assert [claim.id for claim in worker.take(9)] == [first.id]
    worker.settle(first.id, Retry(error="broken"))
    assert states(queue, first.id, second.id, third.id) == ["dead", "blocked", "blocked"]
    assert queue.admin().show(second.id).why == f"comes after job {first.id}, which is dead"
    queue.admin().retry(first.id)
    worker.take(1)
    worker.settle(first.id, Done())
    assert [claim.id for claim in worker.take(9)] == [second.id]
    queue.admin().cancel(second.id)
    worker.settle(second.id, Cancelled())
    assert states(queue, second.id, third.id) == ["cancelled", "cancelled"]


def test_what_would_come_after_a_cancelled_job_is_cancelled_to_the_last(bench):
    queue = bench.queue()
    chain = [queue.enqueue([NewJob(task="t")])[0].id]
    for _ in range(3):
        chain.append(queue.enqueue([NewJob(task="t", after=chain[-1])])[0].id)
    queue.admin().cancel(chain[0])

    assert states(queue, *chain) == ["cancelled"] * 4
    with pytest.raises(UsageError, match="which is cancelled"):
        queue.enqueue([NewJob(task="t", after=chain[0])])


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_a_job_whose_worker_dies_each_time_is_dead_with_its_bytes_after_its_last_attempt(bench):
    queue, other = bench.queue(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="poison", args={"a": [1, "é"]}, max_attempts=2)])

    for attempt in (1, 2):
        victim = bench.worker()
        assert [claim.attempt for claim in victim.take(1)] == [attempt]
        victim.crash()
        assert other.look_after_others() == [job.id]

    record = queue.admin().show(job.id)
    assert (record.state, record.attempt, record.payload) == (JobState.DEAD, 2, '{"a":[1,"é"]}'.encode())
    assert record.error == "the worker ended during attempt 2 of 2"


def test_what_a_worker_says_about_a_job_that_is_not_its_own_any_more_counts_for_nothing(bench):
    queue, other, zombie = bench.queue(), bench.worker(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="t")])
    (claim,) = zombie.take(1)
    zombie.crash()
    other.look_after_others()

    assert not zombie.settle(job.id, Done())
    assert states(queue, job.id) == ["ready"]
    assert [claim.id for claim in other.take(1)] == [job.id]
    zombie.held[job.id] = claim
    assert not zombie.settle(job.id, Done())
    assert states(queue, job.id) == ["running"]
    assert other.settle(job.id, Dead(error="mine"))
    assert states(queue, job.id) == ["dead"]


def test_a_job_that_is_given_back_keeps_its_attempts_and_an_older_claim_of_it_is_void(bench):
    queue, worker = bench.queue(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="t")])
    (old,) = worker.take(1)
    worker.settle(job.id, Released())
    (new,) = worker.take(1)

    assert (old.attempt, new.attempt) == (1, 1)
    worker.held[job.id] = old
    assert not worker.settle(job.id, Done())
    worker.held[job.id] = new
    assert worker.settle(job.id, Done())


def test_a_worker_takes_only_tasks_that_it_knows(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="new"), NewJob(task="old"), NewJob(task="new")])
    worker = bench.worker(Allowance(slots=9, tasks={"old": Cost(), "other": Cost()}))

    assert [claim.task for claim in worker.take(9)] == ["old"]
    assert worker.take(9) == []


# --- what a job costs -------------------------------------------------------------------------------------------------

GPU = Allowance(
    slots=3,
    tasks={
        "cpu": Cost(),
        "wide": Cost(slots=3),
        "one": Cost(limits={"gpu": 1}),
        "both": Cost(limits={"gpu": 2}),
        "pool": Cost(here={"pool": 1}),
    },
    limits={"gpu": 2},
    here={"pool": 1},
)


def put(queue, *tasks):
    return [stored.id for stored in queue.enqueue([NewJob(task=task) for task in tasks])]


def took(worker, count=9):
    return [claim.id for claim in worker.take(count)]


def test_a_limit_is_shared_by_all_workers_and_free_again_when_one_settles_a_job(bench):
    if not bench.shares_limits:
        pytest.skip("its limits are each worker's own")
    queue, one, other = bench.queue(), bench.worker(GPU), bench.worker(GPU)
    ids = put(queue, "one", "one", "one", "one")

    assert took(one, 1) == ids[:1]
    assert took(other) == ids[1:2]
    assert (took(one), took(other)) == ([], [])
    other.settle(ids[1], Done())
    assert took(one) == ids[2:3]


def test_the_limit_of_a_worker_that_died_is_free_when_its_jobs_are_given_back(bench):
    if not bench.shares_limits:
        pytest.skip("its limits are each worker's own")
    queue, one, other = bench.queue(), bench.worker(GPU), bench.worker(GPU)
    first, second = put(queue, "both", "both")
    one.take(1)
    one.crash()

    assert took(other) == []
    assert other.look_after_others() == [first]
    assert took(other) == [first]
    other.settle(first, Done())
    assert took(other) == [second]


def test_what_a_worker_alone_has_is_not_taken_by_others(bench):
    queue, one, other = bench.queue(), bench.worker(GPU), bench.worker(GPU)
    ids = put(queue, "pool", "pool", "pool")

    assert (took(one), took(other), took(one)) == (ids[:1], ids[1:2], [])
    one.settle(ids[0], Done())
    assert took(one) == ids[2:]


def test_a_limit_that_is_full_holds_up_no_other_task_and_one_that_needs_more_of_it_is_not_overtaken(bench):
    queue, worker = bench.queue(), bench.worker(GPU)
    first, both, narrow, cpu = put(queue, "one", "both", "one", "cpu")

    assert took(worker) == [first, cpu]
    worker.settle(cpu, Done())
    assert took(worker) == []  # not the narrow one, which would fit
    worker.settle(first, Done())
    assert took(worker) == [both]
    worker.settle(both, Done())
    assert took(worker) == [narrow]


def test_a_job_that_lacks_slots_alone_is_overtaken_by_none(bench):
    queue, worker = bench.queue(), bench.worker(GPU)
    cpu, wide, later = put(queue, "cpu", "wide", "cpu")

    assert took(worker) == [cpu]
    worker.settle(cpu, Done())
    assert took(worker) == [wide]
    worker.settle(wide, Done())
    assert took(worker) == [later]


def test_behind_many_jobs_that_do_not_fit_the_others_are_found_in_their_order(bench):
    queue, worker = bench.queue(), bench.worker(GPU)
    put(queue, *["one", "unknown"] * 100)
    low, mid = put(queue, "cpu", "pool")
    high = queue.enqueue([NewJob(task="cpu", priority=-1)])[0].id
    both = put(queue, "both")
    assert len(took(worker, 2)) == 2  # the limit is full

    assert took(worker, 1) == [low]
    worker.settle(low, Done())
    assert took(worker, 1) == [mid]
    worker.settle(mid, Done())
    assert took(worker, 9) == [high]
    assert states(queue, *both) == ["ready"]


def test_a_cost_beyond_what_there_is_takes_all_there_is_and_one_of_an_unknown_limit_is_refused(bench):
    queue = bench.queue()
    much = Cost(slots=99, limits={"gpu": 99})
    worker = bench.worker(Allowance(slots=2, tasks={"much": much, "cpu": Cost()}, limits={"gpu": 1}))
    much, cpu = put(queue, "much", "cpu")

    assert took(worker) == [much]
    worker.settle(much, Done())
    assert took(worker) == [cpu]
    with pytest.raises(UsageError, match="'much' takes of the limit 'gpu', which this worker does not know"):
        trio.run(partial(served, queue, None, Allowance(slots=2, tasks={"much": Cost(limits={"gpu": 1})})))
    with pytest.raises(UsageError, match="at least one slot"):
        trio.run(partial(served, queue, None, Allowance(slots=0)))


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_by_an_hour_takes_no_job_from_its_worker_and_holds_up_none_that_is_ready(bench):
    queue, worker, other = bench.queue(), bench.worker(), bench.worker()
    running, ready = queue.enqueue([NewJob(task="t"), NewJob(task="t")])
    worker.take(1)
    for step in (HOUR, -2 * HOUR):
        bench.clock.now += step
        assert other.look_after_others() == []
    assert states(queue, running.id, ready.id) == ["running", "ready"]
    assert [claim.id for claim in other.take(9)] == [ready.id]
    assert worker.settle(running.id, Done())


def test_a_delayed_job_is_taken_when_its_time_has_come_by_the_clock_of_the_wall(bench):
    queue, worker = bench.queue(), bench.worker()
    delay, at = queue.enqueue([NewJob(task="t", delay=60), NewJob(task="t", at=bench.clock.now + HOUR)])

    assert worker.take(9) == []
    bench.clock.now += 61
    assert [claim.id for claim in worker.take(9)] == [delay.id]
    bench.clock.now += HOUR
    assert [claim.id for claim in worker.take(9)] == [at.id]


def test_what_was_settled_long_enough_ago_is_forgotten_and_so_is_what_waits_for_it(bench):
    queue, worker = bench.queue(), bench.worker()
    done, dead, waits = (queue.enqueue([NewJob(task="t")])[0].id for _ in range(3))
    (blocked,) = queue.enqueue([NewJob(task="t", after=dead)])
    worker.take(2)
    worker.settle(done, Done())
    worker.settle(dead, Dead(error="x"))
    bench.clock.now += 100

    assert queue.admin().prune(Retention(done=101, dead=101)) == 0
    assert queue.admin().prune(Retention(done=99, dead=101)) == 1
    assert queue.admin().prune(Retention(done=99, dead=99)) == 1
    assert [record.id for record in queue.admin().find()] == [blocked.id, waits]
    assert queue.admin().show(blocked.id).why == f"job {dead}, after which it was to come, is dead and forgotten"


def test_jobs_are_found_by_state_task_and_page_and_counted(bench):
    queue, worker = bench.queue(), bench.worker()
    ids = [stored.id for stored in queue.enqueue([NewJob(task=task) for task in "abab"])]
    queue.enqueue([NewJob(task="c", delay=60)])
    worker.take(1)
    bench.clock.now += 10
    admin = queue.admin()

    assert [record.id for record in admin.find(task="b")] == [ids[3], ids[1]]
    assert [record.id for record in admin.find(states=[JobState.RUNNING])] == [ids[0]]
    assert [record.id for record in admin.find(before=ids[2], limit=1)] == [ids[1]]
    stats = admin.stats()
    assert (stats.counts[JobState.READY], stats.counts[JobState.RUNNING], stats.counts[JobState.DEAD]) == (3, 1, 0)
    assert (stats.oldest_ready, stats.next_due, stats.workers) == (10.0, 50.0, 1)


# --- serving ----------------------------------------------------------------------------------------------------------


async def served(queue, handle, allowance=Allowance(slots=2)):  # noqa: B008 - frozen
    with trio.fail_after(PATIENCE):
        await queue.serve(handle, allowance=allowance, stop=trio.Event(), drain=True)


@pytest.fixture(params=list(BENCHES))
def real(request, tmp_path):
    """A bench whose clock goes on."""
    made = BENCHES[request.param](str(tmp_path))
    yield made
    made.close()


def test_the_run_that_carried_out_the_last_attempt_is_known(bench):
    queue, worker, other = bench.queue(), bench.worker(), bench.worker()
    (job,) = put(queue, "t")

    def run():
        return queue.admin().show(job).run

    worker.take()
    assert run() is None
    worker.settle(job, Retry(error="x", delay=0, run="one"))
    assert run() == "one"
    worker.take()
    worker.settle(job, Released())
    assert run() == "one"
    worker.take()
    worker.crash()
    other.look_after_others()
    assert run() is None  # nobody has said so
    for outcome in (Dead(error="x", run="two"), Cancelled(run="three"), Done(run="four")):
        other.take()
        other.settle(job, outcome)
        assert run() == outcome.run
        if not isinstance(outcome, Done):
            queue.admin().retry(job)


def test_outcomes_of_the_one_who_carries_jobs_out_are_what_the_queue_says_afterwards(real):
    queue = real.queue()

    async def handle(job, _lease):
        assert job.args == {"n": job.task}
        match job.task:
            case "done":
                return Done(result={"n": 1})
            case "again":
                return Retry(error=f"attempt {job.attempt}", delay=0)
            case "raises":
                raise ValueError("no")
            case "odd":
                return Done(result=object())
        return Dead(error="hopeless")

    tasks = ["done", "again", "raises", "odd", "dead"]
    queue.enqueue([NewJob(task=task, args={"n": task}, max_attempts=2 if task == "again" else 1) for task in tasks])
    trio.run(served, queue, handle)

    records = {record.task: record for record in queue.admin().find()}
    assert {task: str(records[task].state) for task in tasks} == dict.fromkeys(tasks, "dead") | {"done": "done"}
    assert records["done"].result == b'{"n":1}'
    assert (records["again"].attempt, records["again"].error) == (2, "attempt 2")
    assert records["raises"].error == "ValueError: no"
    assert "JSON" in records["odd"].error


def test_a_running_job_is_told_that_it_was_cancelled(real):
    queue = real.queue()
    (job,) = queue.enqueue([NewJob(task="long")])

    async def handle(job, lease):
        assert queue.admin().cancel(job.id) is JobState.RUNNING
        await lease.cancelled.wait()
        return Cancelled(error="stopped")

    trio.run(served, queue, handle)

    record = queue.admin().show(job.id)
    assert (record.state, record.error, record.cancelling) == (JobState.CANCELLED, "stopped", False)


def test_a_worker_that_is_stopped_takes_nothing_new_and_finishes_what_runs(real):
    queue, stop = real.queue(), trio.Event()
    first, second = queue.enqueue([NewJob(task="t"), NewJob(task="t")])

    async def handle(_job, _lease):
        stop.set()
        await trio.sleep(0.05)
        return Done()

    async def main():
        with trio.fail_after(PATIENCE):
            await queue.serve(handle, allowance=Allowance(slots=1), stop=stop)

    trio.run(main)
    assert states(queue, first.id, second.id) == ["done", "ready"]


def test_a_worker_that_is_cancelled_gives_its_jobs_back(real):
    queue = real.queue()
    (job,) = queue.enqueue([NewJob(task="t")])

    async def main():
        with trio.CancelScope() as scope:

            async def handle(_job, _lease):
                scope.cancel()
                await trio.sleep_forever()

            await queue.serve(handle, allowance=Allowance(slots=1), stop=trio.Event())

    trio.run(main)
    record = queue.admin().show(job.id)
    assert (record.state, record.attempt) == (JobState.READY, 0)


def test_an_idle_worker_is_woken_and_needs_no_look_of_its_own(real, monkeypatch):
    real.look_every(monkeypatch, 10 * PATIENCE)
    queue, seen = real.queue(), []

    async def main():
        send, receive = trio.open_memory_channel[int](9)
        stop = trio.Event()

        async def handle(job, _lease):
            await send.send(job.id)
            return Done()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(queue.serve, handle, allowance=Allowance(slots=1), stop=stop))
                await trio.testing.wait_all_tasks_blocked(0.05)
                for delay in (0, 0.05, 0):
                    (job,) = queue.enqueue([NewJob(task="t", delay=delay)])
                    seen.append(await receive.receive() == job.id)
                stop.set()

    trio.run(main)
    assert seen == [True] * 3


def test_a_wake_that_is_lost_and_a_clock_that_is_set_are_noticed_by_looking(bench, monkeypatch):
    bench.look_every(monkeypatch, 0.1)
    bench.lose_wakes(monkeypatch)
    queue, stop = bench.queue(), trio.Event()

    async def main():
        send, receive = trio.open_memory_channel[int](9)

        async def handle(job, _lease):
            await send.send(job.id)
            return Done()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(queue.serve, handle, allowance=Allowance(slots=1), stop=stop))
                await trio.testing.wait_all_tasks_blocked(0.01)
                later, now = queue.enqueue([NewJob(task="t", delay=HOUR), NewJob(task="t")])
                assert await receive.receive() == now.id
                await trio.testing.wait_all_tasks_blocked(0.01)
                bench.clock.now += HOUR + 1
                assert await receive.receive() == later.id
                stop.set()

        assert states(queue, later.id, now.id) == ["done", "done"]

    trio.run(main)


@pytest.mark.parametrize("freed_by", ["settling", "retrying", "unblocking"])
def test_a_worker_that_waits_for_what_another_one_frees_or_offers_is_woken_by_it(real, monkeypatch, freed_by):
    if freed_by == "settling" and not real.shares_limits:
        pytest.skip("its limits are each worker's own")
    real.look_every(monkeypatch, 10 * PATIENCE)
    queue = real.queue()
    (first,) = put(queue, "both" if freed_by == "settling" else "cpu")
    match freed_by:
        case "settling":
            put(queue, "one")
        case "unblocking":
            queue.enqueue([NewJob(task="cpu", after=first)])

    async def main():
        stop, began, may_end, seen = trio.Event(), trio.Event(), trio.Event(), []

        async def work(name, **keys):
            async def handle(job, _lease):
                seen.append((name, job.task))
                if len(seen) == 2:
                    stop.set()
                    return Done()
                began.set()
                await may_end.wait()
                keys["stop"].set()  # it ends, so that only the other one can take what is offered now
                return Retry(error="x", delay=0.01) if freed_by == "retrying" else Done()

            await queue.serve(handle, allowance=GPU, **keys)

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(work, "first", stop=trio.Event()))
                await began.wait()
                nursery.start_soon(partial(work, "other", stop=stop))
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert len(seen) == 1
                may_end.set()
        return seen

    first, then = ("both", "one") if freed_by == "settling" else ("cpu", "cpu")
    assert trio.run(main) == [("first", first), ("other", then)]


def test_who_takes_a_job_that_needs_several_slots_wakes_those_that_stood_behind_it_without_them(real, monkeypatch):
    if not real.shares_limits:
        pytest.skip("its workers look by themselves")
    real.look_every(monkeypatch, 10 * PATIENCE)
    queue, seen = real.queue(), []
    put(queue, "cpu")

    async def main():
        stop, again = trio.Event(), trio.Event()

        async def handle(job, _lease):
            seen.append(job.task)
            if len(seen) == 3:
                stop.set()
            await (stop if len(seen) > 1 or job.task == "wide" else again).wait()
            return Done()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                serve = partial(queue.serve, handle, stop=stop)
                nursery.start_soon(
                    partial(serve, allowance=Allowance(slots=2, tasks=GPU.tasks, limits={"gpu": 2}, here={"pool": 1}))
                )
                await trio.testing.wait_all_tasks_blocked(0.05)
                put(queue, "wide", "cpu")
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert seen == ["cpu"]
                nursery.start_soon(partial(serve, allowance=GPU))
                await stop.wait()
                again.set()

    trio.run(main)
    assert seen == ["cpu", "wide", "cpu"]


def test_a_worker_that_drains_waits_for_a_limit_that_another_one_has(real):
    if not real.shares_limits:
        pytest.skip("its limits are each worker's own")
    queue, other, seen = real.queue(), real.worker(GPU), []
    first, second = put(queue, "both", "both")
    other.take(1)

    async def handle(job, _lease):
        seen.append(job.id)
        return Done()

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served, queue, handle, GPU)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert seen == []
            other.settle(first, Done())

    trio.run(main)
    assert seen == [second]


# --- recurring --------------------------------------------------------------------------------------------------------


def minutely(now):
    return now // 60 * 60


def drained(queue, recurring):
    """Tasks of the jobs that a worker finds and does."""
    seen = []

    async def handle(job, _lease):
        seen.append((job.task, job.args))
        return Done()

    async def main():
        with trio.fail_after(PATIENCE):
            await queue.serve(handle, allowance=Allowance(slots=2), stop=trio.Event(), drain=True, recurring=recurring)

    trio.run(main)
    return seen


def test_of_a_recurring_task_one_job_is_stored_for_each_moment_and_of_missed_ones_for_the_last(bench):
    queue, recurring = bench.queue(), [Recurring(task="r", latest=minutely)]

    assert drained(queue, recurring) == []  # it is seen for the first time
    bench.clock.now += 60
    assert drained(queue, recurring) == [("r", {})]
    assert drained(queue, recurring) == []
    bench.clock.now += 300
    assert drained(queue, recurring) == [("r", {})]
    assert drained(queue, recurring) == []
    queue.enqueue([NewJob(task="r", unique="recurring r", delay=90)])  # as one that waits for its next attempt
    bench.clock.now += 60
    assert drained(queue, recurring) == []
    bench.clock.now += 60
    assert drained(queue, recurring) == [("r", {})]
    assert drained(queue, recurring) == []


def test_a_clock_that_is_set_back_repeats_no_moment_unless_it_was_wrong_by_hours(bench):
    queue, recurring = bench.queue(), [Recurring(task="r", latest=minutely)]
    drained(queue, recurring)
    bench.clock.now += HOUR
    assert drained(queue, recurring) == [("r", {})]
    bench.clock.now -= HOUR - 60
    assert drained(queue, recurring) == []
    bench.clock.now += HOUR
    assert drained(queue, recurring) == [("r", {})]

    bench.clock.now += 24 * HOUR
    assert drained(queue, recurring) == [("r", {})]
    bench.clock.now -= 24 * HOUR
    assert drained(queue, recurring) == []
    bench.clock.now += 60
    assert drained(queue, recurring) == [("r", {})]


def test_workers_that_look_at_the_same_moments_store_one_job_for_each(bench, monkeypatch):
    bench.look_every(monkeypatch, 0.01)
    queue, seen = bench.queue(), []
    drained(queue, [Recurring(task="r", latest=minutely)])  # it is seen for the first time

    async def main():
        stop = trio.Event()
        send, receive = trio.open_memory_channel[str](99)

        async def handle(job, _lease):
            await send.send(job.task)
            return Done()

        def never(_now):
            raise ValueError("no such day")

        recurring = [Recurring(task="never", latest=never), Recurring(task="r", latest=minutely)]
        serve = partial(queue.serve, handle, allowance=Allowance(slots=2), stop=stop, recurring=recurring)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(serve)
                for _ in range(5):
                    bench.clock.now += 60
                    seen.append(await receive.receive())
                    while queue.admin().find(states=[JobState.RUNNING]):  # noqa: ASYNC110 - others settle it
                        await trio.sleep(0.01)
                    await trio.sleep(0.03)  # in which another one might store it again
                stop.set()
        send.close()
        seen.extend([task async for task in receive])

    trio.run(main)
    assert seen == ["r"] * 5
    assert len(queue.admin().find()) == 5
    assert (
        sorted(bench.troubles)
        == ["when never recurs cannot be told, and it does not any more: ValueError('no such day')"] * 3
    )


# --- any order --------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """A job, as simple as it can be."""

    task: str
    priority: int
    unique: str | None
    most: int
    after: int | None
    due: float
    state: str = "ready"
    attempt: int = 0
    worker: int | None = None
    cancelling: bool = False

    @property
    def open(self):
        return self.state not in {"done", "dead", "cancelled"}


class Interleavings(RuleBasedStateMachine):
    """Calls of a queue in any order, beside a model of it."""

    bench_of = None

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.bench = type(self).bench_of(self.folder.name, SetClock())
        self.queue = self.bench.queue()
        self.jobs: dict[int, Model] = {}
        self.workers = [self.bench.worker(GPU), self.bench.worker(GPU)]

    def teardown(self):
        self.bench.close()
        self.folder.cleanup()

    def pick(self, chosen, among):
        return among[chosen % len(among)]

    @rule(
        task=st.sampled_from([*GPU.tasks, "unknown"]),
        priority=st.integers(0, 2),
        unique=st.sampled_from([None, None, "a", "b"]),
        most=st.integers(1, 3),
        delay=st.sampled_from([0, 0, 10]),
        after=st.none() | st.integers(0, 50),
    )
    def enqueue(self, *, task, priority, unique, most, delay, after):
        after = self.pick(after, list(self.jobs)) if after is not None and self.jobs else None
        new = NewJob(task=task, priority=priority, unique=unique, max_attempts=most, delay=delay, after=after)
        same = [job for job, model in self.jobs.items() if unique and model.open and model.unique == unique]
        if not same and after and self.jobs[after].state == "cancelled":
            with pytest.raises(UsageError):
                self.queue.enqueue([new])
            return
        (answer,) = self.queue.enqueue([new])
        if same:
            assert answer == Duplicate(id=same[0])
            return
        assert isinstance(answer, Stored)
        model = Model(task, priority, unique, most, after, self.bench.clock.now + delay)
        model.state = "delayed" if delay else "ready"
        if after and self.jobs[after].state != "done":
            model.state = "blocked"
        self.jobs[answer.id] = model

    @rule(seconds=st.sampled_from([1, 11, -3600, 3600]))
    def set_clock(self, seconds):
        self.bench.clock.now += seconds

    @rule(who=st.integers(0, 1), count=st.integers(1, 3))
    def take(self, who, count):
        for model in self.jobs.values():
            if model.state == "delayed" and model.due <= self.bench.clock.now:
                model.state = "ready"
        claims = self.workers[who].take(count)
        ready = sorted((-model.priority, job) for job, model in self.jobs.items() if model.state == "ready")
        expected, passed_over = [], set()
        for _, job in ready:
            if len(expected) == count or self.free(who, "slots") < 1:
                break
            model = self.jobs[job]
            needs = {"gpu": {"one": 1, "both": 2}.get(model.task, 0), "pool": int(model.task == "pool")}
            lacks = {
                name for name, much in needs.items() if much > (0 if name in passed_over else self.free(who, name))
            }
            passed_over |= lacks
            if lacks or model.task == "unknown":
                continue
            if model.task == "wide" and self.free(who, "slots") < 3:
                break
            expected.append(job)
            model.attempt += 1
            model.state, model.worker = "running", who
        assert [(claim.id, claim.attempt) for claim in claims] == [(job, self.jobs[job].attempt) for job in expected]
        assert all(model.attempt <= model.most for model in self.jobs.values())

    def free(self, who, name):
        """Of a worker's slots or pool, or of the limit of all of them, where the engine shares limits."""
        running = [model for model in self.jobs.values() if model.state == "running"]
        here = [model.task for model in running if model.worker == who]
        match name:
            case "slots":
                return 3 - sum(3 if task == "wide" else 1 for task in here)
            case "pool":
                return 1 - here.count("pool")
        limited = [model.task for model in running] if self.bench.shares_limits else here
        return 2 - sum({"one": 1, "both": 2}.get(task, 0) for task in limited)

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(
        chosen=st.integers(0, 50),
        outcome=st.sampled_from(
            [
                Done(),
                Done(),
                Retry(error="r", delay=0),
                Retry(error="r", delay=10),
                Dead(error="d"),
                Cancelled(),
                Released(),
            ]
        ),
    )
    def settle(self, chosen, outcome):
        who, job = self.pick(chosen, [(n, job) for n, worker in enumerate(self.workers) for job in worker.held])
        assert self.workers[who].settle(job, outcome)
        self.end(job, outcome)

    @rule(who=st.integers(0, 1), late=st.booleans())
    def crash(self, who, late):
        """Its jobs are the other one's to give back; what it says later counts for nothing."""
        victim, other = self.workers[who], self.workers[1 - who]
        victim.crash()
        assert sorted(other.look_after_others()) == sorted(victim.held)
        for job in victim.held:
            self.end(job, Retry(error="crash", delay=0))
        for job in list(victim.held) if late else ():
            assert not victim.settle(job, Done())
        self.workers[who] = self.bench.worker(GPU)

    @precondition(lambda self: self.jobs)
    @rule(chosen=st.integers(0, 50))
    def cancel(self, chosen):
        job = self.pick(chosen, list(self.jobs))
        model = self.jobs[job]
        self.queue.admin().cancel(job)
        if model.state == "running":
            model.cancelling = True
            assert job in self.workers[model.worker].asked_to_stop()
        elif model.open:
            self.ended(job, "cancelled")

    @precondition(lambda self: self.jobs)
    @rule(chosen=st.integers(0, 50))
    def retry(self, chosen):
        job = self.pick(chosen, list(self.jobs))
        model = self.jobs[job]
        taken = any(m.open and model.unique and m.unique == model.unique for m in self.jobs.values())
        if model.state not in {"dead", "cancelled"} or taken:
            with pytest.raises(UsageError):
                self.queue.admin().retry(job)
            return
        self.queue.admin().retry(job)
        model.state = "blocked" if model.after and self.jobs[model.after].state != "done" else "ready"
        model.attempt, model.due = 0, self.bench.clock.now

    def end(self, job, outcome):
        model = self.jobs[job]
        match outcome:
            case Done():
                self.ended(job, "done")
            case Dead():
                self.ended(job, "dead")
            case Cancelled():
                self.ended(job, "cancelled")
            case _ if model.cancelling:
                self.ended(job, "cancelled")
            case Retry() if model.attempt >= model.most:
                self.ended(job, "dead")
            case Retry(delay=delay):
                model.state, model.due = ("delayed" if delay else "ready"), self.bench.clock.now + delay
            case Released():
                model.state = "ready"
                model.attempt -= 1
        model.worker, model.cancelling = None, False

    def ended(self, job, state):
        self.jobs[job].state = state
        for other, model in self.jobs.items():
            if model.after == job and model.state == "blocked":
                if state == "done":
                    model.state = "delayed" if model.due > self.bench.clock.now else "ready"
                elif state == "cancelled":
                    self.ended(other, "cancelled")

    @invariant()
    def queue_and_model_agree(self):
        there = {record.id: record for record in self.queue.admin().find(limit=1000)}
        assert {job: (str(r.state), r.attempt, r.cancelling) for job, r in there.items()} == {
            job: (model.state, model.attempt, model.cancelling) for job, model in self.jobs.items()
        }


@pytest.mark.parametrize("name", list(BENCHES))
def test_calls_in_any_order_leave_what_a_simple_model_says(name, tmp_path):
    BENCHES[name](str(tmp_path)).close()  # skips where there can be none
    machine = type("Machine", (Interleavings,), {"bench_of": BENCHES[name]})

    run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None))
