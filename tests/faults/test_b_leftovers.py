"""What tasks leave behind: rows B10 to B15 and B30. It is killed and named, and nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import runs
from support.programs import as_task, comets, daemon, holds_stdout, last_words, python
from support.project import pids_of


def leaked(project, task="a"):
    return [left["command"] for left in runs.ends(project)[task]["leaked"]]


def test_b10_a_daemon_that_forked_twice_is_killed_and_named(project):
    project.tasks(as_task("a", daemon(seconds=61.25)))
    project.taskrun("run", "a").succeeds().says("left 1 process behind (sleep 61.25), killed")
    assert leaked(project) == ["sleep 61.25"]
    assert pids_of("61.25") == []


def test_b10_a_leak_is_a_failure_where_the_task_says_so(project):
    project.tasks(as_task("a", daemon(), leak="fail"))
    finished = project.taskrun("run", "a").exits(1).says("FAIL", "left 1 process behind (", "), killed")
    finished.never_says("left 1 process behind, left")


def test_b10_a_leak_of_an_attempt_that_is_repeated_is_told_too(project):
    project.tasks("""
        [tasks.a]
        shell = "(sleep 61.25 >/dev/null 2>&1 &); [ -e second ] || { : > second; exit 75; }"
        retry = 2
    """)
    finished = project.taskrun("run", "a").succeeds()
    finished.says("RETRY", "exit 75, left 1 process behind (sleep 61.25), killed, attempt 2 now")
    (retry,) = (event for event in runs.events(project) if event["event"] == "task.retry")
    assert [left["command"] for left in retry["leaked"]] == ["sleep 61.25"]


def test_b11_a_daemon_without_its_environment_is_the_only_tasks_own(project):
    project.tasks(as_task("a", daemon(clear=True, seconds=61.25)))
    project.taskrun("run", "a").succeeds().says("OK", "left 1 process behind (sleep 61.25), killed")


def test_b11_of_several_tasks_it_is_the_one_below_which_it_was_seen_or_else_the_runs(project):
    """It lives long enough to be seen, or not, and is killed in any case."""
    project.tasks(
        as_task("a", daemon(clear=True, wait=0.3, seconds=61.25))
        + as_task("b", daemon(clear=True, seconds=62.25))
        + as_task("beside", ("sh", "-c", "until [ -e over ]; do sleep 0.02; done"))
        + as_task("last", ("touch", "over"), needs=["a", "b"])
    )
    project.taskrun("run", "*").succeeds()
    end = runs.events(project)[-1]
    left = [one["command"] for one in (*runs.ends(project)["a"]["leaked"], *runs.ends(project)["b"]["leaked"])]
    assert sorted(left + [one["command"] for one in end["leaked"]]) == ["sleep 61.25", "sleep 62.25"]
    assert runs.ends(project)["beside"]["leaked"] == []
    assert pids_of("61.25") == pids_of("62.25") == []


def test_b12_a_grandchild_that_holds_stdout_does_not_hold_the_run(project, oracle):
    oracle.bound = 30
    project.tasks(as_task("a", holds_stdout(seconds=62.25)))
    finished = project.taskrun("run", "a").succeeds().says("left 1 process behind")
    oracle.expect_log("a", finished.out)
    assert runs.ends(project)["a"]["elapsed"] < 20
    assert pids_of("62.25") == []


def test_b13_last_words_after_the_leader_ended_are_kept(project, oracle):
    project.tasks(as_task("a", last_words(0.05)))
    project.taskrun("run", "a").succeeds().prints_exactly("the last line\n").never_says("left 1 process")
    oracle.expect_log("a", b"the last line\n")


def test_b14_a_leak_cannot_be_allowed(project):
    project.tasks(as_task("a", ("true",), leak="allow"))
    project.taskrun("run", "a").exits(2).says('`leak` in task `a` must be "fail" or "warn", not "allow"')


def test_b15_a_swarm_of_comets_is_gone(project):
    project.tasks(as_task("a", comets(4, 0.002)))
    project.taskrun("run", "a").succeeds()


def test_b15_hundreds_of_processes_are_killed_and_counted_and_a_few_are_named(project):
    many = python(
        "for _ in range(int(sys.argv[1])):\n    if os.fork() == 0: os.setsid(); time.sleep(60); os._exit(0)", "300"
    )
    project.tasks(as_task("a", many))
    finished = project.taskrun("run", "a").succeeds().says("left 300 processes behind (", "and 297 more), killed")
    named = runs.ends(project)["a"]["leaked"]
    assert sum(left["count"] for left in named) == 300
    assert len(named) < 50
    assert len(finished.stderr) < 5000


# In a namespace of few pids, hundreds of short attempts go by while strangers live, whom no signal of ours may hit.
REUSED = """
import os, subprocess, sys
with open('/proc/sys/kernel/pid_max', 'w') as file: file.write('400')
strangers = [subprocess.Popen(['sleep', '63.25'], start_new_session=True) for _ in range(20)]
status = subprocess.run(sys.argv[1:]).returncode
print('alive', [stranger.poll() for stranger in strangers].count(None), flush=True)
for stranger in strangers: stranger.kill(); stranger.wait()
sys.exit(status)
"""


def own_pid_max() -> bool:
    """Whether a namespace may have few pids of its own: else writing it would change the whole machine's."""
    release = os.uname().release.split(".")
    return sys.platform == "linux" and [int(part) for part in release[:2]] >= [6, 14]


@pytest.mark.skipif(not own_pid_max(), reason="namespaces have no limit of pids of their own here")
def test_b30_a_pid_that_is_used_again_hits_no_stranger(project):
    project.tasks("""
        [run]
        jobs = 4
        [tasks.plain]
        foreach.n = { range = [1, 200] }
        run = ["true"]
        [tasks.leaver]
        foreach.n = { range = [1, 200] }
        shell = "sleep 0.01 & exit 3"
        allow-failure = true
        [tasks.killed]
        foreach.n = { range = [1, 20] }
        shell = "(setsid sleep 64.25 &) ; sleep 64.25"
        timeout = "50ms"
        grace = 0
        allow-failure = true
    """)
    command = (sys.executable, "-c", REUSED, *project.command, "run", "-q", "*")
    argv = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", *command)
    if subprocess.run([*argv[:6], "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    finished = project.launch(*argv).finish(timeout=90).exits(0).prints("alive 20")
    finished.never_says("Operation not permitted")
    ends = runs.ends(project)
    assert all(end["exit_code"] == 3 for task, end in ends.items() if task.startswith("leaver"))
    assert all(end["state"] == "timed-out" for task, end in ends.items() if task.startswith("killed"))
    assert all(end["leaked"] == [] for task, end in ends.items() if task.startswith("plain"))
