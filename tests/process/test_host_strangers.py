"""Processes of which nobody can say whose they are: they cost no attempt its end, and do not outlive the run."""

from __future__ import annotations

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
