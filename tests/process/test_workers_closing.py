"""The ways in which a pool ends: what was accepted is finished, or is not, and no worker is left."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.duties import TARGET, Echo, Resist, Wait, WhoAreYou
from support.pools import Sent, bounded, children, gone, run, touch, until, workers_of

from taskrun.workers import PoolClosed, open_pool


def test_leaving_the_block_finishes_what_was_accepted(tmp_path):
    async def test():
        async with trio.open_nursery() as nursery:
            async with open_pool(TARGET, size=1) as pool:
                first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
                worker = gone(await first.begun())
                others = [Sent(pool, Echo(str(number)), nursery) for number in range(5)]
                await until(lambda: pool.statistics.queued == 5)
                nursery.start_soon(touch_when_closing, pool, tmp_path / "go")
            assert first.result
            assert [each.result for each in others] == list("01234")
            worker.assert_gone()
            with pytest.raises(PoolClosed):
                await pool.send(Echo())

    bounded(test)


async def touch_when_closing(pool, path):
    while True:
        try:
            await pool.send(Echo(), timeout=0.01)
        except PoolClosed:
            break
        except Exception:  # the worker is at the first one
            pass
    touch(path)


def test_state_is_left_when_the_pool_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DUTIES_NOTES", str(tmp_path / "notes"))

    async def test(pool):
        await workers_of(pool, 2)

    run(test, size=2, grace=10.0)
    lines = (tmp_path / "notes").read_text().split("\n")[:-1]
    entered, left = ({line for line in lines if line.startswith(word)} for word in ("entered", "left"))
    assert len(lines) == 4
    assert {line.split()[1] for line in entered} == {line.split()[1] for line in left}


@pytest.mark.parametrize("finish", [None, 20])
def test_close_finishes_what_is_running_and_what_waits(tmp_path, finish):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            worker = gone(await first.begun())
            second = Sent(pool, Echo("second"), nursery)
            await until(lambda: pool.statistics.queued)
            nursery.start_soon(pool.close, finish)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(PoolClosed):
                await pool.send(Echo())
            touch(tmp_path / "go")
        assert first.result == first.pid
        assert second.result == "second"
        worker.assert_gone()
        assert pool.statistics.workers == 0

    run(test)


@pytest.mark.parametrize("finish", [0, 0.2])
@pytest.mark.parametrize("obeys", [True, False])
def test_close_ends_what_is_not_finished_in_its_time(tmp_path, finish, obeys):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            request = Wait(str(tmp_path / "never")) if obeys else Resist()
            first = Sent(pool, request, nursery)
            worker = gone(await first.begun())
            second = Sent(pool, Echo("second"), nursery)
            await until(lambda: pool.statistics.queued)
            await pool.close(finish)
            assert not worker.alive()
        assert isinstance(first.failure, PoolClosed)
        assert isinstance(second.failure, PoolClosed)

    run(test, grace=0.3 if finish else 25.0)


def test_a_spinning_handler_really_dies_when_the_block_is_left_by_an_exception():
    pids = []

    async def test():
        async with trio.open_nursery() as nursery:
            with pytest.raises(KeyError, match="left"):  # noqa: PT012 - the block is what is left
                async with open_pool(TARGET, size=2, grace=60.0) as pool:
                    sent = [Sent(pool, Resist(), nursery) for _ in range(2)]
                    pids.append(gone(*[await each.begun() for each in sent]))
                    raise KeyError("left")
            assert pids[0].alive() == []
            assert children() == []
        assert [type(each.failure) for each in sent] == [PoolClosed, PoolClosed]

    bounded(test)


def test_a_spinning_handler_really_dies_when_the_block_is_cancelled():
    async def test():
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with open_pool(TARGET, size=1, grace=60.0) as pool:
                    sent = Sent(pool, Resist(), nursery)
                    worker = gone(await sent.begun())
                    scope.cancel()
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            assert worker.alive() == []
        assert isinstance(sent.failure, PoolClosed)

    bounded(test)


def test_cancelling_the_end_of_the_block_kills_without_a_grace_period():
    async def test():
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with open_pool(TARGET, size=1, grace=60.0) as pool:
                    sent = Sent(pool, Resist(), nursery)
                    worker = gone(await sent.begun())
                    nursery.start_soon(cancel_when_closing, pool, scope)
            assert scope.cancelled_caught
            assert worker.alive() == []
        assert isinstance(sent.failure, PoolClosed)

    bounded(test)


async def cancel_when_closing(pool, scope):
    while True:
        try:
            await pool.send(Echo(), timeout=0.01)
        except PoolClosed:
            break
        except Exception:
            pass
    scope.cancel()


def test_closing_twice_and_at_the_same_time_is_closing_once():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            for finish in (None, 5, 0):
                nursery.start_soon(pool.close, finish)
        await pool.close()
        with pytest.raises(PoolClosed):
            await pool.send(Echo())
        assert [type(done.failure) async for done in pool.map([Echo(), Echo()])] == [PoolClosed, PoolClosed]

    run(test)


def test_a_map_over_a_pool_that_has_ended_says_so():
    async def test():
        async with open_pool(TARGET, size=1) as pool:
            pass
        assert [type(done.failure) async for done in pool.map([Echo(), Echo()])] == [PoolClosed, PoolClosed]
        with pytest.raises(PoolClosed):
            await pool.send_nowait(Echo())

    bounded(test)


def test_closing_does_not_wait_for_workers_that_have_not_started(monkeypatch, tmp_path):
    (tmp_path / "sluggish.py").write_text(
        f"""
import contextlib, os, time
from support.duties import Echo, WhoAreYou
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    with open({str(tmp_path / "starts")!r}, "a") as file:
        file.write("x")
        number = file.tell()
    if number > 1:
        time.sleep(600)
    yield number
handlers = Handlers(state=state)
handlers.on(WhoAreYou)(lambda request, state: os.getpid())
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        starting = tmp_path / "starts"
        await until(lambda: starting.stat().st_size == 3)
        worker = await pool.send(WhoAreYou())
        census = gone(worker, *[member.process.pid for member in pool._staff._starting])
        await pool.close()
        assert census.alive() == []
        assert pool.statistics.starting == 0

    run(test, "sluggish:handlers", size=3, grace=60.0)


def test_a_state_that_is_never_left_does_not_hold_up_the_end(monkeypatch, tmp_path):
    (tmp_path / "stubborn.py").write_text(
        """
import contextlib, os, time
from support.duties import WhoAreYou
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    yield
    time.sleep(600)
handlers = Handlers(state=state)
handlers.on(WhoAreYou)(lambda request, state: os.getpid())
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        worker = gone(await pool.send(WhoAreYou()))
        await pool.close()
        assert worker.alive() == []

    run(test, "stubborn:handlers", grace=0.2)


def test_a_thread_that_goes_on_does_not_keep_its_worker(monkeypatch, tmp_path):
    (tmp_path / "threaded.py").write_text(
        """
import os, threading, time
from support.duties import WhoAreYou
from taskrun.workers import Handlers
handlers = Handlers()
@handlers.on(WhoAreYou)
def who(request):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return os.getpid()
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        worker = gone(await pool.send(WhoAreYou()))
        await pool.close()
        assert worker.alive() == []

    run(test, "threaded:handlers", grace=25.0)
