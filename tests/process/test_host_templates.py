"""Templates: real ones, and fake ones that misbehave in ways that no real one can be made to (row A13)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from support import census, programs
from support.linked import PATIENCE, linked, run, start

from taskrun.link import SpawnError, TemplateSpec
from taskrun.worker import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from taskrun.link import Link, Process

MODULE = """
import os, signal, subprocess, sys, time
def pid(): return os.getpid()
def where(): return [os.getppid(), os.getsid(0) == os.getpid(), os.getcwd(), os.environ.get("NAME"), os.environ["TASKRUN_MARK"]]
def sleep(): print("ready", os.getpid(), flush=True); time.sleep(60)
def stuck():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    print("ready", os.getpid(), flush=True); time.sleep(60)
def leave(): return subprocess.Popen(["sleep", "60"], start_new_session=True, env={}).pid
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def limit():
    import resource
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""


@pytest.fixture
def spec(tmp_path: Path) -> TemplateSpec:
    (tmp_path / "host_module.py").write_text(MODULE)
    return TemplateSpec(sys_path=(str(tmp_path),), cwd=str(tmp_path), preload=("host_module",))


class Worker:
    """A call that was made, its channel, and what it writes."""

    def __init__(self, process: Process, channel: socket.socket, reading: int) -> None:
        self.process = process
        self.output = trio.lowlevel.FdStream(reading)
        self._channel = trio.socket.from_stdlib_socket(channel)

    async def result(self) -> bytes:
        """Everything that came over the channel, until its end."""
        data = b""
        try:
            while piece := await self._channel.recv(65536):
                data += piece
        except ConnectionError:
            pass
        self._channel.close()
        await self.output.aclose()
        return data

    async def line(self) -> int:
        """The number at the end of the first line."""
        text = b""
        while not text.endswith(b"\n"):
            text += await self.output.receive_some()
        return int(text.split()[-1])


async def call(link: Link, spec: TemplateSpec, function: str, **how: Any) -> Worker:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    how = {"env": dict(os.environ), "cwd": "/", **how}
    try:
        process = await link.call(spec, channel=theirs.fileno(), stdin=None, stdout=writing, stderr=writing, **how)
    except BaseException:
        ours.close()
        os.close(reading)
        raise
    finally:
        theirs.close()
        os.close(writing)
    ours.sendall(wire.encode(wire.Call(target=f"host_module:{function}")))
    return Worker(process, ours, reading)


def test_a_worker_is_the_hosts_child_in_its_own_session_with_the_tasks_environment(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        worker = await call(link, spec, "where", cwd="/usr", env={"NAME": "x", "TASKRUN_MARK": "outer"})
        result = await worker.result()
        usage = await worker.process.wait()
        assert usage.status == 0
        assert usage.leaked == ()
        assert f'[{link.pid},true,"/usr","x","outer:{worker.process.mark}"]'.encode() in result

    run(body)


def test_workers_are_told_from_each_other_and_from_programs(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        async def one() -> None:
            for _ in range(10):
                worker = await call(link, spec, "pid")
                assert str(worker.process.pid).encode() in await worker.result()
                assert (await worker.process.wait()).status == 0

        async def program() -> None:
            for _ in range(10):
                task = await start(link, programs.last_words(0.01))
                usage, text = await task.end()
                assert (usage.status, usage.leaked, text) == (0, (), "the last line\n")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
                nursery.start_soon(program)
        assert census.zombies_of(link.pid) == []

    run(body)


def test_a_worker_that_crashes_or_leaves_something_is_reported(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        crashed = await call(link, spec, "crash")
        await crashed.result()
        usage = await crashed.process.wait()
        assert usage.status is not None
        assert os.WTERMSIG(usage.status) == signal.SIGSEGV
        beside = await start(link, programs.sleeper())
        await beside.line()
        leaving = await call(link, spec, "leave")
        data = await leaving.result()
        usage = await leaving.process.wait()
        left = [*usage.leaked, *await link.shutdown()]
        assert any(str(leftover.pid).encode() in data for leftover in left if "sleep 60" in leftover.command)
        await beside._output.aclose()

    run(body)


def test_stop_dump_and_kill_reach_a_worker(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        worker = await call(link, spec, "stuck")
        pid = await worker.line()
        assert pid == worker.process.pid
        link.stop(worker.process, signal.SIGTERM)
        link.dump(worker.process)
        text = b""
        while b"in stuck" not in text:
            text += await worker.output.receive_some()
        assert census.start_time(pid)
        link.kill(worker.process)
        assert (await worker.process.wait()).status == signal.SIGKILL
        await worker.result()

    run(body)


def test_a_suspended_run_leaves_templates_alone_and_stops_workers(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        worker = await call(link, spec, "sleep")
        pid = await worker.line()
        await link.suspend()
        assert census.state_of(pid) == "T"
        with trio.fail_after(PATIENCE):
            second = await call(link, spec, "sleep")
        await trio.to_thread.run_sync(census.wait_until, lambda: census.state_of(second.process.pid) == "T")
        await link.resume()
        assert await second.line() == second.process.pid
        for each in (worker, second):
            link.kill(each.process)
            await each.process.wait()
            await each.result()

    run(body)


def test_a_folder_that_is_missing_fails_the_call_as_it_does_a_program(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        with pytest.raises(SpawnError) as info:
            await call(link, spec, "pid", cwd="/nonexistent")
        assert (info.value.failure.kind, str(info.value)) == ("cwd", "the folder /nonexistent does not exist")

    run(body)


def test_an_interpreter_without_taskrun_says_so() -> None:
    async def body(link: Link) -> None:
        bare = TemplateSpec(python="/bin/false")
        with pytest.raises(SpawnError, match="/bin/false could not become a template: exit 1") as info:
            await call(link, bare, "pid")
        assert info.value.failure.kind == "template"
        nothing = TemplateSpec(python=sys.executable.replace("python", "./python"), env={"PYTHONHOME": "/nonexistent"})
        with pytest.raises(SpawnError):
            await call(link, nothing, "pid")

    run(body)


def test_a_killed_template_costs_the_running_workers_nothing_and_is_started_anew(spec: TemplateSpec) -> None:
    """A13."""
    warnings: list[str] = []

    async def main() -> None:
        async with linked(warn=warnings.append) as link:
            worker = await call(link, spec, "sleep")
            pid = await worker.line()
            (template,) = templates_of(link.pid, but=pid)
            os.kill(template, signal.SIGKILL)
            second = await call(link, spec, "pid")
            assert str(second.process.pid).encode() in await second.result()
            assert (await second.process.wait()).status == 0
            assert census.start_time(pid), "it died with its template"
            link.kill(worker.process)
            assert (await worker.process.wait()).status == signal.SIGKILL
            await worker.result()
            seen = census.Census().note(link.pid, *templates_of(link.pid))
            assert await link.shutdown() == ()
            seen.assert_gone()

    trio.run(main)
    assert len(warnings) == 1
    assert "killed by SIGKILL" in warnings[0]


def templates_of(host: int, but: int = 0) -> list[int]:
    with open(f"/proc/{host}/task/{host}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split() if int(pid) != but]


def is_template(pid: int) -> bool:
    """Whether it leads a session; a worker has another name by then."""
    try:
        return os.getsid(pid) == pid and census.name_of(pid).startswith("taskrun-templat")
    except ProcessLookupError:
        return False


def test_templates_killed_at_random_lose_no_call_and_make_none_twice(spec: TemplateSpec, tmp_path: Path) -> None:
    (tmp_path / "host_module.py").write_text(
        MODULE
        + f"\ndef once():\n    fd = os.open({str(tmp_path)!r} + '/calls', os.O_APPEND | os.O_CREAT | os.O_WRONLY)\n"
        "    os.write(fd, b'x'); os.close(fd); return 1\n"
    )

    async def main() -> None:
        made = 0
        reasons: list[str] = []
        async with linked() as link:

            async def one() -> None:
                nonlocal made
                for _ in range(15):
                    try:
                        worker = await call(link, spec, "once")
                    except SpawnError as error:
                        reasons.append(str(error))
                        continue
                    await worker.result()
                    assert (await worker.process.wait()).status == 0
                    made += 1

            async def killer() -> None:
                for number in range(12):
                    await trio.sleep(0.02 + 0.001 * number)
                    for pid in templates_of(link.pid):
                        if is_template(pid):
                            os.kill(pid, signal.SIGKILL)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(killer)
                for _ in range(3):
                    nursery.start_soon(one)
            assert made + len(reasons) == 45
            assert made > len(reasons)
            assert all("lost twice" in reason or "could not become" in reason for reason in reasons)
            assert len((tmp_path / "calls").read_bytes()) == made
            assert census.zombies_of(link.pid) == []

    trio.run(main)


def test_a_call_that_waits_for_imports_can_be_cancelled_and_the_template_goes(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(60)\n")
    slow = TemplateSpec(sys_path=(str(tmp_path),), cwd="/", preload=("slow_module",))

    async def body(link: Link) -> None:
        with trio.move_on_after(0.5) as scope:
            await call(link, slow, "pid")
        assert scope.cancelled_caught
        await trio.to_thread.run_sync(census.wait_until, lambda: not templates_of(link.pid))

    run(body)


def test_an_inspection_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(60)\n")
    spec = TemplateSpec(sys_path=(str(tmp_path),), cwd="/")
    payload = wire_request("slow_module:f")

    async def body(link: Link) -> None:
        with pytest.raises(trio.TooSlowError):
            await link.inspect(spec, payload, 1.0)
        await trio.to_thread.run_sync(census.wait_until, lambda: not templates_of(link.pid))

    run(body)


def wire_request(target: str) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(wire.InspectRequest(calls=(wire.CallSite(id=0, target=target),)))


def test_an_inspection_goes_on_in_the_clean_fork_which_is_then_the_template(spec: TemplateSpec) -> None:
    async def body(link: Link) -> None:
        spec_without = TemplateSpec(sys_path=spec.sys_path, cwd=spec.cwd)
        before: list[int] = []
        for _ in range(3):
            payload = wire_request("host_module:pid")
            reply = await link.inspect(spec_without, payload, PATIENCE)
            assert b"host_module" in reply
            before.append(templates_of(link.pid)[0])
            worker = await call(link, spec_without, "pid")
            assert str(worker.process.pid).encode() in await worker.result()
            await worker.process.wait()
        assert len(templates_of(link.pid)) == 1
        assert census.zombies_of(link.pid) == []

    run(body)


# --- fake templates ---------------------------------------------------------------------------------------------------

FAKE = """
import os, sys, time
sys.path.insert(0, {root!r})
from taskrun import frames
import _socket
sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, 3)
reader = frames.FrameReader()
def say(*frame): sock.sendall(frames.pack(frame))
def times(path):
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    os.write(fd, b'x'); n = os.fstat(fd).st_size; os.close(fd); return n
def fork():
    r, w = os.pipe()
    if os.fork() == 0:
        if (pid := os.fork()) == 0:
            os.setsid(); time.sleep({worker}); os._exit(5)
        os.write(w, b'%d' % pid); os._exit(0)
    os.wait()
    return int(os.read(r, 20))
while True:
    for kind, *rest in reader.receive(sock):
        if kind == 'init': reader.take_fds(1); say('ready', {{'pid': os.getpid()}})
        else:
            fds = reader.take_fds(3)
            {call}
            for fd in fds: os.close(fd)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Any]:
    def make(call: str, worker: float = 0.0) -> TemplateSpec:
        path = tmp_path / "python"
        code = FAKE.format(root=os.getcwd(), call=call, worker=worker)
        (tmp_path / "fake.py").write_text(code)
        path.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {tmp_path}/fake.py\n")
        path.chmod(0o755)
        return TemplateSpec(python=str(path))

    return make


def test_a_worker_that_ends_before_it_is_named_keeps_its_status(fake: Any) -> None:
    """ECHILD, a zombie that nobody knows, SIGCHLD long past: all come to the same end."""
    spec = fake("pid = fork(); time.sleep(0.1); say('forked', rest[0], pid)")

    async def body(link: Link) -> None:
        beside = await start(link, programs.last_words(0.02))
        await beside.end()
        worker = await call_quietly(link, spec)
        assert os.waitstatus_to_exitcode((await worker.process.wait()).status or 0) == 5
        await worker.result()
        assert census.zombies_of(link.pid) == []

    run(body)


async def call_quietly(link: Link, spec: TemplateSpec) -> Worker:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    try:
        process = await link.call(
            spec, env={}, cwd="/", channel=theirs.fileno(), stdin=None, stdout=writing, stderr=writing
        )
    except BaseException:
        ours.close()
        os.close(reading)
        raise
    finally:
        theirs.close()
        os.close(writing)
    return Worker(process, ours, reading)


def test_a_worker_named_before_it_is_the_hosts_child_is_waited_for(fake: Any) -> None:
    spec = fake(
        "r, w = os.pipe()\n"
        "            if os.fork() == 0:\n"
        "                if (pid := os.fork()) == 0: os.setsid(); time.sleep(0.3); os._exit(5)\n"
        "                os.write(w, b'%d' % pid); time.sleep(0.1); os._exit(0)\n"
        "            say('forked', rest[0], int(os.read(r, 20))); os.wait()"
    )

    async def body(link: Link) -> None:
        worker = await call_quietly(link, spec)
        assert os.waitstatus_to_exitcode((await worker.process.wait()).status or 0) == 5
        await worker.result()

    run(body)


def test_a_template_lost_with_a_call_in_its_hands_is_tried_once_more(fake: Any, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    spec = fake(
        f"n = times({str(counter)!r})\n            if n == 1: fork(); os._exit(3)\n            say('forked', rest[0], fork())",
        60,
    )

    async def body(link: Link) -> None:
        worker = await call_quietly(link, spec)
        assert len(templates_of(link.pid)) == 2, "a worker that was never named goes on beside the repeated one"
        link.kill(worker.process)
        await worker.process.wait()
        await worker.result()

    run(body)


def test_a_worker_named_before_it_is_the_hosts_child_survives_its_templates_death(fake: Any, tmp_path: Path) -> None:
    spec = fake(
        f"n = times({str(tmp_path / 'count')!r})\n"
        "            if n == 2: time.sleep(0.05); os._exit(3)\n"
        "            r, w = os.pipe()\n"
        "            if os.fork() == 0:\n"
        "                if (pid := os.fork()) == 0: os.setsid(); time.sleep(0.3); os._exit(5)\n"
        "                os.write(w, b'%d' % pid); time.sleep(0.2); os._exit(0)\n"
        "            say('forked', rest[0], int(os.read(r, 20)))"
    )

    async def body(link: Link) -> None:
        async def one() -> None:
            worker = await call_quietly(link, spec)
            assert os.waitstatus_to_exitcode((await worker.process.wait()).status or 0) == 5
            await worker.result()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
        assert (tmp_path / "count").read_text() == "xxx", "the call in the template's hands was tried once more"

    run(body)


def test_a_template_lost_twice_fails_the_call_and_says_so(fake: Any) -> None:
    spec = fake("os._exit(3)")

    async def body(link: Link) -> None:
        with pytest.raises(SpawnError, match=r"its template was lost twice \(exit 3\)") as info:
            await call_quietly(link, spec)
        assert info.value.failure.kind == "template"
        assert (await (await start(link, ("true",))).end())[0].status == 0

    run(body)


def test_a_template_that_talks_nonsense_is_ended(fake: Any) -> None:
    spec = fake("say('nonsense')")

    async def body(link: Link) -> None:
        with pytest.raises(SpawnError, match="lost twice"):
            await call_quietly(link, spec)

    run(body)


def test_a_template_that_names_a_stranger_fails_the_call(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    spec = fake(f"say('forked', rest[0], {stranger.pid})")

    async def body(link: Link) -> None:
        began = time.monotonic()
        with pytest.raises(SpawnError, match="did not come to the host"):
            await call_quietly(link, spec)
        assert time.monotonic() - began < 20
        assert stranger.poll() is None

    run(body)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_template_without_processes_to_spare_fails_the_call(fake: Any) -> None:
    spec = fake("say('failed', rest[0], 11, 'Resource temporarily unavailable')")

    async def body(link: Link) -> None:
        with pytest.raises(SpawnError) as info:
            await call_quietly(link, spec)
        assert (info.value.failure.kind, info.value.number) == ("resources", 11)

    run(body)


def test_a_shortage_in_a_template_that_passes_is_waited_for(fake: Any, tmp_path: Path) -> None:
    counter = str(tmp_path / "count")
    spec = fake(
        f"n = times({counter!r})\n"
        "            say('failed', rest[0], 11, 'short') if n < 4 else say('forked', rest[0], fork())"
    )

    async def body(link: Link) -> None:
        beside = await start(link, programs.sleeper())
        began = time.monotonic()
        worker = await call_quietly(link, spec)
        assert time.monotonic() - began > 0.35, "it was not given time"
        assert os.waitstatus_to_exitcode((await worker.process.wait()).status or 0) == 5
        await worker.result()
        with trio.move_on_after(0.1):
            (tmp_path / "count").unlink()
            await call_quietly(link, spec)
        link.kill(beside.process)
        await beside.end()

    run(body)


def test_a_template_that_hangs_is_given_up(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import _socket

    from taskrun.host import templates
    from taskrun.host.start import HostStart

    monkeypatch.setattr(templates, "_FORK", 0.2)
    ours, theirs = _socket.socketpair()
    if (pid := os.fork()) == 0:
        from taskrun.host.serve import serve

        serve(theirs.detach(), soft_files=None, forked=False)
        os._exit(0)
    theirs.close()
    counter = str(tmp_path / "count")
    spec = fake(f"times({counter!r}) == 1 and time.sleep(60)\n            say('forked', rest[0], fork())")

    async def body(link: Link) -> None:
        worker = await call_quietly(link, spec)
        assert os.waitstatus_to_exitcode((await worker.process.wait()).status or 0) == 5
        await worker.result()

    run(body, start=HostStart(ours, pid))


def test_a_template_of_another_version_is_refused(fake: Any, tmp_path: Path) -> None:
    spec = fake("pass")
    text = (tmp_path / "fake.py").read_text().replace("os.getpid()}", "os.getpid(), 'version': '99'}")
    (tmp_path / "fake.py").write_text(text)

    async def body(link: Link) -> None:
        with pytest.raises(SpawnError, match="has taskrun-cli 99 installed, it must be 0"):
            await call_quietly(link, spec)

    run(body)
