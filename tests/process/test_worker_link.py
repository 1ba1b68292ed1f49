"""Templates and workers under the real host and its link: who lives on when something dies, and what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from support.linked import run, start

from taskrun.link import SpawnError, TemplateSpec, Usage
from taskrun.worker import wire

if TYPE_CHECKING:
    from pathlib import Path

    from taskrun.link import Link, Process

TASKS = """
import os, signal, subprocess, sys, threading, time
import taskrun

def add(a: int, b: int) -> int:
    return a + b

def surroundings():
    seen = open("/proc/self/environ").read()
    child = subprocess.run(["cat", "/proc/self/environ"], capture_output=True, text=True).stdout
    return [os.environ["TASKRUN_MARK"], seen.strip("\\0"), child.split("\\0"), os.getppid()]

def wait():
    taskrun.progress(1, 2)
    time.sleep(100)
    return "never"

def wait_while_a_thread_hears():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    hearing = threading.Event()
    def hear():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        hearing.set()
        time.sleep(100)
    threading.Thread(target=hear, daemon=True).start()
    hearing.wait()
    return wait()

def handle():
    heard = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: heard.append(number))
    child = os.fork()
    if child == 0:
        os._exit(signal.getsignal(signal.SIGURG) is signal.SIG_DFL)
    forked = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    taskrun.progress(1, 2)
    while not heard:
        time.sleep(0.01)
    time.sleep(0.5)  # for more to come, if there were more
    return [*heard, forked]

def wait_for(path: str):
    taskrun.progress(1, 2)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "seen"

def leave():
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(100)
        os._exit(0)
    return pid
"""


class Call:
    """A worker under a link, and what it has said."""

    def __init__(self, process: Process, channel: trio.SocketStream, err: trio.lowlevel.FdStream) -> None:
        self.process, self.channel, self.err = process, channel, err
        self._reader = wire.Reader()

    async def end(self) -> tuple[Usage, list[wire.AnyMessage]]:
        """Waits for its end."""
        messages: list[wire.AnyMessage] = []
        while data := await self.channel.receive_some(65536):
            messages += self._reader.feed(bytes(data))
        usage = await self.process.wait()
        await self.err.aclose()
        await self.channel.aclose()
        return usage, messages

    async def progress(self) -> None:
        """Waits until it has reported something."""
        messages: list[wire.AnyMessage] = []
        while not any(isinstance(message, wire.Progress) for message in messages):
            messages += self._reader.feed(bytes(await self.channel.receive_some(65536)))


async def begin(link: Link, spec: TemplateSpec, target: str, *args: object, cwd: str = "/") -> Call:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with theirs:
        try:
            process = await link.call(
                spec, env={"PATH": os.environ["PATH"]}, cwd=cwd, channel=theirs.fileno(), stdin=None,
                stdout=writing, stderr=writing,
            )  # fmt: skip
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            os.close(writing)
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    await channel.send_all(wire.encode(wire.Call(target=target, args=args)))
    return Call(process, channel, trio.lowlevel.FdStream(reading))


async def result(link: Link, spec: TemplateSpec, target: str, *args: object) -> object:
    usage, messages = await (await begin(link, spec, target, *args)).end()
    assert usage.status == 0
    assert isinstance(messages[-1], wire.Result), messages
    return msgspec.json.decode(messages[-1].value)


@pytest.fixture
def spec(tmp_path: Path) -> TemplateSpec:
    (tmp_path / "tasks.py").write_text(TASKS)
    return TemplateSpec(python=sys.executable, sys_path=(str(tmp_path),), cwd=str(tmp_path))


async def inspect(link: Link, spec: TemplateSpec, *targets: str) -> wire.InspectReply:
    sites = tuple(wire.CallSite(id=n, target=target) for n, target in enumerate(targets))
    reply = await link.inspect(spec, msgspec.msgpack.encode(wire.InspectRequest(calls=sites)), 30)
    return msgspec.msgpack.decode(reply, type=wire.InspectReply)


def test_inspections_and_calls_follow_each_other_in_any_order(spec):
    async def test(link: Link) -> None:
        assert await result(link, spec, "tasks:add", 1, 2) == 3
        reply = await inspect(link, spec, "tasks:add", "tasks:wait")
        assert [problem.argument for problem in reply.problems] == ["a", "b"]
        assert await result(link, spec, "tasks:add", 3, 4) == 7
        await inspect(link, spec, "tasks:add")
        sums: list[object] = []
        async with trio.open_nursery() as nursery:
            for n in range(20):

                async def one(n: int = n) -> None:
                    sums.append(await result(link, spec, "tasks:add", n, n))

                nursery.start_soon(one)
        assert sorted(sums) == [2 * n for n in range(20)]  # type: ignore[type-var]

    run(test)


def test_a_worker_and_its_children_carry_the_mark_and_are_the_hosts(spec):
    async def test(link: Link) -> None:
        await inspect(link, spec, "tasks:add")
        call = await begin(link, spec, "tasks:surroundings")
        _usage, messages = await call.end()
        mark, seen, child, parent = msgspec.json.decode(messages[-1].value)
        assert mark == call.process.mark
        assert seen == f"TASKRUN_MARK={mark}"
        assert f"TASKRUN_MARK={mark}" in child
        assert parent == link.pid

    run(test)


def test_a13_workers_outlive_their_template_and_the_next_call_gets_a_new_one(spec, tmp_path):
    async def test(link: Link) -> None:
        await inspect(link, spec, "tasks:add")
        call = await begin(link, spec, "tasks:wait_for", str(tmp_path / "go"))
        await call.progress()
        os.kill(template_of(link.pid), signal.SIGKILL)
        assert await result(link, spec, "tasks:add", 1, 2) == 3
        (tmp_path / "go").touch()
        usage, messages = await call.end()
        assert usage.status == 0
        assert messages[-1] == wire.Result(value=b'"seen"')

    run(test)


def test_a_descriptor_that_is_kept_open_is_everybodys(spec, tmp_path):
    """Programs, workers, the template and the next one after its death: so a lock tells when the last has ended."""
    path = tmp_path / "lock"

    def holds(pid: int) -> bool:
        with contextlib.suppress(FileNotFoundError):  # one that was just closed
            return str(path) in {os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")}
        return holds(pid)

    async def test(link: Link) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        link.keep_open(fd)
        program = await start(link, ("sleep", "100"))
        first = await begin(link, spec, "tasks:wait")
        await first.progress()
        os.kill(template_of(link.pid), signal.SIGKILL)
        second = await begin(link, spec, "tasks:wait")
        await second.progress()
        processes = [program.process, first.process, second.process]
        assert all(holds(pid) for pid in (link.pid, template_of(link.pid), *(each.pid for each in processes)))
        for process in processes:
            link.kill(process)
        await program.end()
        await first.end()
        await second.end()
        os.close(fd)

    run(test)


@pytest.mark.parametrize("target", ["wait", "wait_while_a_thread_hears"])
def test_a_worker_is_stopped_through_the_link(spec, target):
    """Also where the signal does not interrupt what the main thread waits for."""

    async def test(link: Link) -> None:
        call = await begin(link, spec, f"tasks:{target}")
        await call.progress()
        link.stop(call.process, signal.SIGTERM)
        usage, messages = await call.end()
        assert os.waitstatus_to_exitcode(usage.status) == 1
        assert messages[-1].kind == "cancelled"

    run(test)


def test_a_function_with_handlers_of_its_own_hears_a_stop_once(spec):
    async def test(link: Link) -> None:
        call = await begin(link, spec, "tasks:handle")
        await call.progress()
        link.stop(call.process, signal.SIGTERM)
        _usage, messages = await call.end()
        assert isinstance(messages[-1], wire.Result), messages
        assert msgspec.json.decode(messages[-1].value) == [signal.SIGTERM, 1]

    run(test)


def test_c16_what_a_worker_leaves_behind_is_killed_and_named(spec):
    async def test(link: Link) -> None:
        call = await begin(link, spec, "tasks:leave")
        usage = await call.process.wait()
        assert usage.status == 0
        (left,) = usage.leaked
        _usage, messages = await call.end()
        assert left.pid == msgspec.json.decode(messages[-1].value)
        with pytest.raises(ProcessLookupError):
            os.kill(left.pid, 0)

    run(test)


def test_a_folder_that_is_not_there_is_refused_by_kind(spec):
    async def test(link: Link) -> None:
        with pytest.raises(SpawnError) as error:
            await begin(link, spec, "tasks:add", cwd="/nowhere")
        assert error.value.failure.kind == "cwd"

    run(test)


def template_of(host: int) -> int:
    """The one child of the host that is called a template."""
    with open(f"/proc/{host}/task/{host}/children", encoding="ascii") as file:
        pids = [int(pid) for pid in file.read().split()]
    names = {}
    for pid in pids:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            names[file.read().strip()] = pid
    return names["taskrun-templat"]
