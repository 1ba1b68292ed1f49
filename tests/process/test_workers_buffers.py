"""Arrays and buffers between a program and its workers: exact, theirs who have them, and given back whatever happens."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import trio
import trio.testing
from support.buffers_worker import TARGET, Add, Keep, Kept, Many, Own, Reverse, Same, SameMany, Sum, Usage, usage
from support.pools import Sent, run, until

from taskrun.worker import memory
from taskrun.workers import (
    Buffer,
    ContractMistake,
    HandlerFailed,
    RequestTimedOut,
    RetryOnCrash,
    SharedBuffer,
    Timeouts,
    WorkerCrashed,
)

LARGE = 20_000  # numbers of eight bytes: beside the message

SEGMENT = 163_840  # bytes that they take


def lent(pool) -> int:
    """Bytes that workers have in hand."""
    return pool._staff._place.arena._lent


def test_large_and_small_values_arrive_in_any_place_of_a_request_and_of_a_result():
    async def test(pool):
        small, large = np.arange(6.0).reshape(2, 3), np.arange(LARGE, dtype=">i4")
        many = Many(
            [small, large, large[::-2], np.array(3, np.float32), np.zeros((0, 7))],
            {"small": Buffer(b"abc"), "large": Buffer(bytearray(large)), "empty": Buffer(b"")},
            None,
            {"deep": [large]},
        )
        got = await pool.send(SameMany(many))
        for here, there in zip(many.arrays, got.arrays, strict=True):
            assert (here.dtype, here.shape) == (there.dtype, there.shape)
            assert np.array_equal(here, there)
            there[...] = 0  # ours
        assert {name: bytes(buffer) for name, buffer in many.buffers.items()} == {
            name: bytes(buffer) for name, buffer in got.buffers.items()
        }
        got.buffers["large"].view[0] = 1
        assert np.array_equal(got.anything["deep"][0], large)
        fortran = np.asfortranarray(np.random.default_rng(1).random((300, 200)))
        back = await pool.send(Same(fortran))
        assert np.array_equal(fortran, back)
        assert back.flags.f_contiguous
        assert bytes(await pool.send(Reverse(Buffer(fortran)))) == fortran.tobytes()[::-1]
        assert lent(pool) == 0

    run(test, TARGET)


def test_a_hundred_megabytes_arrive():
    async def test(pool):
        array = np.arange(12_500_000, dtype=float)
        assert await pool.send(Sum(array)) == array.sum()
        assert await pool.send(Sum(array[:LARGE])) == array[:LARGE].sum()
        assert pool.statistics.arena < 140_000_000

    run(test, TARGET)


def test_what_cannot_be_carried_is_refused_here_or_there():
    async def test(pool):
        for value, why in [
            (np.array([object()]), "an array of `object` holds Python objects, which are not carried"),
            (np.ma.masked_array([1, 2], [True, False]), "`MaskedArray` is no plain array"),
        ]:
            with pytest.raises(ContractMistake, match=why):
                await pool.send(Same(value))
        with pytest.raises(HandlerFailed, match="Expected an array of `float64`, got one of `int64`"):
            await pool.send(Sum(np.arange(LARGE)))
        with pytest.raises(HandlerFailed, match="Expected `ndarray`, got `Buffer`"):
            await pool.send(Same(Buffer(b"abc")))
        assert await pool.send(Sum(np.ones(3))) == 3
        assert lent(pool) == 0

    run(test, TARGET)


def test_a_result_is_kept_for_ever_and_a_handler_may_go_on_with_its_own_array():
    async def test(pool):
        results = [await pool.send(Own(LARGE)) for _ in range(3)]
        for _ in range(100):
            await pool.send(Own(LARGE))
        assert [(each[0], each[-1]) for each in results] == [(1, 1), (2, 2), (3, 3)]

    run(test, TARGET)


@pytest.mark.parametrize("without_memfd", [False, True])
def test_what_a_handler_keeps_of_a_request_is_never_written_over(without_memfd, monkeypatch):
    async def test(pool):
        for number in range(5):
            assert await pool.send(Keep(np.full(LARGE, float(number)))) == number + 1
            assert await pool.send(Sum(np.full(LARGE, 100.0))) == 100 * LARGE
        assert await pool.send(Kept()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert pool.statistics.arena <= 2 * SEGMENT  # what is kept is no part of it any more
        assert lent(pool) == 0

    if without_memfd:
        monkeypatch.setattr(memory, "make", memory.make_unlinked)
        monkeypatch.setenv("WITHOUT_MEMFD", "yes")
    run(test, TARGET)


def test_async_handlers_have_large_values_too():
    async def test(pool):
        for number in range(4):
            await pool.send(Keep(np.full(LARGE, float(number))))
            back = await pool.send(Same(np.full(LARGE, 9.0)))
            back += 1
            assert back.sum() == 10 * LARGE
        assert await pool.send(Kept()) == [0, 0, 1, 1, 2, 2, 3, 3]
        assert pool.statistics.arena <= 2 * SEGMENT
        assert lent(pool) == 0

    run(test, TARGET.replace("handlers", "waiting"))


def test_memory_comes_back_from_workers_that_die_are_stopped_or_refuse(tmp_path):
    async def test(pool):
        array = np.ones(LARGE)
        with pytest.raises(HandlerFailed, match=r"ValueError: 1\.0"):
            await pool.send(Sum(array, "raise"))
        assert await pool.send(Sum(array, f"die unless {tmp_path}/dead")) == LARGE  # another worker got it all
        with pytest.raises(RequestTimedOut):
            await pool.send(Sum(array, "wait"))
        async with trio.open_nursery() as nursery:
            sent = [Sent(pool, Sum(array, "wait"), nursery, timeout=None) for _ in range(3)]
            os.kill(await sent[0].begun(), signal.SIGKILL)
            await sent[0].begun()
            nursery.cancel_scope.cancel()
        await until(lambda: lent(pool) == 0)
        assert pool.statistics.arena <= 4 * SEGMENT  # two each of one that is stopped and of one that takes its place
        assert await pool.send(Sum(array)) == LARGE

    run(test, TARGET, on_crash=RetryOnCrash(), timeouts=Timeouts(message=0.3), prefetch=2)


def test_a_request_lost_in_the_middle_fails_alone_and_its_memory_is_used_again():
    async def test(pool):
        array = np.ones(LARGE)
        async with trio.open_nursery() as nursery:
            lost, behind = (Sent(pool, Sum(array, how), nursery) for how in ("wait", ""))
            os.kill(await lost.begun(), signal.SIGKILL)
        assert isinstance(lost.failure, WorkerCrashed)
        assert behind.result == LARGE
        assert lent(pool) == 0
        assert pool.statistics.arena <= 2 * SEGMENT

    run(test, TARGET, prefetch=2)


def test_nothing_grows_with_requests_of_any_size():
    async def test(pool):
        sizes = random.Random(1)
        array = np.random.default_rng(1).random(500_000)

        async def some(count: int) -> None:
            for _ in range(count):
                size = sizes.randrange(1, 1 << sizes.randrange(1, 19))
                back = await pool.send(Same(array[:size]))
                assert back[-1] == array[size - 1]

        async def both(count: int) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(some, count)
                nursery.start_soon(some, count)

        await both(60)
        before, there = usage(), await pool.send(Usage())
        await both(190)
        after, there_after = usage(), await pool.send(Usage())
        bound = 200 << 20  # of mappings: what may lie unused, twice, and what malloc does
        assert after[0] < before[0] + 40
        assert there_after[0] < there[0] + 40
        assert after[1] < before[1] + bound
        assert there_after[1] < there[1] + bound
        assert pool.statistics.arena < 80 << 20
        assert lent(pool) == 0

    before = len(os.listdir("/proc/self/fd"))
    run(test, TARGET, prefetch=2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_memory_the_request_says_so_and_the_pool_goes_on(monkeypatch):
    def none_left(size: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def test(pool):
        array = np.ones(LARGE)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "make", none_left)
            with pytest.raises(
                MemoryError, match=r"no 163,840 bytes of shared memory can be had: No space left on dev"
            ):
                await pool.send(Sum(array))
            assert await pool.send(Sum(array[:10])) == 10
            waiting = [Sent(pool, Sum(array), pool._nursery) for _ in range(3)]
            await trio.testing.wait_all_tasks_blocked(0.01)
            await pool.close()
        assert [type(each.failure) for each in waiting] == [MemoryError] * 3

    run(test, TARGET)


def test_a_result_for_which_there_is_no_descriptor_says_so_and_the_pool_goes_on():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def test(pool):
        await pool.send(Own(10))
        spare = os.dup(0)
        os.close(spare)  # the lowest that is free
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            with pytest.raises(
                MemoryError, match=r"a result of up to 163,840 bytes cannot be taken .*: Too many open f"
            ):
                await pool.send(Own(LARGE))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await pool.send(Own(LARGE)))[-1] == 1  # a new worker
        assert lent(pool) == 0

    run(test, TARGET)


def test_what_is_taken_away_while_it_waits_fails_alone():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Sum(np.ones(LARGE), "wait"), nursery)
            await first.begun()
            buffer, shared = Buffer(bytes(8 * LARGE)), SharedBuffer(64)
            waiting = [
                Sent(pool, request, nursery) for request in (Reverse(buffer), Add(shared, 1), Sum(np.ones(LARGE)))
            ]
            await until(lambda: pool.statistics.queued == 3)
            buffer.view.release()
            shared.close()
            first.scope.cancel()
        assert [type(each.failure) for each in waiting] == [ValueError, TypeError, type(None)]
        assert waiting[2].result == LARGE
        assert lent(pool) == 0

    run(test, TARGET)


PROGRAM = """
import sys, trio
from taskrun.workers import Buffer, open_worker
from plain import Upper

async def main():
    async with open_worker("plain:handlers") as worker:
        got = await worker.send(Upper(Buffer(b"abc" * 50_000)))
        print(len(got), bytes(got.view[:6]), "numpy" in sys.modules)

trio.run(main)
"""
PLAIN = """
import sys
from dataclasses import dataclass
from taskrun.workers import Buffer, Handlers, Request

@dataclass(frozen=True)
class Upper(Request[Buffer]):
    buffer: Buffer

handlers = Handlers()

@handlers.on(Upper)
def upper(request: Upper) -> Buffer:
    assert "numpy" not in sys.modules
    return Buffer(bytes(request.buffer).upper())
"""


def test_a_program_without_numpy_loads_none(tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("150000 b'ABCABC' False\n", "")
