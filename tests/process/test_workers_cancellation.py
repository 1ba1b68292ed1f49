"""Cancelled anywhere: `send`, `map` and `close` end their work, nothing hangs, and the pool goes on."""

from __future__ import annotations

import pytest
import trio
from support.duties import TARGET, Count, Echo, Resist, Wait, WhoAreYou
from support.pools import Sent, bounded, gone, run, until

from taskrun.workers import PoolClosed, open_pool

STEPS = 25  # turns of the loop, more than a small request takes


async def cancel_after(turns, scope):
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def cancelled_after(turns, what, *arguments):
    """Whether it was cancelled, and not over before."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_after, turns, scope)
            await what(*arguments)
            nursery.cancel_scope.cancel()
    return scope.cancelled_caught


def test_cancelling_send_ends_the_work_before_it_returns(tmp_path):
    async def test(pool):
        for request in (Wait(str(tmp_path / "never")), Resist()):
            async with trio.open_nursery() as nursery:
                sent = Sent(pool, request, nursery)
                worker = gone(await sent.begun())
                sent.scope.cancel()
                await sent.settled.wait()
                assert worker.alive() == []
            assert await pool.send(Count()) == 1

    run(test)


def test_a_send_that_is_cancelled_before_it_begins_costs_no_worker():
    async def test(pool):
        worker = await pool.send(WhoAreYou())
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.send(Echo())
        assert scope.cancelled_caught
        assert await pool.send(WhoAreYou()) == worker
        assert pool.statistics.started == 1

    run(test)


def test_cancelling_what_waits_costs_no_worker(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            second = Sent(pool, Echo(), nursery)
            await until(lambda: pool.statistics.queued)
            second.scope.cancel()
            await second.settled.wait()
            assert pool.statistics.queued == 0
            (tmp_path / "go").touch()
        assert first.result == await pool.send(WhoAreYou())

    run(test)


def test_send_can_be_cancelled_at_every_step():
    async def test(pool):
        cut = 0
        for turns in range(STEPS):
            cut += await cancelled_after(turns, pool.send, Echo("x" * (turns % 3) * 300_000))
            assert await pool.send(Echo("on")) == "on"
        assert cut
        assert pool.statistics.queued == pool.statistics.busy == 0
        assert pool.statistics.crashes == 0

    run(test, size=2)


def test_send_behind_middleware_and_a_full_queue_can_be_cancelled_at_every_step():
    async def slowly(request, call):
        await trio.lowlevel.checkpoint()
        return await call(request)

    async def test(pool):
        async def many():
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(pool.send, Echo())

        for turns in range(STEPS):
            await cancelled_after(turns, many)
            assert await pool.send_nowait(Echo("on")) == "on"
        assert pool.statistics.queued == pool.statistics.busy == 0

    run(test, max_queue=1, middleware=[slowly])


@pytest.mark.parametrize("prefetch", [1, 4])
def test_map_can_be_cancelled_at_every_step(prefetch):
    async def test(pool):
        async def take_all():
            return [done.result async for done in pool.map([Echo(str(number)) for number in range(6)])]

        for turns in range(STEPS):
            await cancelled_after(turns, take_all)
            assert await take_all() == list("012345")
        await until(lambda: pool.statistics.queued == pool.statistics.busy == 0)
        assert pool.statistics.crashes == 0

    run(test, size=2, prefetch=prefetch)


def test_cancelling_map_ends_the_work_under_way():
    async def test(pool):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_one, pool)
                await until(lambda: pool.statistics.busy == 2)
                scope.cancel()
        await until(lambda: pool.statistics.busy == pool.statistics.queued == 0)
        assert await pool.send(Echo("on")) == "on"

    async def take_one(pool):
        async for _ in pool.map([Resist()] * 4):
            raise AssertionError

    run(test, size=2)


def test_close_can_be_cancelled_at_every_step():
    async def test():
        for turns in (*range(12), 20, 40, 80):
            async with open_pool(TARGET, size=1, grace=5.0) as pool:
                worker = gone(await pool.send(WhoAreYou()))
                async with trio.open_nursery() as nursery:
                    sent = [Sent(pool, Echo(), nursery) for _ in range(3)]
                    await cancelled_after(turns, pool.close)
                    assert worker.alive() == []
                    with pytest.raises(PoolClosed):
                        await pool.send(Echo())
                assert {type(each.failure) for each in sent} <= {type(None), PoolClosed}

    bounded(test)


def test_opening_can_be_cancelled_at_every_step():
    async def test():
        async def open_one():
            async with open_pool(TARGET, size=2) as pool:
                assert await pool.send(Echo("open")) == "open"

        for turns in (*range(0, 24, 2), 30, 40, 60):
            await cancelled_after(turns, open_one)
        await open_one()

    bounded(test)
