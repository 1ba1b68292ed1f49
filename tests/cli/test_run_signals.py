"""Signals to the runner, to its host and to a template: who ends, by what, and what is written of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from support import runs
from support.census import zombies_of
from support.project import pids_of
from support.real import CALLS, NEVER, REAL, STUBBORN, UP, WAIT_FOR_GO, WITH_TIME, went_to

# --- a signal that asks for the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name)
def test_a_signal_to_the_runner_alone_ends_every_task_by_it_and_then_the_runner(real, number):
    command = " ".join([*real.command, "run", "'*'", *WITH_TIME])
    running = real.launch("sh", "-c", f"ulimit -c 0; exec {command}")
    runs.wait_for_files(real, *UP)
    finished = running.signal(number).finish().dies_of(number)
    assert real.left_behind() == []
    went_to(real, number)
    assert runs.ends(real)["program"]["signal"] == number
    finished.says("topping 3 tasks", "not run  after", "Summary", number.name).never_says("Traceback")


def test_a_task_that_does_not_obey_is_killed_after_its_grace_period_and_its_record_says_so(project):
    project.tasks(STUBBORN)
    running = project.start("run", "stubborn", "--grace", "300ms")
    runs.wait_for_files(project, "stubborn.up")
    running.signal(signal.SIGINT).finish().dies_of(signal.SIGINT).says("stubborn", "killed")
    end = runs.ends(project)["stubborn"]
    assert (end["state"], end["signal"]) == ("cancelled", signal.SIGKILL)
    assert end["reason"] == "SIGINT, killed"


def test_a_second_signal_kills_at_once(project):
    project.tasks(STUBBORN)
    running = project.start("run", "stubborn", *WITH_TIME)
    runs.wait_for_files(project, "stubborn.up")
    running.signal(signal.SIGINT).wait_for("Interrupted: stopping 1 task")
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM).says("illing")
    assert runs.ends(project)["stubborn"]["signal"] == signal.SIGKILL
    assert project.left_behind() == []


def test_a_third_signal_leaves_at_once_and_the_host_cleans_up(project):
    """The host stands still, so that only leaving can end the runner; it cleans up when it goes on."""
    project.tasks(STUBBORN)
    running = project.start("run", "stubborn", *WITH_TIME)
    runs.wait_for_files(project, "stubborn.up")
    host = runs.named(running.pid, runs.HOST)
    os.kill(host, signal.SIGSTOP)
    try:
        running.signal(signal.SIGINT).wait_for("Interrupted: stopping 1 task")
        running.signal(signal.SIGTERM).wait_for("illing")
        running.signal(signal.SIGHUP).finish(timeout=4).dies_of(signal.SIGHUP).never_says("Traceback")
        assert runs.summary(project)["state"] == "running"
    finally:
        os.kill(host, signal.SIGCONT)
    project.expect_nothing_left()
    project.taskrun("runs").succeeds().prints("aborted")


def test_the_same_signal_within_a_moment_counts_once(project):
    """As `npm` and `uv run` forward the Ctrl+C that the terminal has already delivered."""
    project.tasks("""
        [tasks.a]
        shell = "trap 'sleep 0.4; echo cleaned up; exit 0' INT; : > a.up; while :; do sleep 0.02; done"
    """)
    running = project.start("run", "a", *WITH_TIME)
    runs.wait_for_files(project, "a.up")
    for _ in range(4):
        running.signal(signal.SIGINT)
        time.sleep(0.01)  # so that they do not become one in the kernel
    finished = running.finish().dies_of(signal.SIGINT).prints("cleaned up").never_says("illing")
    assert finished.stderr.count("Interrupted") == 1
    assert runs.kinds(project).count("run.cancel") == 1


def test_a_task_that_was_stopped_by_job_control_still_gets_the_signal(project):
    project.tasks("""
        [tasks.a]
        shell = "trap 'echo woken; exit 0' TERM; : > a.up; kill -STOP $$; while :; do sleep 0.02; done"
    """)
    running = project.start("run", "a", *WITH_TIME)
    runs.wait_state(runs.wait_started(project, 1)["a"], "T")
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM).prints("woken")


# --- signals that were ignored when it started


def test_nohup_keeps_a_run_going(project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    running = project.launch("nohup", *project.command, "run", "a")
    runs.wait_for_files(project, "a.up")
    running.signal(signal.SIGHUP)
    project.write("go", "")
    running.finish().succeeds()
    assert runs.states(project) == {"a": "succeeded"}
    assert "run.cancel" not in runs.kinds(project)


def test_an_ignored_interrupt_stays_ignored_but_tasks_get_the_default_and_term_works(project):
    project.tasks("""
        [tasks.a]
        run = ["sh", "-c", "grep SigIgn /proc/self/status > ignored; : > a.up; exec sleep 71.25"]
    """)
    command = " ".join([*project.command, "run", "a", *WITH_TIME])
    running = project.launch("sh", "-c", f"trap '' INT QUIT; exec {command}")
    runs.wait_for_files(project, "a.up")
    running.signal(signal.SIGINT).signal(signal.SIGQUIT).signal(signal.SIGUSR1).wait_for("a running for")
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM)
    assert int(project.read("ignored").split()[1], 16) & 0x7FFFFFFF == 0  # beyond are the C library's own
    assert {end["reason"] for end in runs.ends(project).values()} == {"SIGTERM"}


# --- signals that cannot be caught


@pytest.mark.parametrize(
    "whole_group", [False, True], ids=["alone", "with its process group, and a task that does not obey"]
)
def test_nothing_outlives_a_runner_that_is_killed(real, whole_group):
    real.tasks(REAL + (STUBBORN if whole_group else ""))
    running = real.start("run", "*", *WITH_TIME)
    runs.wait_for_files(real, *UP, *(["stubborn.up"] if whole_group else []))
    runs.wait_until(lambda: "first" in real.taskrun("logs", "program").stdout, "what was written is in the log")
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGKILL)
    running.finish().dies_of(signal.SIGKILL)
    real.expect_nothing_left()
    assert runs.summary(real)["state"] == "running"  # nobody was left to write another
    real.taskrun("runs").succeeds().prints("aborted")
    real.taskrun("logs", "program").succeeds().prints_exactly("first\n")


def test_the_death_of_the_host_loses_the_running_attempts_and_nothing_else(real):
    real.tasks(REAL + STUBBORN + "[tasks.done]\nrun = ['true']\n")
    running = real.start("run", "*", *WITH_TIME)
    runs.wait_for_files(real, *UP, "stubborn.up")
    runs.wait_until(lambda: "done" in runs.ends(real), "the quick one is done")
    os.kill(runs.named(running.pid, runs.HOST), signal.SIGKILL)
    finished = running.finish().exits(1)
    assert real.left_behind() == []
    finished.says("shell  lost: ", "killed by SIGKILL", "Summary", "4 failed, 1 not run").never_says("Traceback")
    states = runs.states(real)
    assert states.pop("after") in {"skipped", "not-started"}  # its dependency's loss and the run's end come together
    assert states == dict.fromkeys(["shell", "program", "call", "stubborn"], "failed") | {"done": "succeeded"}
    assert runs.summary(real)["exit_status"] == 1
    real.taskrun("logs", "program").succeeds().prints_exactly("first\n")


def test_the_death_of_a_template_is_no_harm_to_its_workers_nor_to_the_next_ones(project):
    project.write("calls.py", CALLS)
    project.tasks(f"""
        [tasks.call]
        python = "calls:wait_for_go"
        [tasks.gate]
        shell = '{WAIT_FOR_GO}'
        [tasks.next]
        needs = ["gate"]
        python = "calls:quick"
    """)
    running = project.start("run", "*")
    runs.wait_for_files(project, "call.up")
    os.kill(runs.named(running.pid, runs.TEMPLATE), signal.SIGKILL)
    running.wait_for("template")
    project.write("go", "")
    running.finish().succeeds().never_says("Traceback")
    results = {task: end["result"] for task, end in runs.ends(project).items()}
    assert (results["call"], results["next"]) == ("waited", "quick")


# --- a runner that stood still


def test_clocks_leave_out_the_time_in_which_the_runner_was_stopped_by_force(project):
    project.tasks(f"""
        [tasks.quiet]
        shell = ': > quiet.up; {WAIT_FOR_GO}'
        timeout = "2s"
        start-timeout = "2s"
        idle-timeout = "2s"
        [tasks.loud]
        shell = ': > loud.up; until [ -e go ]; do echo tick; sleep 0.05; done'
        idle-timeout = "2s"
    """)
    running = project.start("run", "quiet", "loud", "--deadline", "2s")
    runs.wait_for_files(project, "quiet.up", "loud.up")
    os.kill(running.pid, signal.SIGSTOP)
    runs.wait_state(running.pid, "T")
    time.sleep(2.2)  # longer than any of the clocks
    os.kill(running.pid, signal.SIGCONT)
    runs.wait_state(running.pid, "SRD")
    project.write("go", "")
    running.finish().succeeds()
    assert runs.states(project) == {"quiet": "succeeded", "loud": "succeeded"}


# --- signals that only ask


def test_usr1_tells_what_is_running_and_changes_nothing(project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    running = project.start("run", "a")
    pid = runs.wait_started(project, 1)["a"]
    running.signal(signal.SIGUSR1).wait_for(f"pid {pid}")
    project.write("go", "")
    running.finish().succeeds().says("a running for")


# --- at the edges of a run


def test_a_signal_while_it_starts_ends_it_quietly_and_leaves_nothing(real):
    """Imports, the fork of the host, the inspection, the first spawns: somewhere in there it comes."""
    for delay in (0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4):
        running = real.start("run", "*", *WITH_TIME)
        time.sleep(delay)
        running.signal(signal.SIGTERM)
        came_to_its_end_quietly(real, running, signal.SIGTERM)


def test_an_interrupt_while_it_starts_is_no_traceback_either(real):
    """Python itself answers SIGINT with one in its own first moments; ours begin with the host."""
    for delay in (0, 0.02, 0.05, 0.1, 0.2):
        running = real.start("run", "*", *WITH_TIME)
        runs.named(running.pid, runs.HOST)
        time.sleep(delay)
        running.signal(signal.SIGINT)
        came_to_its_end_quietly(real, running, signal.SIGINT)


def came_to_its_end_quietly(project, running, number):
    finished = running.finish().dies_of(number)
    finished.never_says("Traceback", "bug", "Exception ignored")
    project.expect_nothing_left()
    for record in (project.path / ".taskrun" / "runs").glob("2*/run.json"):
        assert json.loads(record.read_text())["state"] in {"running", "finished"}


def test_an_interrupt_while_it_ends_leaves_the_summary_and_the_record_whole(project):
    project.tasks("[tasks.a]\nshell = 'echo out; exit 3'\n")
    for count, delay in enumerate((0, 0, 0.001, 0.002, 0.005, 0.01), start=1):
        running = project.start("run", "a", "--ui", "plain")
        wait_for_ends(project, count)
        time.sleep(delay)
        finished = running.signal(signal.SIGINT).finish()
        assert finished.status in {1, -signal.SIGINT}
        finished.says("FAIL", "Summary", "1 failed").prints("out").never_says("Traceback")
        assert runs.summary(project)["state"] == "finished"
        assert runs.kinds(project)[-1] == "run.end"


def wait_for_ends(project, count):
    """Waits until the task has ended in so many runs."""
    logs = (project.path / ".taskrun" / "runs").glob
    runs.wait_until(
        lambda: sum("task.end" in log.read_text() for log in logs("2*/events.jsonl")) == count,
        f"it ended {count} times",
    )


# --- where it runs


@pytest.mark.parametrize("how", ["--die-with-parent", "CI=true"])
def test_a_runner_whose_shell_is_terminated_ends_where_that_is_wanted(project, how):
    """A CI service signals only the shell of the step; a shell that dies of TERM signals nobody."""
    project.tasks("""
        [tasks.a]
        shell = ": > a.up; exec sleep 71.25"
    """)
    option = how if how.startswith("--") else ""
    env = {} if option else dict([how.split("=")])
    shell = project.launch("bash", "-c", f"taskrun run {option} a --grace {NEVER}; echo went on", env=env)
    runs.wait_for_files(project, "a.up")
    shell.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM).never_says("went on")
    project.expect_nothing_left()
    assert runs.states(project) == {"a": "cancelled"}
    assert runs.ends(project)["a"]["reason"] == "the parent process exited"
    assert runs.summary(project)["signal"] == signal.SIGTERM


def test_a_runner_outlives_its_shell_where_nothing_else_is_said(project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    shell = project.launch("bash", "-c", "taskrun run a; echo went on")
    runs.wait_for_files(project, "a.up")
    shell.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM)
    project.write("go", "")
    project.expect_nothing_left()
    assert runs.states(project) == {"a": "succeeded"}


def test_process_one_of_a_namespace_ends_by_status_and_reaps_what_it_adopts(project):
    unshare = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace may be made here")
    project.tasks("""
        [tasks.a]
        shell = ": > a.up; sleep 71.25 | cat"
    """)
    outside = project.launch(*unshare, *project.command, "run", "a", *WITH_TIME)
    runs.wait_for_files(project, "a.up")
    (runner,) = runs.children(outside.pid)
    enter = ["nsenter", "--target", str(runner), "--pid", "--", "sh", "-c", "sleep 0.05 & echo"]
    subprocess.run(enter, check=True, capture_output=True)  # ends with an orphan, which is the runner's
    runs.wait_until(lambda: len(runs.children(runner)) == 1, "only the host is the runner's child")
    assert zombies_of(runner) == []
    os.kill(runner, signal.SIGTERM)
    outside.finish().exits(128 + signal.SIGTERM)
    project.expect_nothing_left()
    assert runs.states(project) == {"a": "cancelled"}
    assert pids_of("71.25") == []
