"""Requests whose time is over: their work is ended, and nobody else's is late."""

from __future__ import annotations

import pytest
import trio
from support.duties import Count, Echo, Nap, Resist, Wait, WhoAreYou
from support.pools import Sent, gone, run, touch, until

from taskrun.workers import RequestTimedOut, Timeouts


def test_a_request_that_takes_too_long_is_ended_and_the_next_is_carried_out(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            slow = Sent(pool, Wait(str(tmp_path / "never")), nursery)
            worker = gone(await slow.begun())
            after = Sent(pool, Echo("in time"), nursery)

        assert isinstance(slow.failure, RequestTimedOut)
        assert slow.failure.after == 0.5
        assert slow.failure.stack == ""  # it ended when it was asked to
        assert after.result == "in time"
        worker.assert_gone()
        assert pool.statistics.timed_out == 1
        assert pool.statistics.crashes == 0

    run(test, timeouts=Timeouts(message=30.0, per_message={Wait: 0.5}), grace=20.0)


def test_one_that_does_not_obey_is_killed_where_it_is():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            slow = Sent(pool, Resist(), nursery)
            worker = gone(await slow.begun())

        assert isinstance(slow.failure, RequestTimedOut)
        assert "in resist" in slow.failure.stack
        assert slow.failure.stack in slow.failure.__notes__[0]
        worker.assert_gone()
        assert await pool.send(Count()) == 1

    run(test, timeouts=Timeouts(message=0.3))


def test_the_time_counts_from_when_the_handler_starts():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            sent = [Sent(pool, Nap(0.5), nursery) for _ in range(4)]
        assert [each.failure for each in sent] == [None] * 4

    run(test, timeouts=Timeouts(message=1.6))


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_timeout_of_send_counts_waiting_too(tmp_path, prefetch):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            with pytest.raises(RequestTimedOut) as caught:
                await pool.send(Echo(), timeout=0.1)
            assert caught.value.after == 0.1
            assert pool.statistics.queued == 0
            touch(tmp_path / "go")
        assert first.result == await pool.send(WhoAreYou())  # nobody had to die for it

    run(test, prefetch=prefetch)


def test_a_timeout_of_send_ends_the_work():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            slow = Sent(pool, Resist(), nursery, timeout=0.3)
            worker = gone(await slow.begun())
        assert isinstance(slow.failure, RequestTimedOut)
        assert slow.failure.after == 0.3
        assert "in resist" in slow.failure.stack
        worker.assert_gone()
        assert pool.statistics.timed_out == 1
        assert await pool.send(Echo("next")) == "next"

    run(test)


def test_a_timeout_of_send_bounds_the_wait_for_room_in_the_queue(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            second = Sent(pool, Echo("second"), nursery)
            await until(lambda: pool.statistics.queued == 1)
            with pytest.raises(RequestTimedOut):
                await pool.send(Echo(), timeout=0.1)
            touch(tmp_path / "go")
        assert second.result == "second"

    run(test, max_queue=1)


def test_what_nobody_waits_for_any_more_is_ended_when_it_comes_to_it(tmp_path):
    """A worker had it behind another one."""

    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            second = Sent(pool, Wait(str(tmp_path / "never")), nursery)
            third = Sent(pool, Echo("third"), nursery)
            await until(lambda: pool.statistics.queued == 0)
            second.scope.cancel()
            await second.settled.wait()
            touch(tmp_path / "go")
        assert first.result
        assert third.result == "third"

    run(test, prefetch=4)
