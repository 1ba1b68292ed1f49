"""Processes of which nobody can say whose they are: they cost no attempt its end, and do not outlive the run.

And those of another user, as what sudo runs: they cannot be killed, and are named.
"""

from __future__ import annotations

import os
import sys
import traceback

import pytest
import trio
from support import programs
from support.linked import linked, outcome, start

# Three that forget their environment, then fork, leave and exit all the time: at each look they are others, and whoever
# lists the processes finds them gone when looking closer. They hold their stdout for as long as they live.
_BARE_COMETS = """
if not sys.argv[1:]:
    for _ in range(3):
        if os.fork() == 0: os.execve(sys.executable, [sys.executable, '-I', '-S', '-c', sys.orig_argv[4], 'fly'], {})
    print('ready', flush=True)
    time.sleep(0.3)
    os._exit(0)
end = time.monotonic() + 30
while time.monotonic() < end:
    if os.fork() != 0: os._exit(0)
    os.setsid()
    time.sleep(0.01)
"""


def test_a_stranger_that_changes_all_the_time_keeps_nobody_from_ending() -> None:
    """Every attempt had to wait for it, since a process that has just come shows no environment for a moment."""

    async def main() -> None:
        async with linked() as link:
            beside = await start(link, programs.sleeper(20.0))
            with trio.fail_after(10):
                comet = await start(link, programs.python(_BARE_COMETS))
                await comet.line()
                assert (await comet.process.wait()).status == 0
                for _ in range(3):
                    assert (await outcome(link, ("true",)))[0].status == 0
                with trio.move_on_after(0.1) as flying:
                    await comet._output.receive_some()
                assert flying.cancelled_caught, "it is gone, and nothing was tested"
            link.kill(beside.process)
            await beside.end()
            assert await link.shutdown() != ()
            assert await comet._output.receive_some() == b""
            await comet._output.aclose()

    trio.run(main)


def _sweep_what_is_roots() -> None:
    """As another user, below whom a process of root's runs; raises where that is not named, or is said to be killed."""
    from taskrun.host.orphans import Orphans
    from taskrun.host.sweep import Sweep
    from taskrun.host.system import current_platform

    platform = current_platform()
    reading, writing = os.pipe()
    roots = os.fork()
    if roots == 0:
        os.setsid()
        os.close(writing)
        os.read(reading, 1)  # until the pipe is closed, by whatever end of its parent
        os._exit(0)
    os.setuid(54321)
    with pytest.raises(PermissionError):
        os.kill(roots, 9)
    while os.getsid(roots) != roots:
        os.sched_yield()
    sweep = Sweep(platform, set(), {})
    sweep.run(0.02)
    assert [(one[0], one[2]) for one in sweep.stuck] == [(roots, "S")]
    assert sweep.killed == []
    orphans = Orphans(platform, set())
    assert orphans.adopted_round()
    assert orphans.killed == []
    os.close(writing)
    os.waitpid(roots, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_what_is_another_users_is_named_and_fells_nobody() -> None:
    """It did the host, and then the runner, which waited for ever."""
    from taskrun.host import orphans, sweep, system  # noqa: F401 - the other user may not be allowed to read them

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _sweep_what_is_roots()
            status = 0
        except BaseException:  # nothing may pass into the test's frames below
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
