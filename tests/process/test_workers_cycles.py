"""Started, asked, killed, over and over: nothing grows, and nothing is left."""

from __future__ import annotations

import os

import pytest
from support.census import descriptors_of, zombies_of
from support.duties import Die, Echo
from support.pools import children, run, until

from taskrun.workers import Restarts, WorkerCrashed

ENDLESS = Restarts(most=1_000_000, within=1.0)


async def cycle(pool):
    assert await pool.send(Echo("one")) == "one"
    with pytest.raises(WorkerCrashed):
        await pool.send(Die())


async def settled(pool):
    await until(lambda: not pool.statistics.starting and pool.statistics.workers == 1)


def test_two_hundred_workers_that_are_killed_leave_nothing():
    many(200)


@pytest.mark.skipif("SOAK" not in os.environ, reason="takes most of a minute: set SOAK")
def test_two_thousand_workers_that_are_killed_leave_nothing():
    many(2000)


def many(cycles):
    async def test(pool):
        (host,) = children()
        for _ in range(10):
            await cycle(pool)
        await settled(pool)
        before = [descriptors_of(pid) for pid in (os.getpid(), host)], resident(os.getpid()), resident(host)
        for _ in range(cycles):
            await cycle(pool)
        await settled(pool)
        assert [descriptors_of(pid) for pid in (os.getpid(), host)] == before[0]
        assert resident(os.getpid()) - before[1] < 16 << 20
        assert resident(host) - before[2] < 16 << 20
        assert zombies_of(os.getpid()) == []
        assert zombies_of(host) == []
        assert pool.statistics.crashes == cycles + 10

    run(test, restarts=ENDLESS, patience=60.0 + cycles / 5)


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
