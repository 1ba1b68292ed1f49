"""What waits for a worker: in which order, how much of it, and what is handed out ahead."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.duties import Count, Echo, Note, Wait, WhoAreYou
from support.pools import Sent, run, touch, until

from taskrun.workers import PoolFull


def test_the_higher_priority_comes_first_and_equals_in_their_order(tmp_path):
    notes = tmp_path / "notes"

    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            for line, priority in (("a", 0), ("b", -1), ("c", 5), ("d", 0), ("e", 5)):
                queued = pool.statistics.queued
                Sent(pool, Note(str(notes), line), nursery, priority=priority)
                await until(lambda queued=queued: pool.statistics.queued > queued)
            touch(tmp_path / "go")
        assert notes.read_text().split() == ["c", "e", "a", "d", "b"]

    run(test)


def test_a_full_queue_makes_send_wait_and_send_nowait_fail(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            waiting = [Sent(pool, Echo(str(number)), nursery) for number in range(5)]
            await until(lambda: pool.statistics.queued == 2)
            await trio.testing.wait_all_tasks_blocked()
            assert pool.statistics.queued == 2
            with pytest.raises(PoolFull, match="2 requests"):
                await pool.send_nowait(Echo())
            waiting[3].scope.cancel()  # one that waits for room
            waiting[0].scope.cancel()  # and one that has it
            await waiting[3].settled.wait()
            await waiting[0].settled.wait()
            touch(tmp_path / "go")
        assert [each.result for each in waiting] == [None, "1", "2", None, "4"]
        assert await pool.send_nowait(Echo("room")) == "room"

    run(test, max_queue=2)


def test_send_nowait_does_not_wait_behind_middleware(tmp_path):
    pools = []

    async def slowly(request, call):
        if request == Echo("now"):
            await until(lambda: pools[0].statistics.queued == 1)
        return await call(request)

    async def test(pool):
        pools.append(pool)
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            second = Sent(pool, Echo("second"), nursery)
            with pytest.raises(PoolFull):
                await pool.send_nowait(Echo("now"))
            touch(tmp_path / "go")
        assert second.result == "second"

    run(test, max_queue=1, middleware=[slowly])


def test_a_queue_of_thousands_is_cancelled_quickly(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    for _ in range(10_000):
                        inner.start_soon(pool.send, Echo())
                    await until(lambda: pool.statistics.queued == 10_000)
                    scope.cancel()
            assert pool.statistics.queued == 0
            touch(tmp_path / "go")
        assert first.result == await pool.send(WhoAreYou())

    run(test)


def test_many_at_once_through_one_worker_keep_their_answers_apart():
    """Far more than the channel holds: what one sender could not send whole is not mixed with what the next sends."""

    async def test(pool):
        sizes = [number * 37 % 200_000 for number in range(200)]
        async with trio.open_nursery() as nursery:
            sent = [Sent(pool, Echo(chr(97 + number % 26) * size), nursery) for number, size in enumerate(sizes)]
        for number, (each, size) in enumerate(zip(sent, sizes, strict=True)):
            assert each.result == chr(97 + number % 26) * size
        assert await pool.send(Count()) == 1

    run(test, prefetch=64)


def test_map_gives_results_in_order_and_takes_requests_as_they_are_needed():
    taken = []

    def requests():
        for number in range(100):
            taken.append(number)
            yield Echo(str(number))

    async def test(pool):
        results = []
        async for done in pool.map(requests(), ahead=3):
            results.append(done.result)
            assert len(taken) <= len(results) + 3
        assert results == [str(number) for number in range(100)]

    run(test, size=2)


def test_map_takes_requests_from_an_async_source():
    async def requests():
        for number in range(10):
            await trio.lowlevel.checkpoint()
            yield Echo(str(number))

    async def test(pool):
        assert [done.result async for done in pool.map(requests())] == [str(number) for number in range(10)]

    run(test)


def test_map_raises_for_nothing_that_becomes_of_a_request():
    def refuse(request, call):
        if request.text == "refused":
            raise PermissionError("not this one")
        return call(request)

    async def test(pool):
        requests = [Echo("one"), Echo("refused"), Echo("\ud800"), Echo("two")]
        done = [each async for each in pool.map(requests)]
        assert [type(each.failure).__name__ for each in done] == [
            "NoneType",
            "PermissionError",
            "ContractMistake",
            "NoneType",
        ]
        with pytest.raises(PermissionError):
            _ = done[1].result
        assert done[3].result == "two"

    run(test, middleware=[refuse])
