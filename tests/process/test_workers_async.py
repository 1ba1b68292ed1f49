"""Handlers that are async: the worker runs trio, and a stop cancels the scope of what is in hand, and nothing else."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from support import duties
from support.async_duties import TARGET, Beats, Die, Double, Doze, Fail, Fork, Odd, Plain, Report, Wait
from support.pools import Sent, bounded, gone, run

from taskrun.workers import (
    HandlerFailed,
    PoolClosed,
    RequestTimedOut,
    Timeouts,
    WorkerCrashed,
    WorkerStartFailed,
    open_pool,
)

HERE = TARGET.partition(":")[0]


def test_async_handlers_answer_and_plain_ones_beside_them():
    async def test(pool):
        worker = await pool.send(Plain())
        assert worker != os.getpid()
        async for done in pool.map([Double(number) for number in range(20)]):
            assert done.result == 2 * done.request.number
        assert await pool.send(Plain()) == worker

    run(test, TARGET)
    run(test, TARGET, prefetch=4)


def test_a_worker_of_plain_handlers_loads_no_trio():
    async def test(pool):
        assert await pool.send(duties.Loaded("trio")) is False
        assert await pool.send(duties.Loaded("msgspec")) is True

    run(test)


def test_middleware_around_async_handlers_may_wait():
    async def test(pool):
        assert await pool.send(Double(1)) == 104
        assert await pool.send(Plain()) > 1

    run(test, f"{HERE}:layered")


def test_a_state_that_is_not_async_will_do():
    async def test(pool):
        assert await pool.send(Double(1)) == 7

    run(test, f"{HERE}:plainly")


def test_what_the_state_has_started_runs_beside_the_handlers():
    async def test(pool):
        assert await pool.send(Beats(3)) < await pool.send(Beats(3))

    run(test, TARGET)


def test_the_state_is_entered_once_and_left_when_the_pool_is_closed(tmp_path):
    async def test():
        environ = os.environ | {"DUTIES_NOTES": str(tmp_path / "notes")}
        async with open_pool(TARGET, size=1, env=environ) as pool:
            await pool.send(Double(1))
            await pool.send(Double(2))
        assert (tmp_path / "notes").read_text().split() == ["entered", "left"]

    bounded(test)


def test_a_state_that_cannot_be_opened_says_why():
    async def test():
        with pytest.raises(WorkerStartFailed, match="there is no state to open") as caught:
            async with open_pool(f"{HERE}:broken", size=1):
                raise AssertionError
        assert caught.value.kind == "state"
        assert "in open_nothing" in caught.value.traceback
        assert "trio/_core" not in caught.value.traceback

    bounded(test)


@pytest.mark.parametrize(
    ("how", "name", "text"),
    [
        ("", "ValueError", "it is wrong"),
        ("group", "ExceptionGroup", "Exceptions from Trio nursery (1 sub-exception)"),
        ("exit", "SystemExit", "3"),
        ("cancelled", "TimeoutError", "its own scope was cancelled"),
    ],
)
def test_what_an_async_handler_raises_arrives_with_its_traceback_and_the_worker_lives(how, name, text):
    async def test(pool):
        worker = await pool.send(Plain())
        with pytest.raises(HandlerFailed) as caught:
            await pool.send(Fail(how))
        assert (caught.value.type_name, caught.value.message) == (name, text)
        assert "in fail\n" in caught.value.traceback
        assert "async_serving" not in caught.value.traceback
        if how in ("", "group"):
            assert "in raise_later\n" in caught.value.traceback
            assert "and this is why" in caught.value.traceback
        with pytest.raises(HandlerFailed, match="its result cannot be sent back"):
            await pool.send(Odd())
        assert await pool.send(Plain()) == worker

    run(test, TARGET)


def test_progress_from_tasks_and_threads_of_an_async_handler_arrives():
    async def test(pool):
        moved = []
        left = await pool.send(Report(10), on_progress=moved.append)
        assert 0 < left <= 60
        assert moved[0].message == "counting"
        assert (moved[-1].done, moved[-1].total, moved[-1].message) == (10, 10, "from a thread")

    run(test, TARGET, timeouts=Timeouts(message=60.0))


# --- a stop -----------------------------------------------------------------------------------------------------------


def test_cancelling_send_cancels_the_handler_which_cleans_up(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            sent = Sent(pool, Wait(str(tmp_path / "notes")), nursery)
            worker = gone(await sent.begun())
            sent.scope.cancel()
        assert worker.alive() == []
        assert (tmp_path / "notes").read_text() == "cleaned up\n"
        assert await pool.send(Double(1)) == 2

    run(test, TARGET, grace=20.0)


@pytest.mark.parametrize("how", ["", "asks"])
def test_an_async_handler_whose_time_is_over_ends_when_it_is_asked_to(tmp_path, how):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            slow = Sent(pool, Wait(str(tmp_path / "notes"), how), nursery)
            worker = gone(await slow.begun())
            after = Sent(pool, Double(2), nursery)
        assert isinstance(slow.failure, RequestTimedOut)
        assert slow.failure.stack == ""
        assert after.result == 4
        worker.assert_gone()
        assert (tmp_path / "notes").exists() is (how == "")
        assert pool.statistics.crashes == 0

    run(test, TARGET, timeouts=Timeouts(message=20.0, per_message={Wait: 0.3}), grace=20.0)


def test_a_plain_handler_among_async_ones_is_interrupted(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            sent = Sent(pool, Doze(str(tmp_path / "notes")), nursery)
            await sent.begun()
            sent.scope.cancel()
        assert (tmp_path / "notes").read_text() == "woken up\n"
        assert await pool.send(Double(1)) == 2

    run(test, TARGET, grace=20.0)


@pytest.mark.parametrize(("how", "place"), [("resists", "in resist"), ("spins", "in spin")])
def test_an_async_handler_that_does_not_obey_is_killed_where_it_is(tmp_path, how, place):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            slow = Sent(pool, Wait(str(tmp_path / "notes"), how), nursery)
            worker = gone(await slow.begun())
        assert isinstance(slow.failure, RequestTimedOut)
        assert place in slow.failure.stack
        assert "in wait" in slow.failure.stack
        worker.assert_gone()
        assert await pool.send(Double(1)) == 2

    run(test, TARGET, timeouts=Timeouts(per_message={Wait: 0.3}))


def test_close_with_a_limit_lets_a_handler_clean_up(tmp_path):
    async def test():
        async with trio.open_nursery() as nursery, open_pool(TARGET, size=1, grace=20.0) as pool:
            sent = Sent(pool, Wait(str(tmp_path / "notes")), nursery)
            await sent.begun()
            await pool.close(finish=0.1)
        assert isinstance(sent.failure, PoolClosed)
        assert (tmp_path / "notes").read_text() == "cleaned up\n"

    bounded(test)


def test_a_process_that_is_told_to_stop_cancels_the_handler(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            sent = Sent(pool, Wait(str(tmp_path / "notes")), nursery)
            os.kill(await sent.begun(), signal.SIGTERM)
        assert isinstance(sent.failure, HandlerFailed)
        assert (sent.failure.type_name, sent.failure.message) == ("Cancelled", "stopped by SIGTERM")
        assert (tmp_path / "notes").read_text() == "cleaned up\n"

    run(test, TARGET)


# --- the end of a worker ----------------------------------------------------------------------------------------------


def test_an_async_worker_that_dies_costs_its_request():
    async def test(pool):
        with pytest.raises(WorkerCrashed) as caught:
            await pool.send(Die("kill"))
        assert caught.value.signal == signal.SIGKILL
        assert await pool.send(Double(1)) == 2

    run(test, TARGET)


def test_a_state_whose_own_task_fails_takes_its_worker_along(capfd):
    async def test(pool):
        with pytest.raises(WorkerCrashed) as caught:
            await pool.send(Die("state"))
        assert caught.value.exit_code
        assert "ValueError: it is wrong" in caught.value.stderr
        assert await pool.send(Double(1)) == 2

    run(test, TARGET)
    assert "ValueError: it is wrong" in capfd.readouterr().err


def test_a_fork_of_an_async_handler_answers_for_nobody():
    async def test(pool):
        worker = await pool.send(Plain())
        assert await pool.send(Fork()) == worker
        assert await pool.send(Beats(3)) > 0  # its loop still turns

    run(test, TARGET)
