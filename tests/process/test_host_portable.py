"""The host without ``/proc`` and without adoption, as on macOS: what it does promise there."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support import census, programs
from support.linked import outcome, portable_host, run, start

from taskrun.host.portable import Portable
from taskrun.host.system import current_platform

if TYPE_CHECKING:
    from taskrun.link import Link


def test_it_lists_processes_with_their_parents_groups_and_start_times() -> None:
    platform = Portable()
    me = platform.look(os.getpid())
    assert me is not None
    assert (me.parent, me.group, me.state in {"R", "S"}) == (os.getppid(), os.getpgid(0), True)
    assert me.start > 1_600_000_000
    assert os.getpid() in {seen.pid for seen in platform.everyone()}
    assert platform.look(2**22 + 1) is None
    assert platform.command(os.getpid())
    for each in (platform, current_platform()):
        assert 1 << 20 < each.resident(os.getpid()) < 1 << 40
        assert each.resident(2**22 + 1) == 0
    assert platform.describe(os.getpid())[0].startswith(f"{os.getpid()}: ")
    assert platform.environ(os.getpid()) is None


def test_it_signals_a_process_and_no_later_one_of_its_pid() -> None:
    platform = Portable()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    assert pid in platform.children()
    seen = platform.look(pid)
    assert seen is not None
    assert platform.exited(pid) is False
    seen.start -= 1
    assert not platform.signal(seen, signal.SIGKILL)
    seen.start += 1
    assert platform.signal(seen, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert platform.exited(pid) is None


def test_programs_run_end_and_are_stopped() -> None:
    async def body(link: Link) -> None:
        usage, text = await outcome(link, ("sh", "-c", "echo $TASKRUN_MARK; exit 3"))
        assert text.strip()
        assert usage.status is not None
        assert os.waitstatus_to_exitcode(usage.status) == 3
        task = await start(link, programs.stops_itself())
        pid = await task.pid_in_line()
        while census.state_of(pid) != "T":
            os.sched_yield()
        link.stop(task.process, signal.SIGTERM)
        usage, _text = await task.end()
        assert usage.status is not None
        assert os.waitstatus_to_exitcode(usage.status) == 7

    run(body, start=portable_host(), adopt=False)


def test_what_is_left_in_the_group_or_was_seen_below_the_leader_is_killed() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.holds_stdout())
        pid = await task.pid_in_line()
        usage, _text = await task.end()
        assert [leftover.pid for leftover in usage.leaked] == [pid]
        code = """
pid = os.fork()
if pid == 0:
    os.setsid()
    os.execv('/bin/sleep', ['sleep', '60'])
print('child', pid, flush=True)
time.sleep(1.5)
"""
        task = await start(link, programs.python(code))
        pid = await task.pid_in_line()
        usage, _text = await task.end()
        assert [leftover.pid for leftover in usage.leaked] == [pid]
        assert census.start_time(pid) is None

    run(body, start=portable_host(), adopt=False)


@pytest.mark.parametrize("depth", [0, 2])
def test_a_kill_takes_the_tree_that_is_there(depth: int) -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.tree(depth, 2))
        pids = [await task.pid_in_line() for _ in range(2 ** (depth + 1) - 1)]
        seen = census.Census().note(*pids)
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status == signal.SIGKILL
        seen.assert_gone()

    run(body, start=portable_host(), adopt=False)


def test_a_runner_that_is_gone_ends_what_runs() -> None:
    seen = census.Census()

    async def body(link: Link) -> None:
        task = await start(link, programs.tree(1, 2))
        seen.note(*[await task.pid_in_line() for _ in range(3)], link.pid)
        await task._output.aclose()

    run(body, start=portable_host(), adopt=False)
    seen.assert_gone()
