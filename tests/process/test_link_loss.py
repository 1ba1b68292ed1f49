"""The link when its host dies, hangs or is slow, and when its callers are cancelled (rows A12, D13)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from support import census, programs
from support.linked import linked, outcome, run, start

from taskrun.link import HostLost, SpawnError, TemplateSpec, open_link

if TYPE_CHECKING:
    from taskrun.link import Link


def kinds() -> tuple[tuple[str, ...], ...]:
    """Programs of every kind that could survive."""
    return (
        programs.sleeper(),
        programs.ignores_term(),
        programs.daemon(wait=60),
        programs.daemon(clear=True, wait=60),
        programs.stops_itself(),
        programs.comets(2, 0.002, wait=60),
    )


@pytest.mark.parametrize("adopt", [True, False])
def test_a_killed_host_is_told_to_all_and_everything_is_swept_before(*, adopt: bool) -> None:
    """A12. Where the runner is no subreaper, what clears its environment and leaves its session escapes."""

    async def body(link: Link) -> None:
        seen = census.Census().note(link.pid)
        programs_here = kinds() if adopt else tuple(argv for argv in kinds() if "{})" not in argv[-1])
        tasks = []
        for argv in programs_here:
            task = await start(link, argv)
            seen.note(task.process.pid, await task.pid_in_line())
            seen.note_marked(task.process.mark)
            tasks.append(task)
        os.kill(link.pid, signal.SIGKILL)
        began = time.monotonic()
        for task in tasks:
            with pytest.raises(HostLost, match="killed by SIGKILL"):
                await task.process.wait()
            assert seen.alive() == [], "told before it was swept"
        assert time.monotonic() - began < 5
        await link.lost.wait()
        assert link.swept
        with pytest.raises(HostLost):
            await start(link, ("true",))
        with contextlib.suppress(HostLost):  # there is nothing left to suspend; what counts is that it returns
            await link.suspend()
        for task in tasks:
            link.stop(task.process, signal.SIGTERM)
            link.kill(task.process)
            assert (await drained(task)) is not None
        assert await link.shutdown() == link.swept
        if adopt:
            assert census.zombies_of(os.getpid()) == []

    run(body, adopt=adopt)


async def drained(task: Any) -> bytes:
    """The rest of a task's output, which ends since everybody who held it is dead."""
    text: bytes = b""
    while piece := await task._output.receive_some(65536):
        text += piece
    await task._output.aclose()
    return text


def test_the_next_host_does_what_the_lost_one_cannot() -> None:
    async def main() -> None:
        async with linked() as first:
            os.kill(first.pid, signal.SIGKILL)
            await first.lost.wait()
            async with open_link() as second:
                assert (await outcome(second, ("echo", "well")))[1] == "well\n"
                assert await second.shutdown() == ()

    trio.run(main)


def test_a_sweep_spares_the_runners_own_children_and_other_hosts() -> None:
    own = subprocess.Popen(["sleep", "60"])
    apart = subprocess.Popen(["sleep", "60"], start_new_session=True)

    async def main() -> None:
        async with linked() as other, open_link() as link:
            task = await start(other, programs.sleeper())
            await task.line()
            link.leave_alone.add(apart.pid)
            os.kill(link.pid, signal.SIGKILL)
            await link.lost.wait()
            assert (own.poll(), apart.poll()) == (None, None)
            assert (await outcome(other, ("echo", "well")))[1] == "well\n"
            other.kill(task.process)
            await task.end()

    trio.run(main)
    for process in (own, apart):
        process.kill()
        process.wait()


def test_a_start_that_is_under_way_when_the_host_dies_fails_and_is_swept() -> None:
    async def body(link: Link) -> None:
        os.kill(link.pid, signal.SIGSTOP)
        lost: list[str] = []

        async def one() -> None:
            with pytest.raises(HostLost) as info:
                await start(link, programs.sleeper())
            lost.append(str(info.value))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked(0.02)
            os.kill(link.pid, signal.SIGKILL)
        assert lost == ["killed by SIGKILL"] * 5

    run(body)


def test_a_host_that_does_not_answer_counts_as_dead_after_five_seconds() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.sleeper())
        seen = census.Census().note(await task.pid_in_line(), link.pid)
        os.kill(link.pid, signal.SIGSTOP)
        began = time.monotonic()
        link.stop(task.process, signal.SIGTERM)  # is not answered, and yet it is found out
        with pytest.raises(HostLost, match="did not answer for 5 s"):
            await task.process.wait()
        assert 4.5 < time.monotonic() - began < 15
        seen.assert_gone()
        await drained(task)

    run(body)


def test_a_cancelled_start_leaves_nothing_behind() -> None:
    """D13: at any moment, the process was never started, or was started and killed."""

    async def body(link: Link) -> None:
        reading, writing = os.pipe()
        for number in range(60):
            with trio.CancelScope() as scope:
                if number % 3 == 0:
                    scope.cancel()
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(sleep_with, link, writing)
                    if number % 3 == 1:
                        await trio.lowlevel.checkpoint()
                    if number % 3 == 2:
                        await trio.sleep(0.0002 * number)
                    scope.cancel()
        os.close(writing)
        with trio.fail_after(10):
            stream = trio.lowlevel.FdStream(reading)
            assert await stream.receive_some() == b"", "somebody holds the pipe"
            await stream.aclose()
        for _ in range(500):
            if not link.processes:
                break
            await trio.sleep(0.01)
        assert link.processes == {}
        assert await link.shutdown() == ()

    async def sleep_with(link: Link, writing: int) -> None:
        process = await link.spawn(
            ("sleep", "60"), env=dict(os.environ), cwd="/", stdin=None, stdout=writing, stderr=writing
        )
        try:
            await process.wait()
        finally:
            link.kill(process)

    run(body)


def test_what_is_left_at_the_end_is_killed_and_named() -> None:
    async def main() -> None:
        async with linked() as link:
            beside = await start(link, programs.sleeper())
            task = await start(link, programs.daemon(clear=True))
            pid = await task.pid_in_line()
            usage, _text = await task.end()
            seen = census.Census().note(pid, await beside.pid_in_line(), link.pid)
            leftovers = await link.shutdown()
            seen.assert_gone()
            named = {leftover.pid: leftover for leftover in (*usage.leaked, *leftovers)}
            assert named[pid].killed
            assert named[pid].command == "sleep 60.0"
            assert (await beside.process.wait()).status == signal.SIGKILL
            await drained(beside)
            with pytest.raises(HostLost, match="shut down"):
                await start(link, ("true",))
            assert not link.lost.is_set()

    trio.run(main)


@pytest.mark.parametrize("how", ["return", "exception", "cancel"])
def test_leaving_the_block_ends_everything(how: str) -> None:
    seen = census.Census()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with linked() as link:
                tasks = [await start(link, argv) for argv in kinds()]
                for task in tasks:
                    seen.note(task.process.pid, await task.pid_in_line())
                    seen.note_marked(task.process.mark)
                    await task._output.aclose()
                seen.note(link.pid)
                if how == "exception":
                    raise LookupError("of the body")
                if how == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()
        assert scope.cancelled_caught == (how == "cancel")

    if how == "exception":
        with pytest.raises(LookupError, match="of the body"):  # and not in a group
            trio.run(main)
    else:
        trio.run(main)
    assert seen.alive() == []


def test_a_host_that_dies_while_it_is_shut_down_keeps_nobody_waiting() -> None:
    async def main() -> None:
        async with linked() as link:
            task = await start(link, programs.sleeper())
            seen = census.Census().note(await task.pid_in_line())
            os.kill(link.pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.shutdown)
                await trio.testing.wait_all_tasks_blocked(0.02)
                os.kill(link.pid, signal.SIGKILL)
            seen.assert_gone()
            await drained(task)

    trio.run(main)


def test_a_host_that_hangs_while_it_is_shut_down_is_killed_in_time() -> None:
    async def main() -> None:
        async with linked() as link:
            task = await start(link, programs.sleeper())
            seen = census.Census().note(await task.pid_in_line(), link.pid)
            os.kill(link.pid, signal.SIGSTOP)
            assert [leftover.pid for leftover in await link.shutdown(0.3)] == [task.process.pid]
            seen.assert_gone()
            await drained(task)

    trio.run(main)


def test_abandoning_a_link_kills_at_once_what_would_not_obey() -> None:
    """A4: the third Ctrl+C."""
    code = """
import os, trio
from support import programs
from support.linked import linked, start
async def main():
    async with linked() as link:
        task = await start(link, programs.ignores_term())
        print(await task.pid_in_line(), flush=True)
        link.abandon()
        os._exit(0)
trio.run(main)
"""
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as runner:
        assert runner.stdout is not None
        seen = census.Census().note(int(runner.stdout.readline()))
        runner.wait(30)
    began = time.monotonic()
    if seen.alive():
        seen.assert_gone()
    assert time.monotonic() - began < 1.5, "the host gave the two seconds of a dead runner"


def test_a_template_that_does_not_exist_is_a_start_that_failed() -> None:
    async def body(link: Link) -> None:
        reading, writing = os.pipe()
        template = TemplateSpec(python="/nonexistent/python")
        with pytest.raises(SpawnError, match="/nonexistent/python: no such file"):
            await link.call(template, env={}, cwd="/", channel=writing, stdin=None, stdout=writing, stderr=writing)
        os.close(reading)
        os.close(writing)

    run(body)


def test_an_end_of_which_the_runner_never_heard_is_told_when_it_kills() -> None:
    """Whatever may have been lost on the way: who asks for the end of what is gone gets an answer."""

    async def body(link: Link) -> None:
        take, ended = link._conversation._take, trio.Event()

        def deaf(kind: str, *content: Any) -> None:
            if kind == "ended" and not ended.is_set():
                ended.set()
            else:
                take(kind, *content)

        link._conversation._take = deaf
        task = await start(link, ("true",))
        await ended.wait()
        link.kill(task.process)
        usage, _output = await task.end()
        assert usage.status is None
        link.kill(task.process)
        assert (await outcome(link, ("true",)))[0].status == 0

    run(body)
