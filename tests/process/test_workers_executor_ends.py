"""How an ``Executor`` ends, with its program or before it, and what its program may be."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest
from support import calls
from support.census import Census, wait_until

from taskrun.workers import Executor

PATIENCE = 30.0  # seconds after which a test hangs


def started(program: str, *, path=None, arguments=(), **how) -> subprocess.Popen:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    program = textwrap.dedent(program)
    argv = [sys.executable, "-W", "error"]
    if path is None:
        argv += ["-c", program]
    else:
        path.write_text(program, encoding="utf-8")
        argv += [str(path)]
    return subprocess.Popen(
        [*argv, *arguments], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def said(program: str, **how) -> str:
    """What a program writes that ends well."""
    with started(program, **how) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    return out


# --- shutdown ---------------------------------------------------------------------------------------------------------


def test_shutdown_finishes_what_was_submitted_and_takes_nothing_more():
    executor = Executor(2)
    futures = [executor.submit(calls.double, number) for number in range(10)]
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(calls.double, 1)
    executor.shutdown()
    assert [future.result(0) for future in futures] == [2 * number for number in range(10)]
    executor.shutdown()


def test_one_that_was_never_used_starts_nothing():
    before = threading.active_count()
    with Executor():
        assert threading.active_count() == before


def test_one_that_nobody_has_any_more_finishes_and_ends():
    before = threading.active_count()
    executor = Executor(1)
    results = executor.map(calls.double, range(5))
    del executor
    gc.collect()
    assert list(results) == [0, 2, 4, 6, 8]
    wait_until(lambda: threading.active_count() == before)


def test_what_waits_is_cancelled_on_request(tmp_path):
    executor = Executor(1)
    running = executor.submit(calls.mark_and_wait, str(tmp_path / "begun"), str(tmp_path / "go"))
    waiting = [executor.submit(calls.double, number) for number in range(5)]
    wait_until((tmp_path / "begun").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    wait_until(lambda: all(future.cancelled() for future in waiting))
    (tmp_path / "go").touch()
    executor.shutdown()
    assert running.result(0) > 0


@pytest.mark.parametrize("way", ["terminate_workers", "kill_workers"])
def test_workers_can_be_ended_with_what_they_do(tmp_path, way):
    executor = Executor(1, grace=0.2)
    running = executor.submit(calls.resist, str(tmp_path / "begun"))
    waiting = executor.submit(calls.double, 1)
    wait_until((tmp_path / "begun").exists)
    worker = Census().note(int((tmp_path / "begun").read_text(encoding="utf-8")))
    getattr(executor, way)()
    executor.shutdown()
    worker.assert_gone()
    assert waiting.cancelled()
    with pytest.raises(BrokenProcessPool):
        running.result(0)
    with pytest.raises(RuntimeError):
        executor.submit(calls.double, 1)


def test_workers_can_be_killed_before_they_are_there():
    executor = Executor(1)
    futures = [executor.submit(calls.double, number) for number in range(3)]
    executor.kill_workers()
    executor.shutdown()
    assert all(future.done() for future in futures)


# --- programs ---------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from support import calls
from taskrun.workers import Executor

ran = sys.stderr if __name__ == "nothing" else None

class Point:
    def __init__(self, x):
        self.x = x

def double(point):
    return Point(2 * point.x)

def arguments():
    return sys.argv[1:]

count = 0

def counted():
    global count
    count += 1
    return count

if __name__ == "__main__":
    with Executor(1) as executor:
        {first}
        doubled = executor.submit(double, Point(21)).result()
        print(doubled.x, type(doubled) is Point, executor.submit(arguments).result(), flush=True)
        print([executor.submit(counted).result() for _ in range(2)], count)
"""


@pytest.mark.parametrize("first", ["pass", "executor.submit(calls.double, 1).result()"])
def test_a_script_s_own_functions_and_classes_are_known_to_workers(tmp_path, first):
    out = said(SCRIPT.format(first=first), path=tmp_path / "script.py", arguments=["a", "b"])
    assert out == "42 True ['a', 'b']\n[1, 2] 0\n"


def test_a_script_without_its_guard_is_told_so(tmp_path):
    program = """
    from taskrun.workers import Executor

    def double(number):
        return 2 * number

    print(Executor(1).submit(double, 1).exception())
    """
    assert 'if __name__ == "__main__":' in said(program, path=tmp_path / "script.py")


def test_a_script_without_its_guard_is_not_run_again_for_what_is_elsewhere(tmp_path):
    program = """
    from support import calls
    from taskrun.workers import Executor

    print(Executor(1).submit(calls.double, 1).result())
    """
    assert said(program, path=tmp_path / "script.py") == "2\n"


def test_functions_that_were_typed_in_are_refused_in_words():
    program = """
    from taskrun.workers import Executor

    def double(number):
        return 2 * number

    with Executor(1) as executor:
        print(executor.submit(double, 1).exception())
        print(executor.submit(abs, -1).result())
    """
    out = said(program)
    assert "put it into a module" in out
    assert out.endswith("\n1\n")


@pytest.mark.parametrize("shut", ["", "executor.shutdown(wait=False)"])
def test_at_the_program_s_end_what_was_submitted_is_done(shut):
    program = f"""
    import atexit, time
    from taskrun.workers import Executor

    executor = Executor(2)

    @atexit.register
    def late():
        try:
            executor.submit(abs, -1)
        except RuntimeError as error:
            print(error)

    for text in ("one", "two", "three"):
        executor.submit(time.sleep, 0.05)
        executor.submit(print, text, flush=True).add_done_callback(lambda future: print(future.result()))
    {shut}
    """
    lines = said(program).splitlines()
    assert sorted(lines[:-1]) == ["None", "None", "None", "one", "three", "two"]
    assert lines[-1].startswith("cannot schedule new futures after ")


def test_a_fork_of_the_program_has_no_part_in_it():
    executor = Executor(1)
    assert executor.submit(calls.double, 1).result(PATIENCE) == 2
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            executor.submit(calls.double, 1)
        except RuntimeError as error:
            executor.shutdown()
            executor.kill_workers()
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    text = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)
    assert "belongs to the process that made it" in text
    assert executor.submit(calls.double, 2).result(PATIENCE) == 4
    executor.shutdown()


def test_no_worker_outlives_a_killed_program_whose_fork_lives_on(tmp_path):
    program = f"""
    import os, time
    from support import calls
    from taskrun.workers import Executor

    executor = Executor(2)
    for name in "ab":
        executor.submit(calls.resist, os.path.join({str(tmp_path)!r}, name))
    while len(os.listdir({str(tmp_path)!r})) < 2:
        time.sleep(0.01)
    fork = os.fork()
    if fork == 0:
        time.sleep(60)
        os._exit(0)
    print(fork, flush=True)
    time.sleep(60)
    """
    with started(program) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        wait_until(lambda: all((tmp_path / name).exists() for name in "ab"))
        workers = Census().note(*[int((tmp_path / name).read_text(encoding="utf-8")) for name in "ab"])
        assert len(workers.alive()) == 2
        process.kill()
        process.wait(PATIENCE)
        try:
            workers.assert_gone()
            os.kill(fork, 0)
        finally:
            os.kill(fork, signal.SIGKILL)
        process.stdout.read()  # until the fork has gone too
