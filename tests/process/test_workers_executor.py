"""``taskrun.workers.Executor``: calls, what is carried both ways, failures that cost one call, and work that is ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import threading
import traceback
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError

import pytest
from support import calls
from support.census import Census, wait_until

from taskrun.worker.callables import LIMIT
from taskrun.workers import CallTimedOut, Executor, HandlerFailed, Unreadable, WorkerDied

PATIENCE = 30.0  # seconds after which a test hangs
GRACE = 0.2


@pytest.fixture
def executor():
    with Executor(1, grace=GRACE) as made:
        yield made


def got(future: Future) -> object:
    return future.result(PATIENCE)


def failure(future: Future) -> BaseException:
    error = future.exception(PATIENCE)
    assert error is not None
    return error


def alive_and_well(executor: Executor) -> bool:
    return got(executor.submit(calls.double, 21)) == 42


def has_begun(path) -> int:
    """Waits for a call that says in a file who it is."""
    wait_until(path.exists)
    return int(path.read_text(encoding="utf-8"))


# --- calls ------------------------------------------------------------------------------------------------------------


def test_calls_are_made_elsewhere_and_their_values_come_back(executor):
    assert got(executor.submit(calls.pid)) not in (0, os.getpid())
    assert got(executor.submit(int, "ff", base=16)) == 255
    assert got(executor.schedule(int, ["ff"], {"base": 16})) == 255
    assert got(executor.submit(calls.nested, 4)) == 8


def test_map_gives_the_values_in_order_in_chunks_and_with_a_buffer(executor):
    numbers = range(25)
    doubled = [2 * number for number in numbers]
    assert list(executor.map(calls.double, numbers)) == doubled
    assert list(executor.map(calls.double, numbers, chunksize=4)) == doubled
    taken = []

    def source():
        for number in numbers:
            taken.append(number)
            yield number

    results = executor.map(calls.double, source(), buffersize=3)
    assert taken == [0, 1, 2]
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert list(results) == doubled[1:]
    assert list(executor.map(calls.double, source(), chunksize=2, buffersize=2)) == doubled
    assert list(executor.map(max, [1, 5], [4, 2, 9])) == [4, 5]


def test_a_map_that_fails_or_takes_too_long_cancels_the_rest(tmp_path):
    with Executor(1, kill_on_cancel=True, grace=GRACE) as executor:
        results = executor.map(calls.mark_and_wait, [str(tmp_path / "0"), str(tmp_path / "1")], timeout=0.01)
        with pytest.raises(TimeoutError):
            next(results)
        assert alive_and_well(executor)
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": 1.5}, TypeError),
        ({"prefetch": 0}, ValueError),
        ({"initializer": 3}, TypeError),
        ({"initializer": calls.set_state, "initargs": (threading.Lock(),)}, TypeError),
        ({"mp_context": multiprocessing.get_context("fork")}, ValueError),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong, kind):
    with pytest.raises(kind):
        Executor(**wrong)


def test_what_map_cannot_do_is_refused_at_once(executor):
    for wrong in ({"chunksize": 0}, {"buffersize": 0}):
        with pytest.raises(ValueError):
            executor.map(calls.double, [1], **wrong)
    with pytest.raises(TypeError):
        executor.map(calls.double, [1], buffersize="1")


def test_workers_are_initialised_and_replaced_after_so_many_calls():
    spawn = multiprocessing.get_context("spawn")
    with Executor(1, spawn, calls.set_state, ("set",), max_tasks_per_child=2) as executor:
        assert got(executor.submit(calls.get_state)) == "set"
        first, second, third = (got(executor.submit(calls.pid)) for _ in range(3))
        assert first != second == third
        assert got(executor.submit(calls.get_state)) == "set"


def test_many_threads_submit_and_callbacks_submit_again():
    again: list[Future] = []

    def another(future):
        again.append(executor.submit(calls.double, future.result()))

    with Executor(2) as executor, ThreadPoolExecutor(8) as threads:

        def submit(number):
            future = executor.submit(calls.double, number)
            future.add_done_callback(another)
            return future

        firsts = list(threads.map(submit, range(64)))
        assert [got(future) for future in firsts] == [2 * number for number in range(64)]
        wait_until(lambda: len(again) == 64)
        assert sorted(map(got, again)) == [4 * number for number in range(64)]


def test_a_callback_may_shut_it_down_and_raise_what_it_likes(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda given: seen.append(given.exc_type))

    def leave(_future):
        executor.shutdown()  # it would wait for its own thread
        raise KeyboardInterrupt

    executor = Executor(1)
    first = executor.submit(calls.double, 1)
    second = executor.submit(calls.double, 2)
    first.add_done_callback(leave)
    assert (got(first), got(second)) == (2, 4)
    executor.shutdown()
    assert seen in ([KeyboardInterrupt], [])  # it may have been done before there was a callback


def test_asyncio_gets_results_and_its_cancellation_ends_the_work(tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with Executor(1, kill_on_cancel=True, grace=GRACE) as executor:
            assert await loop.run_in_executor(executor, calls.double, 21) == 42
            task = loop.run_in_executor(executor, calls.mark_and_wait, str(tmp_path / "begun"))
            worker = Census().note(await asyncio.to_thread(has_begun, tmp_path / "begun"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(worker.assert_gone)
            assert await loop.run_in_executor(executor, calls.double, 21) == 42

    asyncio.run(main())


def test_proxies_of_managers_are_carried(executor):
    with multiprocessing.get_context("fork").Manager() as manager:
        queue = manager.Queue()
        got(executor.submit(queue.put, "from a worker"))
        assert queue.get(timeout=PATIENCE) == "from a worker"


# --- failures ---------------------------------------------------------------------------------------------------------


def test_an_exception_comes_as_itself_with_the_worker_s_traceback(executor):
    error = failure(executor.submit(calls.fail_with_note))
    assert type(error) is ValueError
    assert error.args == ("wrong",)
    assert error.__notes__ == ["a note"]
    assert "# the line of the traceback" in str(error.__cause__)
    assert "# the line of the traceback" in "".join(traceback.format_exception(error))
    assert isinstance(failure(executor.submit(calls.exit_by_itself)), SystemExit)
    assert isinstance(failure(executor.submit(calls.fail, KeyboardInterrupt())), KeyboardInterrupt)
    assert alive_and_well(executor)


def test_what_cannot_be_carried_fails_its_own_call(executor):
    before = got(executor.submit(calls.pid))
    there = failure(executor.submit(lambda: None))
    assert isinstance(there, (PicklingError, AttributeError))
    assert isinstance(failure(executor.submit(id, threading.Lock())), TypeError)
    back = failure(executor.submit(calls.lock))
    assert isinstance(back, TypeError)
    assert "lock" in str(back)
    trapped = failure(executor.submit(calls.trap))
    assert isinstance(trapped, Unreadable)
    assert str(trapped.__cause__) == "unpickled elsewhere"
    assert got(executor.submit(calls.pid)) == before


def test_an_exception_that_does_not_unpickle_comes_as_text(executor):
    two = failure(executor.submit(calls.raise_two))
    assert isinstance(two, Unreadable)
    assert isinstance(two, BrokenProcessPool)  # as it would be there
    assert (two.type_name, two.message) == ("TwoArguments", "1 and 2")
    assert "raise_two" in two.traceback
    assert isinstance(two.__cause__, TypeError)
    locked = failure(executor.submit(calls.raise_locked))
    assert isinstance(locked, HandlerFailed)
    assert (locked.type_name, locked.message) == ("Locked", "locked")
    assert alive_and_well(executor)


def test_what_is_too_large_is_refused_in_words(executor):
    there = failure(executor.submit(len, bytes(LIMIT)))
    back = failure(executor.submit(calls.large, LIMIT))
    for error in (there, back):
        assert isinstance(error, ValueError)
        assert f"{LIMIT:,}" in str(error)
    assert alive_and_well(executor)


def test_a_crash_costs_one_call():
    with Executor(2) as executor:
        futures = [executor.submit(calls.die_if, number) for number in range(20)]
        assert [got(future) for future in futures if future is not futures[7]] == [n for n in range(20) if n != 7]
        died = failure(futures[7])
        assert isinstance(died, WorkerDied)
        assert isinstance(died, BrokenProcessPool)
        assert died.exit_code == 3
        assert "die_if" in str(died)
        assert failure(executor.submit(calls.die, signal.SIGSEGV)).signal == signal.SIGSEGV
        assert failure(executor.submit(calls.die, signal.SIGTERM)).signal == signal.SIGTERM
        assert alive_and_well(executor)


def test_a_worker_that_somebody_stops_costs_nothing(executor):
    os.kill(got(executor.submit(calls.pid)), signal.SIGTERM)  # it is idle, or nearly
    assert [got(executor.submit(calls.double, number)) for number in range(20)] == [2 * n for n in range(20)]


def test_a_failing_initialiser_breaks_the_pool(caplog):
    executor = Executor(2, initializer=calls.fail_to_start)
    futures = [executor.submit(calls.double, 1) for _ in range(5)]
    for future in futures:
        error = failure(future)
        assert isinstance(error, BrokenProcessPool)
        assert "no initialisation" in str(error)
    assert len({id(failure(future)) for future in futures}) == 5  # each has its own traceback
    with pytest.raises(BrokenExecutor, match="no initialisation"):
        executor.submit(calls.double, 1)
    executor.shutdown()
    assert "fail_to_start" in caplog.text


# --- work that is ended -----------------------------------------------------------------------------------------------


def test_a_call_that_takes_too_long_is_ended(tmp_path):
    with Executor(1, timeout=0.3, grace=GRACE) as executor:
        late = executor.submit(calls.resist, str(tmp_path / "begun"))
        worker = Census().note(has_begun(tmp_path / "begun"))
        error = failure(late)
        assert isinstance(error, CallTimedOut)
        assert isinstance(error, TimeoutError)
        assert error.after == 0.3
        assert "mark_and_wait" in error.stack
        worker.assert_gone()
        assert 0 < got(executor.schedule(calls.time_left, timeout=100)) <= 100
        assert got(executor.schedule(calls.time_left, timeout=None)) is None


def test_a_running_call_is_not_cancelled_unless_asked_for(executor, tmp_path):
    running = executor.submit(calls.mark_and_wait, str(tmp_path / "begun"))
    waiting = executor.submit(calls.double, 1)
    worker = Census().note(has_begun(tmp_path / "begun"))
    assert not running.cancel()
    assert waiting.cancel()
    assert executor.kill(running)
    assert running.cancelled()
    assert running.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        running.result()
    worker.assert_gone()
    assert alive_and_well(executor)
    done = executor.submit(calls.double, 1)
    assert got(done) == 2
    assert not executor.kill(done)
    with pytest.raises(ValueError):
        executor.kill(Future())


def test_who_waits_for_a_killed_call_is_told(executor, tmp_path):
    running = executor.submit(calls.mark_and_wait, str(tmp_path / "begun"))
    has_begun(tmp_path / "begun")
    told = threading.Event()
    running.add_done_callback(lambda _future: told.set())
    threading.Timer(0.01, executor.kill, [running]).start()
    done, _ = concurrent.futures.wait([running], PATIENCE)
    assert done == {running}
    assert told.wait(PATIENCE)
