"""How many workers there are: recycled when worn, let go when idle, standing by as spares; and what is told of it."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from support.duties import Count, Die, Echo, Grow, Raise, Resist, Wait, WhoAreYou
from support.pools import Sent, gone, run, touch, until, workers_of

from taskrun.workers import HandlerFailed, RequestTimedOut, Statistics, WorkerCrashed


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_worker_is_replaced_after_so_many_requests(prefetch):
    async def test(pool):
        counts = [done.result async for done in pool.map([Count()] * 10)]
        assert sorted(counts) == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        await until(lambda: pool.statistics.workers == 1)
        assert pool.statistics.recycled == 3
        assert pool.statistics.crashes == 0

    run(test, max_requests=3, prefetch=prefetch)


def test_one_request_per_worker():
    async def test(pool):
        assert [done.result async for done in pool.map([Count()] * 5)] == [1] * 5

    run(test, max_requests=1, size=2)


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_worker_that_has_grown_too_large_is_replaced(prefetch):
    async def test(pool):
        async def grow(mebibytes):
            before = pool.statistics.recycled
            worker = await pool.send(Grow(mebibytes))
            if mebibytes > 100:
                await until(lambda: pool.statistics.recycled > before)
            return worker

        small = await grow(1)
        assert await grow(1) == small
        large = await grow(300)
        assert large == small
        assert await pool.send(WhoAreYou()) != large
        assert pool.statistics.recycled == 1

    run(test, max_memory=200 << 20, prefetch=prefetch)


def test_each_worker_that_has_grown_too_large_is_replaced():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.send, Grow(300))
        await until(lambda: pool.statistics.recycled >= 2)
        await workers_of(pool, 3)
        assert await pool.send(Echo("small again")) == "small again"

    run(test, size=3, max_memory=200 << 20)


def test_idle_workers_are_let_go_but_for_one_and_come_back(tmp_path):
    async def test(pool):
        await workers_of(pool, 3)
        await until(lambda: pool.statistics.workers == 1)
        assert pool.statistics.recycled == 2
        assert await pool.send(Echo("the last one")) == "the last one"
        async with trio.open_nursery() as nursery:
            sent = [Sent(pool, Wait(str(tmp_path / "go"), number), nursery) for number in range(3)]
            assert len({await each.begun() for each in sent}) == 3
            touch(tmp_path / "go")
        await until(lambda: pool.statistics.workers == 1)

    run(test, size=3, idle_timeout=0.1)


def test_a_spare_takes_the_place_of_the_dead(tmp_path):
    async def test(pool):
        await until(lambda: pool.statistics.started == 2 and not pool.statistics.starting)
        with pytest.raises(WorkerCrashed):
            await pool.send(Die())
        assert pool.statistics.workers == 1  # at once: nobody had to be waited for
        assert await pool.send(Echo("spare")) == "spare"
        await until(lambda: not pool.statistics.starting)
        assert pool.statistics.started == 3

    run(test, spares=1)


def test_a_spare_that_dies_is_replaced():
    async def test(pool):
        await until(lambda: not pool.statistics.starting)
        spare = pool._staff._spares[0].process.pid
        os.kill(spare, signal.SIGKILL)
        await until(lambda: pool.statistics.started == 3 and not pool.statistics.starting)
        assert pool.statistics.workers == 1
        assert await pool.send(WhoAreYou()) != spare

    run(test, spares=1)


def test_open_worker_keeps_its_state_from_request_to_request():
    from support.duties import TARGET
    from support.pools import bounded

    from taskrun.workers import open_worker

    async def test():
        async with open_worker(TARGET) as worker:
            assert [await worker.send(Count()) for _ in range(3)] == [1, 2, 3]

    bounded(test)


def test_a_pool_has_as_many_workers_as_cpus():
    async def test(pool):
        await workers_of(pool, len(os.sched_getaffinity(0)))

    run(test, size=None)


def test_statistics_tell_what_has_become_of_requests_and_workers(tmp_path):
    async def test(pool):
        await workers_of(pool, 2)
        assert pool.statistics == Statistics(
            workers=2, busy=0, starting=0, queued=0, completed=0, failed=0, timed_out=0, crashed=0, started=2, crashes=0,
            recycled=0,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            first, second = (Sent(pool, Wait(str(tmp_path / "go"), number), nursery) for number in range(2))
            await first.begun()
            await second.begun()
            third = Sent(pool, Echo(), nursery)
            await until(lambda: pool.statistics.queued)
            assert (pool.statistics.busy, pool.statistics.queued) == (2, 1)
            touch(tmp_path / "go")
        assert third.result == ""
        with pytest.raises(HandlerFailed):
            await pool.send(Raise("ValueError"))
        with pytest.raises(WorkerCrashed):
            await pool.send(Die())
        with pytest.raises(RequestTimedOut):
            await pool.send(Resist(), timeout=0.1)
        await until(lambda: not pool.statistics.starting)
        assert pool.statistics == Statistics(
            workers=2, busy=0, starting=0, queued=0, completed=3, failed=1, timed_out=1, crashed=1, started=4, crashes=1,
            recycled=0,
        )  # fmt: skip

    run(test, size=2)


def test_workers_have_the_environment_and_the_folder_that_they_are_given(monkeypatch, tmp_path):
    (tmp_path / "places.py").write_text(
        """
import os
from dataclasses import dataclass
from taskrun.workers import Handlers, Request
from support.duties import Echo
handlers = Handlers()
@handlers.on(Echo)
def echo(request):
    return f"{os.getcwd()} {os.environ.get('COLOUR_OF_THE_SKY')} {'HOME' in os.environ}"
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        assert await pool.send(Echo()) == f"{tmp_path} blue False"

    run(test, "places:handlers", cwd=str(tmp_path), env={"COLOUR_OF_THE_SKY": "blue"})


def test_a_worker_that_is_stopped_is_ended_all_the_same():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            sent = Sent(pool, Resist(), nursery)
            worker = gone(await sent.begun())
            os.kill(sent.pid, signal.SIGSTOP)
            sent.scope.cancel()
        worker.assert_gone()
        assert await pool.send(Echo("on")) == "on"

    run(test)
