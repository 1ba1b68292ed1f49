"""Suspending a run (rows A15 to A18, as far as the host goes): everything stands still, and goes on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import trio
from support import census, programs
from support.linked import outcome, run, start

if TYPE_CHECKING:
    from taskrun.link import Link


def test_a_tree_with_its_sessions_and_daemons_stands_still_and_goes_on() -> None:
    async def body(link: Link) -> None:
        tree = await start(link, programs.tree(3, 2))
        pids = [await tree.pid_in_line() for _ in range(15)]
        daemon = await start(link, programs.daemon(wait=60))
        pids += [await daemon.pid_in_line(), daemon.process.pid]
        for _ in range(3):
            await link.suspend()
            assert {census.state_of(pid) for pid in pids} == {"T"}
            await link.resume()
            assert "T" not in {census.state_of(pid) for pid in pids}
        for task in (tree, daemon):
            link.kill(task.process)
            await task.end()

    run(body)


def test_what_had_stopped_itself_is_not_continued() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.stops_itself())
        pid = await task.pid_in_line()
        await trio.to_thread.run_sync(census.wait_until, lambda: census.state_of(pid) == "T")
        await link.suspend()
        await link.resume()
        assert census.state_of(pid) == "T"
        link.kill(task.process)
        await task.end()

    run(body)


def test_what_forks_all_the_time_stands_still_too() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.comets(3, 0.002, wait=60))
        await task.line()
        for _ in range(10):
            await link.suspend()
            marked = census.Census().note_marked(task.process.mark)
            assert marked
            assert {census.state_of(pid) for pid in marked} <= {"T", "Z"}
            await trio.sleep(0.01)
            assert sorted(marked) == sorted(census.Census().note_marked(task.process.mark)), "somebody forked"
            await link.resume()
        link.kill(task.process)
        await task.end()

    run(body)


def test_two_hundred_suspensions_while_programs_are_started_without_pause() -> None:
    """A16: the terminal never reaches a half-born process, and none is forgotten."""

    async def body(link: Link) -> None:
        ended = 0
        over = False

        async def flat_out() -> None:
            nonlocal ended
            while not over:
                usage, _text = await outcome(link, ("true",))
                assert usage.status == 0
                ended += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(flat_out)
            for number in range(200):
                with trio.fail_after(5):
                    await link.suspend()
                states = {census.state_of(process.pid) for process in link.processes.values()}
                assert states <= {"T", "Z", ""}, f"{states} in suspension {number}"
                with trio.fail_after(5):
                    await link.resume()
                await trio.sleep(0.0005 * (number % 4))
            over = True
        assert ended > 50
        assert link.processes == {}

    run(body)


def test_what_is_started_in_a_suspended_run_waits_for_the_resumption() -> None:
    async def body(link: Link) -> None:
        await link.suspend()
        task = await start(link, programs.sleeper())
        await trio.to_thread.run_sync(census.wait_until, lambda: census.state_of(task.process.pid) == "T")
        await link.resume()
        await task.line()
        link.kill(task.process)
        await task.end()

    run(body)


def test_a_stop_and_a_kill_reach_a_suspended_run() -> None:
    """A18: the shell's `kill %1` while it is stopped."""

    async def body(link: Link) -> None:
        obedient = await start(link, programs.sleeper())
        stubborn = await start(link, programs.ignores_term())
        await obedient.line()
        await stubborn.line()
        await link.suspend()
        link.stop(obedient.process, signal.SIGTERM)
        link.stop(stubborn.process, signal.SIGTERM)
        assert (await obedient.end())[0].status == signal.SIGTERM
        link.kill(stubborn.process)
        assert (await stubborn.end())[0].status == signal.SIGKILL
        await link.resume()

    run(body)


def test_a_runner_that_dies_in_a_suspended_run_leaves_nothing() -> None:
    seen = census.Census()

    async def body(link: Link) -> None:
        task = await start(link, programs.tree(2, 2))
        pids = [await task.pid_in_line() for _ in range(7)]
        seen.note(*pids, link.pid)
        await link.suspend()
        os.kill(link.pid, signal.SIGSTOP)
        os.kill(link.pid, signal.SIGCONT)
        await task._output.aclose()

    run(body)
    assert seen.alive() == []
