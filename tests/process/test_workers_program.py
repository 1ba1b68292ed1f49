"""A program with a pool: nothing of it is changed, and no worker outlives it or what supervises them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import trio
from support.census import Census, wait_until
from support.duties import TARGET, Echo, Resist, Wait
from support.pools import Sent, bounded, children, gone, run, until, workers_of

from taskrun.workers import WorkersError, open_pool

PROGRAM = """
import json, sys
import trio
from support.duties import TARGET, Resist
from taskrun.workers import open_pool

async def main():
    async with open_pool(TARGET, size=2, spares=1) as pool, trio.open_nursery() as nursery:
        pids = []
        for _ in range(2):
            nursery.start_soon(lambda: pool.send(Resist(), on_progress=lambda moved: pids.append(moved.message)))
        while len(pids) < 2:
            await trio.sleep(0.01)
        with open("/proc/self/task/%d/children" % __import__("os").getpid()) as file:
            host = [int(pid) for pid in file.read().split()]
        print(json.dumps([int(pid.split()[1]) for pid in pids] + host), flush=True)

trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_survives_its_program(tmp_path, number):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(program)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        seen = Census().note(*json.loads(process.stdout.readline()))
        assert len(seen.alive()) == 3
        process.send_signal(number)  # to it alone
        process.wait(30)
        seen.assert_gone()


INTERRUPTED = """
import trio
from support.duties import TARGET, Resist
from taskrun.workers import open_pool

async def main():
    async with open_pool(TARGET, size=2) as pool:
        await pool.send(Resist(), on_progress=lambda moved: print(moved.message, flush=True))

trio.run(main)
"""


def test_a_ctrl_c_shows_one_traceback_and_that_is_the_program_s_own(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTED, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(program)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        seen = gone(int(process.stdout.readline().split()[1]))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert stderr.count("Traceback") == 1
    assert stderr.splitlines()[-1] == "KeyboardInterrupt"
    seen.assert_gone()


INTERRUPTS_ITSELF = """
import os, signal, sys
import trio
from support.duties import TARGET, Echo, Resist
from taskrun.workers import open_pool

def interrupt(*_moved):
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

async def in_the_pool(request, call):
    interrupt()
    return await call(request)

async def main():
    if sys.argv[1] == "while a handler speaks":
        async with open_pool(TARGET, size=2) as pool:
            await pool.send(Resist(), on_progress=interrupt)
    else:
        async with open_pool(TARGET, size=2, middleware=[in_the_pool]) as pool:
            async for _done in pool.map([Resist(), Resist()]):
                pass

trio.run(main)
"""


@pytest.mark.parametrize("moment", ["while a handler speaks", "in the middleware of a map"])
def test_a_ctrl_c_in_the_middle_of_the_pools_own_tasks_ends_the_program(tmp_path, moment):
    """Python raises KeyboardInterrupt wherever it is: there it would end the task that was to end a worker."""
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTS_ITSELF, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, str(program), moment], env=environ, capture_output=True, text=True, timeout=40
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_a_program_is_not_changed():
    def state():
        subreaper = ctypes.c_int()
        ctypes.CDLL(None).prctl(37, ctypes.byref(subreaper), 0, 0, 0)
        return (
            subreaper.value,
            {number: signal.getsignal(number) for number in signal.valid_signals()},
            signal.pthread_sigmask(signal.SIG_BLOCK, []),
            os.listdir("/proc/self/task"),
            threading.active_count(),
            os.getcwd(),
            dict(os.environ),
            list(sys.path),
            os.umask(os.umask(0o22) or 0o22),
            [os.get_blocking(number) for number in range(3)],
        )

    async def test():
        before = state()
        async with open_pool(TARGET, size=2, max_memory=1 << 40, idle_timeout=1.0, spares=1) as pool:
            assert await pool.send(Echo("on")) == "on"
            assert state() == before
            assert len(children()) == 1
        assert state() == before
        assert children() == []

    wait_until(lambda: threading.active_count() == 1)  # trio keeps a thread that an earlier test has used, for a while
    umask = os.umask(0o22)
    try:
        bounded(test)
    finally:
        os.umask(umask)


# --- the process that supervises the workers is lost -------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_when_the_host_is_lost_every_send_fails_and_the_pool_can_be_closed(tmp_path, number):
    async def test(pool):
        (host,) = children()
        await workers_of(pool, 2)
        async with trio.open_nursery() as nursery:
            sent = [Sent(pool, Wait(str(tmp_path / "never")), nursery), Sent(pool, Resist(), nursery)]
            workers = gone(*[await each.begun() for each in sent])
            sent += [Sent(pool, Echo(), nursery) for _ in range(3)]
            await until(lambda: pool.statistics.queued == 3)
            os.kill(host, number)
            if number == signal.SIGSTOP:
                sent[0].scope.cancel()  # else nobody would ever want anything of it
                sent[1].scope.cancel()
        assert all(isinstance(each.failure, WorkersError) or each.scope.cancelled_caught for each in sent)
        with pytest.raises(WorkersError):
            await pool.send(Echo())
        await pool.close()
        workers.assert_gone()

    run(test, size=2)


def test_a_worker_that_was_lost_with_its_host_says_so(tmp_path):
    async def test(pool):
        (host,) = children()
        async with trio.open_nursery() as nursery:
            sent = Sent(pool, Wait(str(tmp_path / "never")), nursery)
            await sent.begun()
            os.kill(host, signal.SIGKILL)
        assert str(sent.failure).startswith("the worker was lost")
        assert sent.failure.exit_code is sent.failure.signal is None

    run(test)


def test_when_the_host_is_lost_at_rest_the_next_send_fails():
    async def test(pool):
        (host,) = children()
        assert await pool.send(Echo("on")) == "on"
        os.kill(host, signal.SIGKILL)
        with pytest.raises(WorkersError):  # noqa: PT012 - it takes a moment to be found out
            for _ in range(1000):
                await pool.send(Echo())
                await trio.sleep(0.01)

    run(test)


UNGUARDED = """
from dataclasses import dataclass
import trio
from taskrun.workers import Handlers, Request, open_pool

with open("imports", "a") as file:
    file.write(f"{__name__}\\n")

@dataclass(frozen=True)
class Add(Request[int]):
    number: int

handlers = Handlers()

@handlers.on(Add)
def add(request: Add) -> int:
    return request.number + 1

async def main():
    async with open_pool("unguarded:handlers", size=1) as pool:
        print(await pool.send(Add(1)))

GUARDtrio.run(main)
"""


@pytest.mark.parametrize("guard", ["", 'if __name__ == "__main__": '])
def test_a_script_that_has_its_own_handlers_wants_a_guard_and_says_so(tmp_path, guard):
    (tmp_path / "unguarded.py").write_text(UNGUARDED.replace("GUARD", guard), encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    finished = subprocess.run(
        [sys.executable, "unguarded.py"],
        cwd=tmp_path,
        env=environ,
        timeout=50,  # below the time that a worker has to start
        text=True,
        capture_output=True,
        check=False,
    )
    imported = (tmp_path / "imports").read_text(encoding="utf-8").split()
    if guard:
        assert finished.stdout == "2\n"
        assert imported == ["__main__", "unguarded"]
    else:
        assert finished.returncode == 1
        assert 'once under `if __name__ == "__main__":`' in finished.stderr.splitlines()[-1]
        assert imported == ["__main__", "unguarded", "unguarded"]  # the template, and the worker to say why


def test_a_pool_is_not_for_another_loop_and_lives_on():
    async def test(pool):
        async def elsewhere():
            with pytest.raises(RuntimeError, match=r"in the `trio\.run` that opened it"):
                await pool.send(Echo("elsewhere"))
            with pytest.raises(RuntimeError, match=r"in the `trio\.run` that opened it"):
                pool.map([Echo("elsewhere")])
            with pytest.raises(RuntimeError, match=r"in the `trio\.run` that opened it"):
                await pool.close()

        def without_any():
            with pytest.raises(RuntimeError):
                pool.send(Echo("elsewhere")).send(None)
            return trio.from_thread.run(pool.send, Echo("by way of a thread"))

        await trio.to_thread.run_sync(trio.run, elsewhere)
        assert await trio.to_thread.run_sync(without_any) == "by way of a thread"
        assert await pool.send(Echo("here")) == "here"

    run(test)
