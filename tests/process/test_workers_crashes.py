"""Workers that die: one request is lost, and with a policy not even that; what kills worker after worker is stopped."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio
import trio.testing
from support import async_duties
from support.duties import TARGET, Count, Die, DieOnce, Echo, Nap, Wait, WhoAreYou
from support.pools import Sent, gone, run, touch, until, workers_of

from taskrun.workers import HandlerFailed, Restarts, RetryOnCrash, WorkerCrashed, WorkerStartFailed
from taskrun.workers.clerk import Clerk


def test_of_twenty_requests_one_of_which_kills_its_worker_nineteen_have_results():
    async def test(pool):
        requests = [Die() if number == 3 else Nap(0.01) for number in range(20)]
        done = [each async for each in pool.map(requests)]

        lost = [each for each in done if each.failure is not None]
        assert [each.request for each in lost] == [requests[3]]
        assert isinstance(lost[0].failure, WorkerCrashed)
        assert lost[0].failure.signal == signal.SIGKILL
        assert await pool.send(Echo("still here")) == "still here"
        await workers_of(pool, 2)
        told = pool.statistics
        assert (told.completed, told.crashed, told.crashes, told.started) == (20, 1, 1, 3)

    run(test, size=2)


@pytest.mark.parametrize(
    ("how", "exit_code", "number"),
    [
        ("kill", None, signal.SIGKILL),
        ("segv", None, signal.SIGSEGV),
        ("abort", None, signal.SIGABRT),
        ("exit", 7, None),
    ],
)
def test_how_the_worker_ended_arrives(how, exit_code, number):
    async def test(pool):
        with pytest.raises(WorkerCrashed) as caught:
            await pool.send(Die(how))

        crash = caught.value
        assert (crash.exit_code, crash.signal, crash.attempt) == (exit_code, number, 1)
        assert (signal.Signals(number).name if number else "exited with 7") in str(crash)
        assert crash.max_rss > 1 << 20
        assert crash.cpu > 0
        if how in ("segv", "abort"):
            assert "in die" in crash.stderr  # its stack
        if how == "exit":
            assert crash.stderr == "these are its last words"
        assert await pool.send(Count()) == 1

    run(test)


@pytest.mark.parametrize(("target", "request_"), [(TARGET, WhoAreYou()), (async_duties.TARGET, async_duties.Plain())])
def test_a_worker_that_dies_idle_costs_nothing(target, request_):
    async def test(pool):
        for number in (signal.SIGKILL, signal.SIGTERM):
            worker = await pool.send(request_)
            os.kill(worker, number)
            await until(lambda: pool.statistics.crashes)
            assert await pool.send(request_) != worker
            pool._staff.counts["crashes"] = 0

    run(test, target)


def test_a_policy_has_the_request_carried_out_by_another_worker(tmp_path):
    async def test(pool):
        worker = await pool.send(WhoAreYou())
        assert await pool.send(DieOnce(str(tmp_path / "died"))) != worker
        with pytest.raises(WorkerCrashed):  # it has no policy
            await pool.send(Die())
        assert pool.statistics.crashes == 2
        assert pool.statistics.crashed == 1

    run(test, on_crash={DieOnce: RetryOnCrash()})


@pytest.mark.parametrize(("attempts", "tried"), [(1, 1), (2, 2), (9, 2)])
def test_a_request_that_has_killed_two_workers_is_poison_whatever_the_policy(attempts, tried):
    async def test(pool):
        with pytest.raises(WorkerCrashed) as caught:
            await pool.send(Die())

        assert caught.value.attempt == tried
        assert pool.statistics.crashes == tried
        assert await pool.send(Echo("fine")) == "fine"

    run(test, on_crash=RetryOnCrash(attempts=attempts))


def test_workers_that_crash_too_often_end_the_pool():
    async def test(pool):
        for _ in range(3):
            with pytest.raises(WorkerCrashed):
                await pool.send(Die())
        with pytest.raises(WorkerStartFailed, match="more than 2 workers have crashed within 60 s") as caught:
            await pool.send(Echo())
        assert caught.value.kind == "restarts"

    run(test, restarts=Restarts(most=2, within=60.0))


def test_what_waits_when_a_pool_gives_up_is_told(tmp_path):
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            sent = [Sent(pool, Die(), nursery) for _ in range(2)]
            sent += [Sent(pool, Echo(), nursery, priority=-1) for _ in range(2)]
            await until(lambda: pool.statistics.queued == 4)
            touch(tmp_path / "go")
        kinds = [type(each.failure) for each in sent]
        assert kinds == [WorkerCrashed, WorkerCrashed, WorkerStartFailed, WorkerStartFailed]

    run(test, restarts=Restarts(most=1))


def test_what_a_crashed_worker_had_not_begun_is_carried_out_by_another():
    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Nap(30.0), nursery)
            worker = gone(await first.begun())
            others = [Sent(pool, Echo(str(number)), nursery) for number in range(7)]
            await until(lambda: pool.statistics.queued == 0)  # the worker has them all
            os.kill(first.pid, signal.SIGKILL)
        assert isinstance(first.failure, WorkerCrashed)
        assert [each.result for each in others] == [str(number) for number in range(7)]
        assert pool.statistics.crashed == 1
        worker.assert_gone()

    run(test, prefetch=8)


@pytest.mark.parametrize("target", [TARGET, async_duties.TARGET])
def test_a_worker_that_somebody_tells_to_stop_costs_what_is_in_work_and_no_more(tmp_path, target):
    of_plain = target == TARGET

    async def test(pool):
        never = str(tmp_path / "never")
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(never) if of_plain else async_duties.Wait(never), nursery)
            worker = await first.begun()
            others = [Sent(pool, WhoAreYou() if of_plain else async_duties.Plain(), nursery) for _ in range(3)]
            await until(lambda: pool.statistics.queued == 1)
            os.kill(worker, signal.SIGTERM)
        assert isinstance(first.failure, HandlerFailed)
        assert first.failure.message == "stopped by SIGTERM"
        assert [each.failure for each in others] == [None] * 3
        assert worker not in {each.result for each in others}
        assert pool.statistics.crashes == 1
        assert pool.statistics.crashed == 0

    run(test, target, prefetch=3)


# --- workers that cannot start ----------------------------------------------------------------------------------------

BROKEN = {
    "import": "import missing_module_of_nobody",
    "import of a name": "from taskrun.workers import Handlers\n",
    "import of another thing": "handlers = 3\n",
    "state": """
import contextlib
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    raise OSError("no such database")
    yield
handlers = Handlers(state=state)
""",
    "timeout": "import time\ntime.sleep(60)\n",
    "timeout of the state": """
import contextlib, time
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    time.sleep(60)
    yield
handlers = Handlers(state=state)
""",
    "crash": """
import contextlib, os
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    os.kill(os.getpid(), 9)
    yield
handlers = Handlers(state=state)
""",
    "contract of a handler": """
from dataclasses import dataclass
from taskrun.workers import Handlers, Request
@dataclass
class Odd(Request[int]):
    pass
handlers = Handlers()
@handlers.on(Odd)
def odd():
    return 1
""",
}


def start_failure(monkeypatch, tmp_path, code, **settings):
    (tmp_path / "broken.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def never(_pool):
        raise AssertionError

    with pytest.raises(WorkerStartFailed) as caught:
        run(never, "broken:handlers", **settings)
    return caught.value


@pytest.mark.parametrize(
    ("what", "kind", "message", "traceback"),
    [
        ("import", "import", "missing_module_of_nobody", "broken.py"),
        ("import of a name", "import", "`broken` has no `handlers`", ""),
        ("import of another thing", "import", "is a `int` and no", ""),
        ("contract of a handler", "import", "must take the request", "broken.py"),
        ("state", "state", "no such database", "broken.py"),
        ("crash", "crash", "SIGKILL", ""),
    ],
)
def test_a_worker_that_cannot_start_says_why_at_once(  # noqa: PLR0917 - the columns of the table
    monkeypatch, tmp_path, what, kind, message, traceback
):
    failure = start_failure(monkeypatch, tmp_path, BROKEN[what], size=2)

    assert failure.kind == kind
    assert message in str(failure)
    assert traceback in failure.traceback


@pytest.mark.parametrize(("what", "line"), [("timeout", ""), ("timeout of the state", "broken.py")])
def test_the_time_to_start_is_the_one_that_was_set(monkeypatch, tmp_path, what, line):
    from taskrun.workers import Timeouts

    failure = start_failure(monkeypatch, tmp_path, BROKEN[what], timeouts=Timeouts(startup=0.5))

    assert failure.kind == "timeout"
    assert str(failure) == "the worker was not ready within 0.5 s"
    assert line in failure.traceback


def test_a_slow_start_within_its_time_is_waited_for(monkeypatch, tmp_path):
    code = BROKEN["timeout of the state"].replace("sleep(60)", "sleep(2.5)")
    (tmp_path / "slow.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        assert pool.statistics.workers == 1

    run(test, "slow:handlers")


def test_a_machine_that_was_short_of_something_for_a_moment_does_not_cost_the_pool(monkeypatch):
    fork, failed = Clerk._fork, []

    async def refused_once(self):
        if not failed:
            failed.append(self)
            raise WorkerStartFailed("spawn", "Resource temporarily unavailable")
        await fork(self)

    monkeypatch.setattr(Clerk, "_fork", refused_once)

    async def test(pool):
        assert await pool.send(Echo("here")) == "here"

    run(test, size=1)
    assert failed


def test_a_module_to_be_preloaded_that_is_not_there_is_named():
    async def never(_pool):
        raise AssertionError

    with pytest.raises(WorkerStartFailed, match="there is no module `jsom`") as caught:
        run(never, preload=["jsom"])
    assert caught.value.kind == "import"


def test_a_module_that_is_not_there_is_named():
    async def never(_pool):
        raise AssertionError

    with pytest.raises(WorkerStartFailed, match="module_of_nobody") as caught:
        run(never, "module_of_nobody:handlers", size=2)
    assert caught.value.kind == "import"


@pytest.mark.parametrize("code", ["import os\nos._exit(3)\n", "import ctypes\nctypes.string_at(0)\n"])
def test_a_module_that_ends_the_process_while_it_is_imported_is_told(monkeypatch, tmp_path, code):
    failure = start_failure(monkeypatch, tmp_path, code)

    assert failure.kind in ("spawn", "crash")


def test_an_interpreter_that_is_not_there_is_told():
    async def never(_pool):
        raise AssertionError

    with pytest.raises(WorkerStartFailed) as caught:
        run(never, python="/nowhere/python")
    assert caught.value.kind == "spawn"


def test_an_interpreter_of_its_own_is_used(monkeypatch, tmp_path):
    paths = os.pathsep.join([path for path in sys.path if path])
    monkeypatch.setenv("PYTHONPATH", paths)

    async def test(pool):
        assert await pool.send(Echo("from elsewhere")) == "from elsewhere"

    run(test, python=sys.executable)


def test_a_contract_that_differs_is_found_before_a_request_is_sent(monkeypatch, tmp_path):
    """The two ends import the module at different times, and somebody has changed it in between."""
    code = """
from dataclasses import dataclass
from taskrun.workers import Handlers, Request
@dataclass(frozen=True)
class Resize(Request[RESULT]):
    width: WIDTH
handlers = Handlers()
@handlers.on(Resize)
def resize(request):
    return request.width
"""
    here: dict[str, object] = {"__name__": __name__}
    exec(code.replace("RESULT", "int").replace("WIDTH", "int"), here)
    (tmp_path / "changed.py").write_text(code.replace("RESULT", "int").replace("WIDTH", "str"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        with pytest.raises(WorkerStartFailed, match="another class in the workers") as caught:
            await pool.send(here["Resize"](3))
        assert caught.value.kind == "contract"

    run(test, "changed:handlers")


def test_workers_that_can_start_no_more_end_the_pool(monkeypatch, tmp_path):
    """The first ones could: the file that they need has gone."""
    code = BROKEN["state"].replace('raise OSError("no such database")', 'open("NEEDED").close()')
    needed = tmp_path / "needed"
    needed.touch()
    (tmp_path / "needy.py").write_text(
        code.replace("NEEDED", str(needed)) + "from support.duties import Die, die, Echo\n"
        "handlers.on(Die)(die)\nhandlers.on(Echo)(lambda request, state: request.text)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        needed.unlink()
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Die(), nursery)
            await trio.testing.wait_all_tasks_blocked()
            second = Sent(pool, Echo(), nursery)
        assert isinstance(first.failure, WorkerCrashed)
        assert isinstance(second.failure, WorkerStartFailed)
        assert second.failure.kind == "state"
        with pytest.raises(WorkerStartFailed, match="needed"):
            await pool.send(Echo())

    run(test, "needy:handlers")


def test_a_start_that_fails_once_while_the_pool_finishes_does_not_keep_it_from_finishing(monkeypatch, tmp_path):
    code = f"""
import contextlib, os
from taskrun.workers import Handlers
@contextlib.contextmanager
def state():
    with open({str(tmp_path / "starts")!r}, "a") as file:
        file.write("x")
        number = file.tell()
    if number == 2:
        raise OSError("not now")
    yield number
from support.duties import Die, die, Echo, Wait, wait
handlers = Handlers(state=state)
handlers.on(Wait)(wait)
handlers.on(Die)(die)
handlers.on(Echo)(lambda request, state: str(state))
"""
    (tmp_path / "fickle.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        async with trio.open_nursery() as nursery:
            first = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await first.begun()
            Sent(pool, Die(), nursery)
            second = Sent(pool, Echo(), nursery, priority=-1)
            await until(lambda: pool.statistics.queued == 2)
            nursery.start_soon(pool.close)
            await trio.testing.wait_all_tasks_blocked()
            touch(tmp_path / "go")
        assert second.result == "3"

    run(test, "fickle:handlers")
