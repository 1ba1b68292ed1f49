"""The host's own life: it survives what is sent to everyone, and ends, with everything, when its runner does."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio
from support import census, programs
from support.linked import outcome, run, start

from taskrun import frames
from taskrun.host.start import exec_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.link import Link

RUNNER = """
import os, sys
from taskrun.host.start import {how}
host = {how}()
import trio
from support import programs
from support.linked import linked, start
async def main():
    async with linked(start=host) as link:
        print(link.pid, flush=True)
        for argv in (programs.sleeper(), programs.tree(3, 2), programs.daemon(wait=60), programs.daemon(clear=True, wait=60),
                     programs.stops_itself(), programs.comets(2, 0.002, wait=60), *{more}):
            task = await start(link, argv)
            for _ in range(15 if 'grow' in argv[-1] else 1):
                print(await task.pid_in_line(), flush=True)
        print('all', flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


class Runner:
    """A runner in a process group of its own, with a host and six attempts that run."""

    def __init__(self, how: str, more: str) -> None:
        env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests", "RUNNER_MARK": f"x{os.getpid()}y"}
        code = RUNNER.format(how=how, more=more)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env, process_group=0
        )
        assert self.process.stdout is not None
        self.pids: list[int] = []
        for line in self.process.stdout:
            if line == "all\n":
                break
            self.pids.append(int(line))
        self.host = self.pids[0]
        self.census = census.Census().note(*self.pids)
        self.census.note_marked(env["RUNNER_MARK"])

    def close(self) -> None:
        """Leaves nothing, whatever the test did."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.kill()
        self.process.wait(30)
        for pid in self.census.alive():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=["fork_host", "exec_host"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    runner = Runner(request.param, "()")
    yield runner
    runner.close()


@pytest.fixture
def stubborn() -> Iterator[Runner]:
    runner = Runner("fork_host", "(programs.ignores_term(),)")
    yield runner
    runner.close()


def test_sigkill_to_the_runner_leaves_nothing(runner: Runner) -> None:
    """A10."""
    runner.process.kill()
    runner.process.wait(30)
    runner.census.assert_gone()
    assert census.Census().note_marked(f"x{os.getpid()}y") == []


def test_sigkill_to_the_runners_group_leaves_nothing(runner: Runner) -> None:
    """A11."""
    os.killpg(runner.process.pid, signal.SIGKILL)
    runner.process.wait(30)
    runner.census.assert_gone()
    assert census.Census().note_marked(f"x{os.getpid()}y") == []


def test_what_does_not_obey_a_dead_runner_is_killed_after_two_seconds(stubborn: Runner) -> None:
    began = time.monotonic()
    stubborn.process.kill()
    stubborn.process.wait(30)
    stubborn.census.assert_gone()
    assert time.monotonic() - began > 1.5
    assert census.Census().note_marked(f"x{os.getpid()}y") == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_run_within_a_run_ends_with_all_that_is_below_it(how: str) -> None:
    """A26: the outer one ends an attempt that is itself a runner, with a host and templates of its own."""
    code = RUNNER.format(how="fork_host", more="(programs.ignores_term(),)")
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}

    async def body(link: Link) -> None:
        beside = await start(link, programs.sleeper())
        task = await start(link, (sys.executable, "-c", code), env=env)
        seen = census.Census()
        while (line := await task.line()) != "all":
            seen.note(int(line))
        seen.note_marked(task.process.mark)
        if how == "stop":
            link.stop(task.process, signal.SIGTERM)
        else:
            link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status == (signal.SIGTERM if how == "stop" else signal.SIGKILL)
        assert usage.leaked == ()
        assert seen.alive() == []
        assert census.start_time(beside.process.pid)
        link.kill(beside.process)
        await beside.end()

    run(body)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_that_are_sent_to_everyone_do_not_end_the_host(runner: Runner, number: int) -> None:
    for _ in range(3):
        os.kill(runner.host, number)
    time.sleep(0.05)
    assert census.state_of(runner.host) in {"S", "R"}
    os.killpg(runner.process.pid, signal.SIGKILL)
    runner.process.wait(30)
    runner.census.assert_gone()


def test_a_runner_that_ends_in_an_exception_leaves_nothing(runner: Runner) -> None:
    os.kill(runner.process.pid, signal.SIGINT)  # KeyboardInterrupt in trio.run
    runner.process.wait(30)
    runner.census.assert_gone()


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xff\xff\xff",
        b"\x04\x00\x00\x00junk",
        frames.pack("no tuple"),
        frames.pack(("no request", 1)),
        frames.pack(("kill",)),
        frames.pack(("spawn", 1, {"argv": ["true"]}, 2)),  # descriptors are missing
        frames.pack(("call", 1, "no template", {"mark": "", "env": {}, "cwd": "/", "stdin": False}, 0)),
    ],
    ids=["length", "marshal", "form", "request", "arguments", "descriptors", "template"],
)
def test_noise_on_the_socket_ends_the_host_and_all_that_runs(noise: bytes) -> None:
    host = exec_host()
    sock = socket.socket(fileno=host.socket.detach())
    with sock, open(os.devnull, "rb+", buffering=0) as null:
        sock.settimeout(30)
        reader = frames.FrameReader()
        request = {"argv": ["sleep", "60"], "env": dict(os.environ), "cwd": "/", "mark": "m"}
        frames.send_fds(sock, frames.pack(("spawn", 1, request, 2)), [null.fileno(), null.fileno()])
        messages = []
        while not messages:
            messages += reader.receive(sock)
        ((kind, _number, pid, start_time),) = messages
        assert kind == "spawned"
        assert census.start_time(pid) == start_time
        seen = census.Census().note(pid, host.pid)
        sock.sendall(noise)
        with contextlib.suppress(frames.Disconnected):
            while True:
                reader.receive(sock)
        census.wait_until(lambda: os.waitpid(host.pid, os.WNOHANG)[0])
        seen.assert_gone()


def test_the_hosts_descriptors_and_children_stay_flat() -> None:
    async def body(link: Link) -> None:
        for _ in range(3):
            await outcome(link, ("true",))
        before = census.descriptors_of(link.pid)
        async with trio.open_nursery() as nursery:

            async def some() -> None:
                for number in range(50):
                    argv = ("true",) if number % 5 else programs.last_words(0.01)
                    await outcome(link, argv)

            for _ in range(4):
                nursery.start_soon(some)
        assert census.descriptors_of(link.pid) == before
        assert census.zombies_of(link.pid) == []

    run(body)


def test_descriptors_of_the_runners_caller_do_not_stay_with_the_host() -> None:
    """A pipe that the caller waits for must end with the runner, not with the host."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}
    code = """
import os, time
from taskrun.host.start import fork_host, exec_host
for host in [fork_host(), exec_host()]:
    while open(f'/proc/{host.pid}/comm').read() != 'taskrun-host\\n': time.sleep(0.01)
    links = [os.readlink(f'/proc/{host.pid}/fd/{n}') for n in range(4)]
    print(links[:3] == ['/dev/null'] * 3, links[3].startswith('socket:'), os.getsid(host.pid) == host.pid)
    print(not os.path.exists(f'/proc/{host.pid}/fd/NUMBER'))
""".replace("NUMBER", str(writing))
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=30, env=env, pass_fds=[writing]
    )
    os.close(writing)
    assert os.read(reading, 1) == b"", "somebody holds it"
    os.close(reading)
    assert done.stdout.split() == ["True"] * 8


def test_a_forked_host_reads_no_terminal_and_is_named() -> None:
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    code = """
import os, time
from taskrun.host.start import fork_host
host = fork_host()
until = time.monotonic() + 20
while open(f'/proc/{host.pid}/comm').read() != 'taskrun-host\\n': assert time.monotonic() < until
print(os.readlink(f'/proc/{host.pid}/fd/0'), os.readlink(f'/proc/{host.pid}/cwd'))
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=30, env=env)
    assert done.stdout == "/dev/null /\n"


def test_a_host_forked_where_the_standard_streams_are_closed_works() -> None:
    """A28."""
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}
    code = """
import os
for fd in (0, 1, 2): os.close(fd)
from taskrun.host.start import fork_host
host = fork_host()
while os.open('/dev/null', os.O_RDWR) < 3: pass
from support.linked import outcome, run
ends = []
async def body(link): ends.append(await outcome(link, ('echo', 'well')))
run(body, start=host)
os._exit(0 if ends[0][1] == 'well\\n' else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=30, env=env, check=False).returncode == 0


def test_the_host_imports_only_cheap_modules() -> None:
    """Its start is part of every run; and it must know nothing of trio, click, rich or msgspec."""
    code = """
import os, sys
sys.path.append(sys.argv[1])
before = set(sys.modules)
import taskrun.host.supervisor, taskrun.host.serve, taskrun.host.linux
print(sorted(name for name in set(sys.modules) - before if not name.startswith('taskrun')))
"""
    argv = [sys.executable, "-I", "-S", "-c", code, os.getcwd()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    allowed = {"__future__", "_heapq", "_socket", "errno", "fcntl", "heapq", "marshal", "resource", "select", "time"}
    assert set(ast.literal_eval(done.stdout)) <= allowed


def test_the_start_leaves_the_callers_process_as_it_was() -> None:
    """Embedded: no handler, no subreaper, no thread, no change of folder."""

    async def body(link: Link) -> None:
        task = await start(link, ("true",))
        await task.end()

    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    folder = os.getcwd()

    async def main() -> None:
        from taskrun.link import open_link

        async with open_link(adopt=False) as link:
            await body(link)
            handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
            changed = {number for number in before if handlers[number] != before[number]} - {signal.SIGINT}
            assert changed == set()  # INT is trio's own
            assert is_subreaper() is False

    trio.run(main)
    assert os.getcwd() == folder


def is_subreaper() -> bool:
    import ctypes

    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(37, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)
