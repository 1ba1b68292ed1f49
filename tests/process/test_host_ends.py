"""How attempts end: statuses, what outlives a leader (rows B10 to B15), stopping and killing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio
from support import census, programs
from support.linked import outcome, run, start

if TYPE_CHECKING:
    from taskrun.link import Link

# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [("os._exit(0)", 0), ("os._exit(3)", 3), ("os._exit(300)", 44), ("os.kill(os.getpid(), 11)", -11)],
)
def test_the_wait_status_comes_through(code: str, expected: int) -> None:
    async def body(link: Link) -> None:
        usage, _text = await outcome(link, programs.python(code))
        assert usage.status is not None
        assert os.waitstatus_to_exitcode(usage.status) == expected
        assert (usage.leaked, usage.unkillable) == ((), ())

    run(body)


def test_cpu_time_and_peak_memory_are_those_of_the_process() -> None:
    async def body(link: Link) -> None:
        idle, _text = await outcome(link, programs.python("pass"))
        busy, _text = await outcome(
            link, programs.python("x = bytearray(80 << 20)\nwhile time.process_time() < 0.2: pass")
        )
        assert busy.cpu >= 0.2 > idle.cpu
        assert 80 << 20 < busy.max_rss < 400 << 20

    run(body)


def test_a_program_begins_in_a_session_of_its_own_with_nothing_inherited_but_its_streams() -> None:
    async def body(link: Link) -> None:
        code = """
print(os.getsid(0) == os.getpid() == os.getpgid(0))
print([n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN and n not in (13, 25)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(sorted(os.listdir('/proc/self/fd'))[:-1], os.readlink('/proc/self/fd/0'), os.getcwd())
print(sorted(os.environ))
"""
        env = {"ONE": "1", "LC_ALL": "C.UTF-8"}
        _usage, text = await outcome(link, programs.python(code), env=env, cwd="/usr")
        lines = text.splitlines()
        assert lines[0] == "True"
        assert lines[1] == "[]"
        assert lines[2] == "set()"
        assert lines[3] == "['0', '1', '2'] /dev/null /usr"
        assert lines[4] == "['LC_ALL', 'ONE', 'TASKRUN_MARK']"

    run(body)


def test_ignored_signals_of_the_runner_do_not_reach_the_program() -> None:
    code = """
import os, signal, sys
for n in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
from support.linked import outcome, run
async def body(link):
    usage, text = await outcome(link, ("grep", "Sig[BI]", "/proc/self/status"))
    print(text)
run(body)
"""
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=env)
    _blocked, blocked, _ignored, ignored = done.stdout.split()
    glibcs_own = 0b11 << 31  # signals 32 and 33, which every posix_spawn of glibc leaves ignored
    assert (int(blocked, 16), int(ignored, 16) & ~glibcs_own) == (0, 0), done.stderr


def test_the_mark_goes_behind_those_of_outer_runs() -> None:
    async def body(link: Link) -> None:
        task = await start(link, ("sh", "-c", "echo $TASKRUN_MARK"), env={"PATH": "/bin", "TASKRUN_MARK": "a-1"})
        mark = task.process.mark
        assert (await task.end())[1] == f"a-1:{mark}\n"
        bare = await start(link, ("sh", "-c", "echo $TASKRUN_MARK"), env={"PATH": "/bin"})
        assert (await bare.end())[1] == f"{bare.process.mark}\n"

    run(body)


def test_a_given_stdin_arrives_and_another_is_empty() -> None:
    async def body(link: Link) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"given\n")
        os.close(writing)
        given = await start(link, ("cat",), stdin=reading)
        os.close(reading)
        assert (await given.end())[1] == "given\n"
        assert (await outcome(link, ("cat",)))[1] == ""

    run(body)


def test_the_limit_of_open_files_is_the_users_own_again_for_programs() -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
from taskrun.host.start import exec_host, fork_host, raise_nofile_limit
forked = fork_host()
print(raise_nofile_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
from support.linked import outcome, run
async def body(link):
    print(resource.prlimit(link.pid, resource.RLIMIT_NOFILE)[0], (await outcome(link, ("sh", "-c", "ulimit -n")))[1])
run(body, start=forked)
run(body, start=exec_host(256))
"""
    env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{os.getcwd()}/tests"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=env)
    assert done.stdout.split() == ["256", "4096", "4096", "256", "4096", "256"], done.stderr


# --- what outlives a leader -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("others", [0, 2])
def test_a_daemon_is_killed_and_named(others: int, *, clear: bool) -> None:
    """B10; and B11: with an empty environment it is known by having been seen, or by there being but one attempt."""

    async def body(link: Link) -> None:
        beside = [await start(link, programs.sleeper()) for _ in range(others)]
        for task in beside:
            await task.line()
        task = await start(link, programs.daemon(clear=clear, wait=0.3 if clear and others else 0.0))
        pid = await task.pid_in_line()
        seen = census.Census().note(pid)
        began = time.monotonic()
        usage, _text = await task.end()
        if clear and others:
            # Adopted before anybody looked: it is the run's, and is named at its end.
            named = [leftover.pid for leftover in (*usage.leaked, *await link.shutdown())]
            assert pid in named
        else:
            assert usage.status == 0
            assert [leftover.pid for leftover in usage.leaked] == [pid]
            assert "sleep" in usage.leaked[0].command
            assert time.monotonic() - began < 5
        seen.assert_gone()

    run(body)


def test_a_process_that_was_seen_below_its_leader_is_known_later_by_nothing_else() -> None:
    async def body(link: Link) -> None:
        beside = await start(link, programs.sleeper())
        code = """
pid = os.fork()
if pid == 0:
    os.setsid()
    os.execve('/bin/sleep', ['sleep', '60'], {})
print('child', pid, flush=True)
time.sleep(0.5)
"""
        task = await start(link, programs.python(code))
        pid = await task.pid_in_line()
        seen = census.Census().note(pid)
        usage, _text = await task.end()
        assert [leftover.pid for leftover in usage.leaked] == [pid]
        seen.assert_gone()
        assert census.start_time(beside.process.pid)

    run(body)


def test_a_child_that_holds_stdout_delays_the_end_by_the_leak_window_only() -> None:
    """B12."""

    async def body(link: Link) -> None:
        task = await start(link, programs.holds_stdout())
        pid = await task.pid_in_line()
        began = time.monotonic()
        usage, _text = await task.end()
        assert [leftover.pid for leftover in usage.leaked] == [pid]
        assert 0.1 < time.monotonic() - began < 5

    run(body)


def test_a_child_that_ends_within_the_window_is_no_leak_and_its_output_is_whole() -> None:
    """B13."""

    async def body(link: Link) -> None:
        usage, text = await outcome(link, programs.last_words(0.05))
        assert (usage.leaked, text) == ((), "the last line\n")

    run(body)


@pytest.mark.parametrize("hop", [0.0, 0.002])
def test_comets_are_caught(hop: float) -> None:
    """B15."""

    async def body(link: Link) -> None:
        task = await start(link, programs.comets(4, hop))
        await task.line()
        usage, _text = await task.end()
        assert usage.status == 0
        assert usage.leaked
        assert usage.unkillable == ()
        assert census.Census().note_marked(task.process.mark) == []
        assert census.zombies_of(link.pid) == []

    run(body)


def test_what_one_attempt_leaves_is_not_taken_for_anothers() -> None:
    async def body(link: Link) -> None:
        leaks: list[tuple[int, ...]] = []

        async def leave() -> None:
            task = await start(link, programs.daemon())
            pid = await task.pid_in_line()
            usage, _text = await task.end()
            assert tuple(leftover.pid for leftover in usage.leaked) == (pid,)
            leaks.append((pid,))

        async def be_clean() -> None:
            for _ in range(20):
                usage, _text = await outcome(link, ("true",))
                assert usage.leaked == ()

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(leave)
                nursery.start_soon(be_clean)
        assert len(set(leaks)) == 4

    run(body)


def test_no_zombie_stays_while_the_run_goes_on() -> None:
    async def body(link: Link) -> None:
        beside = await start(link, programs.sleeper())
        await beside.line()
        # Orphans that end by themselves come to the host, which nobody tells of them but SIGCHLD.
        code = (
            "for _ in range(20):\n  if os.fork() == 0:\n    os.setsid()\n    os._exit(os.fork() and 0)\ntime.sleep(0.2)"
        )
        await outcome(link, programs.python(code))
        for _ in range(200):
            if not census.zombies_of(link.pid):
                break
            await trio.sleep(0.01)
        assert census.zombies_of(link.pid) == []

    run(body)


# --- stopping and killing ---------------------------------------------------------------------------------------------


def test_a_stop_reaches_all_of_an_attempt_and_is_no_leak() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.tree(3, 2))
        pids = [await task.pid_in_line() for _ in range(15)]
        seen = census.Census().note(*pids)
        link.stop(task.process, signal.SIGTERM)
        usage, _text = await task.end()
        assert usage.status == signal.SIGTERM
        assert usage.leaked == ()
        seen.assert_gone()

    run(body)


def test_a_stopped_process_is_continued_so_that_it_can_obey() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.stops_itself())
        pid = await task.pid_in_line()
        await trio.to_thread.run_sync(census.wait_until, lambda: census.state_of(pid) == "T")
        link.stop(task.process, signal.SIGTERM)
        usage, _text = await task.end()
        assert usage.status is not None
        assert os.waitstatus_to_exitcode(usage.status) == 7

    run(body)


def test_what_ignores_every_signal_is_killed() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.ignores_term())
        seen = census.Census().note(await task.pid_in_line())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            link.stop(task.process, number)
        with trio.move_on_after(0.2):
            await task.process.wait()
        assert task.process.usage is None
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status == signal.SIGKILL
        seen.assert_gone()

    run(body)


def test_what_outlives_a_stopped_leader_has_until_the_kill() -> None:
    """A shell dies of TERM at once; what it runs may need its grace period to finish a file."""

    async def body(link: Link) -> None:
        slow = programs.python(
            "signal.signal(15, lambda *_: (time.sleep(0.6), os.write(1, b'finished\\n'), os._exit(0)))\n"
            "print('ready', flush=True)\ntime.sleep(60)"
        )
        shell = programs.python(f"import subprocess\nsubprocess.Popen({slow!r})\ntime.sleep(60)")
        task = await start(link, shell)
        await task.line()
        link.stop(task.process, signal.SIGTERM)
        usage, text = await task.end()
        assert text == "finished\n"
        assert usage.leaked == ()

        task = await start(link, shell)
        await task.line()
        link.stop(task.process, signal.SIGTERM)
        await trio.sleep(0.1)
        link.kill(task.process)
        usage, text = await task.end()
        assert (text, usage.leaked) == ("", ())

    run(body)


def test_a_kill_takes_the_whole_tree_with_its_sessions_and_daemons() -> None:
    async def body(link: Link) -> None:
        beside = await start(link, programs.sleeper())
        task = await start(link, programs.tree(4, 2))
        pids = [await task.pid_in_line() for _ in range(31)]
        seen = census.Census().note(*pids)
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status == signal.SIGKILL
        assert seen.alive() == []
        assert census.start_time(beside.process.pid)

    run(body)


def test_a_kill_catches_what_forks_all_the_time() -> None:
    async def body(link: Link) -> None:
        await start(link, programs.sleeper())
        task = await start(link, programs.comets(4, 0.001, wait=60))
        await task.line()
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status == signal.SIGKILL
        assert census.Census().note_marked(task.process.mark) == []

    run(body)


def test_signals_to_an_attempt_that_has_ended_go_nowhere() -> None:
    async def body(link: Link) -> None:
        task = await start(link, ("true",))
        link.stop(task.process, signal.SIGTERM)
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.status in {0, signal.SIGTERM, signal.SIGKILL}
        link.stop(task.process, signal.SIGTERM)
        link.kill(task.process)
        link.dump(task.process)
        assert await link.describe(task.process) == ""
        assert await task.process.wait() is usage

    run(body)


def test_a_binary_is_described() -> None:
    async def body(link: Link) -> None:
        task = await start(link, ("sh", "-c", "sleep 60 & echo $!; wait"))
        child = await task.pid_in_line()
        # Not before the shell's child has called exec.
        await trio.to_thread.run_sync(census.wait_until, lambda: census.name_of(child) == "sleep")
        text = await link.describe(task.process)
        assert f"{task.process.pid}: sh -c" in text
        assert f"{child}: sleep 60" in text
        assert "state: S (sleeping)" in text
        link.kill(task.process)
        await task.end()

    run(body)


def test_what_cannot_be_killed_is_named_and_does_not_hold_the_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """B9, with a process that no signal of ours reaches, as one in uninterruptible sleep."""
    from taskrun.host import linux, loop, reaper
    from taskrun.host.leader import Leader

    monkeypatch.setattr(reaper, "GIVE_UP", 0.1)
    monkeypatch.setattr(reaper, "signal_group", lambda _pid, _number: None)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setsid=True)
    platform = linux.Linux()
    monkeypatch.setattr(platform, "signal", lambda _seen, _number: False)
    ended: list[object] = []
    turns = loop.Loop()
    reaping = reaper.Reaper(platform, turns, lambda _leader, how: ended.append(how), lambda: False)
    try:
        seen = platform.look(pid)
        assert seen is not None
        leader = Leader(1, pid, seen.start, "", worker=False)
        reaping.add(leader)
        reaping.kill(leader)
        until = time.monotonic() + 10
        while not ended:
            assert time.monotonic() < until
            turns.step()
        assert ended == [(None, 0.0, 0, [], [(pid, "sleep 60", "S", 1)])]
    finally:
        os.kill(pid, signal.SIGKILL)
        census.wait_until(lambda: platform.exited(pid))
        reaping.look()
    assert platform.exited(pid) is None, "it was not reaped when it died at last"


def test_any_number_of_tasks_may_wait_for_one_process() -> None:
    async def body(link: Link) -> None:
        task = await start(link, programs.sleeper())
        await task.line()
        ends: list[object] = []

        async def wait() -> None:
            ends.append(await task.process.wait())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            with trio.move_on_after(0.05):
                await task.process.wait()
            link.kill(task.process)
        assert len(ends) == 3
        assert len(set(map(id, ends))) == 1

    run(body)


def test_the_tasks_of_a_run_within_are_left_to_it_until_they_are_killed() -> None:
    """They would end before the inner run knows why, and be its failures."""
    code = """
mine = os.environ['TASKRUN_MARK']
for name, mark in (('inner', mine + ':inner-1'), ('own', mine)):
    if os.fork() == 0:
        os.setsid()
        code = "import os, signal, time; os.write(1, b'%s %d\\\\n' % (b'" + name + "', os.getpid())); time.sleep(60)"
        os.execve(sys.executable, ['python', '-I', '-S', '-c', code], {'TASKRUN_MARK': mark})
time.sleep(60)
"""

    async def body(link: Link) -> None:
        task = await start(link, programs.python(code))
        pids = {}
        while len(pids) < 2:
            name, pid = (await task.line()).split()
            pids[name] = int(pid)
        seen = census.Census().note(pids["own"])
        link.stop(task.process, signal.SIGTERM)
        await trio.to_thread.run_sync(seen.assert_gone)
        assert census.start_time(pids["inner"]) is not None
        link.kill(task.process)
        usage, _text = await task.end()
        assert usage.leaked == ()
        assert census.start_time(pids["inner"]) is None

    run(body)


def test_many_attempts_whose_daemons_ignore_the_stop_are_killed_when_they_shall_be() -> None:
    """Looks at what has outlived them must not keep the host from hearing the kill."""
    line = "trap '' INT; setsid sleep 600 </dev/null >/dev/null 2>&1 & trap - INT; echo here; exec sleep 600"

    async def body(link: Link) -> None:
        tasks = [await start(link, ("sh", "-c", line)) for _ in range(80)]
        for task in tasks:
            assert await task.line() == "here"
        for task in tasks:
            link.stop(task.process, signal.SIGINT)
        for task in tasks:
            while census.state_of(task.process.pid) != "Z":  # noqa: ASYNC110 - another process's state
                await trio.sleep(0.02)
        for _ in range(5):  # it goes on looking, and answers
            await trio.sleep(0.1)
            await link.describe(tasks[0].process)
        for task in tasks:
            link.kill(task.process)
        for task in tasks:
            usage, _text = await task.end()
            assert usage.status == signal.SIGINT  # it is the host that knows, and has not been lost over it
        assert not link.lost.is_set()

    run(body)
