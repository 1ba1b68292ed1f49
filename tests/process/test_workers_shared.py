"""Memory that all workers see, and counters in it that stay exact, whoever is killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import trio
from support.buffers_worker import TARGET, Add, Held, Hold, MakeShared, Usage
from support.pools import Sent, bounded, run

from taskrun.worker import atomics
from taskrun.workers import ContractMistake, HandlerFailed, SharedBuffer, open_pool

MILLION = 1_000_000


def test_four_workers_that_add_a_million_each_give_four_million():
    async def test(pool):
        with SharedBuffer(64) as shared:
            assert shared.way == atomics.NATIVE
            async with trio.open_nursery() as nursery:
                sent = [Sent(pool, Add(shared, MILLION), nursery) for _ in range(4)]
            assert shared.counter().value == 4 * MILLION
            assert max(each.result for each in sent) == 4 * MILLION

    run(test, TARGET, size=4, patience=120.0)


@pytest.mark.parametrize("way", [atomics.NATIVE, atomics.LOCKED])
def test_a_worker_that_is_killed_while_it_adds_loses_nothing_and_holds_nobody_up(way, monkeypatch):
    monkeypatch.setattr(atomics, "way", lambda: way)

    async def test(pool):
        with SharedBuffer(64) as shared:
            total = shared.counter()
            async with trio.open_nursery() as nursery:
                sent = [Sent(pool, Add(shared, 5000, 8 * (1 + number)), nursery) for number in range(3)]
                pid = await sent[1].begun()
                while shared.counter(16).value < 100:
                    await trio.lowlevel.checkpoint()
                os.kill(pid, signal.SIGKILL)
            done = [shared.counter(8 * (1 + number)).value for number in range(3)]
            assert done[0] == done[2] == 5000
            assert 100 <= done[1] <= 5000
            assert total.value - sum(done) in {0, 1}  # it was killed between the two, at most
            assert total.add(-5) == sum(done) - 5 + (total.value + 5 - sum(done))

    run(test, TARGET, size=3)


def test_all_workers_of_all_pools_see_the_same_memory():
    async def test():
        async with open_pool(TARGET, size=1) as one, open_pool(TARGET, size=1) as other:
            with SharedBuffer(1 << 20) as shared:
                array = np.frombuffer(shared.view, np.uint8)
                assert await one.send(Hold(shared, b"from one")) is shared
                assert bytes(array[:8]) == b"from one"
                await other.send(Hold(shared, b"from two"))
                assert await one.send(Held()) == b"from two"
                array[:8] = 65
                assert await one.send(Held()) == b"AAAAAAAA"
            assert shared.closed
            array[:8] = 66  # what looks at it stays, here and there
            assert await other.send(Held()) == b"BBBBBBBB"
            with pytest.raises(ContractMistake, match="this `SharedBuffer` is closed"):
                await one.send(Hold(shared, b""))
            with pytest.raises(HandlerFailed, match="made in a worker cannot be sent"):
                await one.send(MakeShared())

    bounded(test)


def test_buffers_that_are_closed_leave_nothing_in_workers():
    async def test(pool):
        async def some(count):
            for _ in range(count):
                with SharedBuffer(1 << 20) as shared:
                    await pool.send(Add(shared, 1))

        await some(5)
        before = await pool.send(Usage())
        await some(40)
        after = await pool.send(Usage())
        assert after[0] <= before[0] + 1
        assert after[1] <= before[1] + (8 << 20)

    here = len(os.listdir("/proc/self/fd"))
    run(test, TARGET)
    assert len(os.listdir("/proc/self/fd")) == here
