"""How tasks end: rows B1 to B9, B28 and B29. Each is told for what it was, and none holds the run up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support import hung_mount, runs
from support.census import name_of, state_of
from support.programs import as_task, python

QUICK = {"timeout": "300ms", "grace": "300ms"}


def end_of(project, task="a"):
    return runs.ends(project)[task]


def test_b1_a_failure_shows_its_last_lines_its_log_and_how_to_run_it_again(project, oracle):
    project.tasks("[tasks.a]\nshell = 'seq 50; echo broken >&2; exit 3'\n[tasks.b]\nrun = ['true']\n")
    finished = project.taskrun("run", "-j", "1", "-k", "a", "b", "--output", "none").exits(1)
    finished.says("FAIL  a  exit 3", "$ seq 50", "| 50", "| broken", "last 10 of 51 lines", "log: ", "taskrun run a")
    oracle.expect_log("a", b"".join(b"%d\n" % n for n in range(1, 51)) + b"broken\n")
    project.taskrun("run", "a", "--exit-code", "task").exits(3)


def test_b2_a_crash_names_its_signal_and_whether_there_is_a_core(project):
    crash = python("import resource; resource.setrlimit(4, (resource.getrlimit(4)[1],) * 2); os.abort()")
    project.tasks(as_task("segfault", ("sh", "-c", "kill -SEGV $$")) + as_task("core", crash))
    project.taskrun("run", "segfault", "--exit-code", "task").exits(128 + signal.SIGSEGV).says("killed by SIGSEGV")
    assert end_of(project, "segfault")["signal"] == signal.SIGSEGV
    here = subprocess.Popen(crash, cwd=project.path)
    _pid, status = os.waitpid(here.pid, 0)
    here.returncode = -os.WTERMSIG(status)
    project.taskrun("run", "core").exits(1)
    assert end_of(project, "core")["reason"] == "killed by SIGABRT" + " (core dumped)" * os.WCOREDUMP(status)


def test_b3_a_kill_that_was_not_ours_is_said_to_be_somebody_elses(project):
    project.tasks(as_task("a", ("sh", "-c", "kill -KILL $$")))
    project.taskrun("run", "a").exits(1).says("killed by SIGKILL (not by taskrun")
    assert end_of(project)["signal"] == signal.SIGKILL


@pytest.fixture
def small_group():
    """The `cgroup.procs` of a control group with little memory; skipped where none can be made."""
    v2, v1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
    try:
        with open(f"{v2}/cgroup.subtree_control", encoding="ascii") as file:
            root, limit, swap = v2, "memory.max", "memory.swap.max"
            if "memory" not in file.read().split():
                pytest.skip("the control groups of this machine do not count memory")
    except OSError:
        root, limit, swap = v1, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    folder = f"{root}/taskrun-test-{os.getpid()}"
    try:
        os.mkdir(folder)
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        for name, value in ((limit, 100 << 20), (swap, 0 if root == v2 else 100 << 20)):
            if os.path.exists(f"{folder}/{name}"):
                with open(f"{folder}/{name}", "w", encoding="ascii") as file:
                    file.write(str(value))
        yield f"{folder}/cgroup.procs"
    finally:
        runs.wait_until(lambda: not os.path.getsize(f"{folder}/cgroup.procs") and _removed(folder), "it is empty")


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


def test_b3_a_kill_for_want_of_memory_is_told_from_others(project, small_group):
    project.write("calls.py", "def grow():\n    return len(bytearray(300 << 20))\n")
    grow = python("x = bytearray(300 << 20)")
    project.tasks(
        as_task("program", grow)
        + as_task("shell", ("sh", "-c", '"$@"; exit $?', "sh", *grow))
        + as_task("other", ("sh", "-c", "kill -KILL $$"))
        + "[tasks.call]\npython = 'calls:grow'\n"
    )
    command = f'echo $$ >{small_group} && exec taskrun run -k "*"'
    project.launch("sh", "-c", command).finish().exits(1)
    assert {task: end["reason"] for task, end in runs.ends(project).items()} == {
        "program": "killed by SIGKILL (not by taskrun; out of memory)",
        "shell": "exit 137 (SIGKILL: out of memory)",
        "other": "killed by SIGKILL (not by taskrun)",
        "call": "killed by SIGKILL (not by taskrun; out of memory)",
    }


def test_b4_what_is_written_after_the_stop_is_kept_and_how_it_ended_too(project):
    code = "signal.signal(15, lambda *_: (print('cleaning up', flush=True), os._exit(7)))\ntime.sleep(60)"
    project.tasks(as_task("a", python(code), timeout="300ms"))
    project.taskrun("run", "a").exits(124).prints("cleaning up").says("timed out after 300ms")
    assert (end_of(project)["state"], end_of(project)["exit_code"]) == ("timed-out", 7)
    project.tasks("[tasks.a]\nrun = ['sleep', '60']\ntimeout = '300ms'\n[tasks.b]\nrun = ['false']\n")
    project.taskrun("run", "-k", "a", "b").exits(1)
    assert end_of(project)["signal"] == signal.SIGTERM


def test_b5_what_ignores_the_stop_is_killed_after_its_grace_period(project):
    project.tasks(as_task("a", ("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"), **QUICK))
    project.taskrun("run", "a").exits(124).says("timed out after 300ms, did not stop and was killed")
    assert end_of(project)["signal"] == signal.SIGKILL


def test_b6_a_task_that_ends_well_after_its_timeout_is_timed_out_all_the_same(project):
    project.tasks(as_task("a", ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"), timeout="300ms"))
    project.taskrun("run", "a").exits(124)
    assert (end_of(project)["state"], end_of(project)["exit_code"]) == ("timed-out", 0)


def test_b7_an_end_in_the_same_moment_as_the_deadline_is_one_or_the_other(project):
    project.tasks("""
        [run]
        jobs = 30
        [tasks.a]
        foreach.n = { range = [1, 30] }
        run = ["sleep", "0.3"]
        timeout = "300ms"
    """)
    finished = project.taskrun("run", "-k", "a")
    assert runs.kinds(project).count("task.end") == 30
    for end in runs.ends(project).values():
        assert (end["state"], end["exit_code"], end["reason"]) in {
            ("succeeded", 0, ""),
            ("timed-out", 0, "timed out after 300ms"),
            ("timed-out", None, "timed out after 300ms"),
        }
    finished.exits(124 if "timed-out" in runs.states(project).values() else 0)


def test_b8_a_task_that_is_stopped_is_woken_to_be_ended_and_the_log_says_so(project):
    project.tasks(
        as_task("a", ("sh", "-c", "trap 'echo woken; exit 5' TERM; kill -STOP $$; sleep 60"), timeout="300ms")
    )
    project.taskrun("run", "a").exits(124).prints("woken")
    assert end_of(project)["exit_code"] == 5
    project.taskrun("logs", "a").succeeds().prints("state: T (stopped by a signal)")


# What was tried for once is not tried for again when the run ends: else this run would not come to its end in time.
PATCHED = """
import taskrun.host.reaper, taskrun.host.supervisor
taskrun.host.reaper.GIVE_UP, taskrun.host.supervisor.SWEEP = 0.5, 1000.0
from taskrun.__main__ import main
main()
"""


STUCK = {
    "the leader": ("timed-out", "timed out after 300ms, ", ("cat", "mount/file")),
    "its child": (
        "timed-out",
        "timed out after 300ms, did not stop and was killed, ",
        ("sh", "-c", "cat mount/file; :"),
    ),
    "what it leaves": ("succeeded", "", ("sh", "-c", "cat mount/file & sleep 0.1")),
}


@pytest.mark.parametrize("which", STUCK)
def test_b9_a_process_in_uninterruptible_sleep_is_named_and_left_to_the_host(project, which):
    """The half second that killing is tried here are five seconds else."""
    state, reason, command = STUCK[which]
    (project.path / "mount").mkdir()
    project.tasks(as_task("stuck", command, **(QUICK if reason else {})) + as_task("after", ("true",)))
    patched = project.write("patched.py", PATCHED)
    words = ("run", "-k", "-j", "1", "stuck", "after")
    running = project.launch(
        *("unshare", "--user", "--map-root-user", "--mount"),
        *(sys.executable, hung_mount.__file__, "mount", "thaw", sys.executable, str(patched), *words),
    )
    try:
        running.wait_for(f"over {124 if reason else 0}")
    except AssertionError:
        finished = running.finish()
        if finished.status == hung_mount.MISSING or "unshare" in finished.stderr:
            pytest.skip(f"no such mount can be made here: {finished.stdout}{finished.stderr}")
        raise
    end = end_of(project, "stuck")
    (left,) = end["leaked"]
    assert (left["command"], left["killed"], left["state"]) == ("cat mount/file", False, "D")
    assert runs.states(project) == {"stuck": state, "after": "succeeded"}
    told = f"left 1 process behind (cat mount/file [{left['pid']}, state D]), could not be killed"
    assert f"stuck  {reason}{told}" in running.stderr
    assert "held open by a process that cannot be killed" in running.stderr
    (host,) = [pid for pid in runs.children(os.getpid()) if name_of(pid) == runs.HOST]
    assert state_of(left["pid"]) == "D"
    assert left["pid"] in runs.below(host)
    project.write("thaw", "")
    running.finish().exits(0)
    runs.wait_gone(left["pid"])
    runs.wait_gone(host)


def test_b28_only_what_a_program_keeps_in_its_own_buffer_is_lost_when_it_is_killed(project, oracle):
    die = "print('a line'); os.kill(os.getpid(), 9)"
    mine = (sys.executable, "-c", f"import os; {die}")  # taskrun has set PYTHONUNBUFFERED
    project.tasks(as_task("buffered", python(die)) + as_task("mine", mine))
    project.taskrun("run", "-k", "*").exits(1)
    oracle.expect_log("buffered", b"")
    oracle.expect_log("mine", b"a line\n")


@pytest.mark.parametrize(("code", "seen"), [(300, 44), (-1, 255), (256, 0)])
def test_b29_an_exit_code_beyond_a_byte_is_what_the_kernel_makes_of_it(project, code, seen):
    project.tasks(as_task("a", python(f"os._exit({code})")))
    project.taskrun("run", "a", "--exit-code", "task").exits(seen)
    assert (end_of(project)["exit_code"], end_of(project)["reason"]) == (seen, f"exit {seen}" if seen else "")
