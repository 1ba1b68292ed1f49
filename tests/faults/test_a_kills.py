"""Rows A10 to A14 and A29: what cannot be caught, of the runner, of its host, of a template, of all of them."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support import runs
from support.contexts import ALONE, AT_TERMINAL, IN_DASH, NESTED, PLACES, PROCESS_ONE, UNDER_NOHUP, where
from support.project import command_line, pids_of
from support.real import CALLS, REAL, STUBBORN, UP, WAIT_FOR_GO, WITH_TIME, wait_up

NO_HAND = "whoever gets SIGKILL leaves its terminal as it is"
# A nested one is row A26; to SIGKILL one script is like the other.
TO_ITSELF = tuple(place for place in PLACES if place not in {NESTED, IN_DASH, UNDER_NOHUP})


def wait_written(project):
    """Waits until what has happened is on disk: the starts, and what a task has written."""
    runs.wait_started(project, 3)
    log = runs.folder(project) / "logs" / "program.1.log"
    runs.wait_until(lambda: log.exists() and log.read_bytes() == b"first\n", "what was written is in the log")


def is_aborted(project):
    """Nobody was left to write how it ended, and whoever looks is told so."""
    assert runs.summary(project)["state"] == "running"
    project.taskrun("runs").succeeds().prints("aborted")
    project.taskrun("logs", "program").succeeds().prints_exactly("first\n")


# --- the runner


@pytest.mark.parametrize("place", where(signal.SIGKILL, places=TO_ITSELF))
def test_a10_sigkill_to_the_runner(place, real, oracle):
    oracle.excuse("O3", NO_HAND)
    run = place.launch(real, "run", "*", *WITH_TIME)
    runs.wait_for_files(real, *UP)
    wait_written(real)
    run.signal(signal.SIGKILL)
    run.ended_by(signal.SIGKILL)
    real.expect_nothing_left()
    assert runs.summary(real)["state"] == "running"
    oracle.expect_log("program", b"first\n")
    if place is not PROCESS_ONE:  # where the kernel kills the host in the same moment
        runs.wait_until(lambda: not temporary(real), "the FIFOs are gone")


def temporary(project):
    """What lies in the temporary folder."""
    return os.listdir(project.env["TMPDIR"])


def test_a11_sigkill_to_the_process_group_of_the_runner(real):
    real.tasks(REAL + STUBBORN)
    running = real.start("run", "*", *WITH_TIME)
    wait_up(real, *UP, "stubborn.up")
    wait_written(real)
    os.killpg(running.pid, signal.SIGKILL)
    running.finish().dies_of(signal.SIGKILL)
    real.expect_nothing_left()
    is_aborted(real)
    runs.wait_until(lambda: not temporary(real), "the FIFOs are gone")


# --- the host


@pytest.mark.parametrize("place", [pytest.param(place, id=place.name) for place in (ALONE, AT_TERMINAL, PROCESS_ONE)])
def test_a12_sigkill_to_the_host(place, real):
    real.tasks(REAL + STUBBORN + "[tasks.done]\nrun = ['true']\n")
    run = place.launch(real, "run", "*", *WITH_TIME)
    wait_up(real, *UP, "stubborn.up")
    runs.wait_until(lambda: "done" in runs.ends(real), "the quick one is done")
    os.kill(runs.named(run.runner, runs.HOST), signal.SIGKILL)
    finished = run.ended_with(1)
    assert real.left_behind() == []
    finished.shows("shell  lost: ", "killed by SIGKILL", "Summary", "4 failed, 1 not run")
    states = runs.states(real)
    assert states.pop("after") in {"skipped", "not-started"}  # its dependency's loss and the run's end come together
    assert states == dict.fromkeys(["shell", "program", "call", "stubborn"], "failed") | {"done": "succeeded"}
    assert runs.summary(real)["exit_status"] == 1
    real.taskrun("logs", "program").succeeds().prints_exactly("first\n")
    assert temporary(real) == []


# --- a template


def test_a13_sigkill_to_a_template(project):
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
    running.finish().succeeds()
    results = {task: end["result"] for task, end in runs.ends(project).items()}
    assert (results["call"], results["next"]) == ("waited", "quick")


# --- a runner that stood still


def test_a14_sigstop_to_the_runner(project, oracle):
    """Longer than any of the clocks; meanwhile a task fills its pipe, waits, and goes on."""
    project.tasks(f"""
        [run]
        jobs = 4
        [tasks.quiet]
        shell = ': > quiet.up; {WAIT_FOR_GO}'
        timeout = "2s"
        start-timeout = "2s"
        idle-timeout = "2s"
        [tasks.loud]
        shell = ': > loud.up; until [ -e go ]; do echo tick; sleep 0.05; done'
        idle-timeout = "2s"
        [tasks.full]
        shell = ': > full.up; until [ -e stopped ]; do sleep 0.02; done; seq 1 100000'
    """)
    running = project.start("run", "quiet", "loud", "full", "--deadline", "2s")
    runs.wait_for_files(project, "quiet.up", "loud.up", "full.up")
    os.kill(running.pid, signal.SIGSTOP)
    runs.wait_state(running.pid, "T")
    project.write("stopped", "")
    time.sleep(2.2)
    os.kill(running.pid, signal.SIGCONT)
    runs.wait_state(running.pid, "SRD")
    project.write("go", "")
    running.finish().succeeds()
    assert runs.states(project) == dict.fromkeys(["quiet", "loud", "full"], "succeeded")
    oracle.expect_log("full", b"".join(b"%d\n" % number for number in range(1, 100_001)))


# --- runner and host in the same moment


def test_a29_sigkill_to_runner_and_host_at_once(real, oracle):
    oracle.adopts("sh", "sleep", "cat")  # nobody is left to reap them
    running = real.start("run", "*", *WITH_TIME)
    leaders = wait_up(real, *UP)
    kill_together(running.pid, runs.named(running.pid, runs.HOST))
    running.finish().dies_of(signal.SIGKILL)
    runs.wait_gone(leaders["call"])
    real.taskrun("runs").succeeds().prints("aborted", f"still running: {leaders['program']} sleep 71.25")
    (run,) = real.taskrun("runs", "--json").succeeds().json()
    assert {leaders["program"], leaders["shell"]} < {each["pid"] for each in run["still_running"]}

    real.tasks("[tasks.next]\nrun = ['true']\n")
    real.taskrun("run", "next").succeeds().says(run["id"], "left running: ", "and 1 more; `taskrun runs --kill`")
    real.taskrun("run", "next").succeeds().never_says("left running")
    assert {leaders["program"], leaders["shell"]} < {int(left.split()[0]) for left in real.left_behind()}

    killed = real.taskrun("runs", "--kill").succeeds()
    for task, command in (("program", "sleep 71.25"), ("shell", "sh")):
        killed.prints(f"killed {leaders[task]} {command}")
    real.expect_nothing_left()
    real.taskrun("runs", "--kill").succeeds().says("nothing is left running")
    real.taskrun("runs").succeeds().prints("aborted").never_says("still running")


def test_a29_a_host_that_is_still_at_it_is_left_alone(real):
    running = real.start("run", "*", *WITH_TIME)
    runs.wait_for_files(real, *UP)
    host = runs.named(running.pid, runs.HOST)
    os.kill(host, signal.SIGSTOP)
    try:
        running.signal(signal.SIGKILL).finish()
        real.taskrun("runs").succeeds().prints("aborted").never_says("still running")
        real.taskrun("runs", "--kill").succeeds().says("nothing is left running")
    finally:
        os.kill(host, signal.SIGCONT)
    real.expect_nothing_left()


@pytest.mark.parametrize("how", ["sleep 72.25 &", "trap '' TERM HUP; setsid env -i sleep 72.25 &"])
def test_a10_an_interactive_task_and_what_it_has_started_end_with_the_runner(project, oracle, how):
    """The runner has started it, and the host has been told of it: by pid and start time, and by its mark.

    Below a terminal that hangs up the first processes die at once: what has cleared its environment is then nobody's.
    """
    oracle.excuse("O3", NO_HAND)
    oracle.adopts("sh", "sleep")
    project.tasks(f"""
        [tasks.ask]
        shell = "{how} setsid sleep 72.25 & : > ask.up; sleep 72.25; sleep 72.25"
        interactive = true
    """)
    with project.terminal("run", "ask") as terminal:
        runs.wait_for_files(project, "ask.up")
        runs.wait_until(lambda: len([pid for pid in pids_of("sleep 72.25") if is_sleep(pid)]) == 3, "all of it runs")
        host = runs.named(terminal.pid, runs.HOST)
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.finish().dies_of(signal.SIGKILL)
    runs.wait_gone(host)
    project.expect_nothing_left()
    assert not pids_of("sleep 72.25")
    project.taskrun("runs").succeeds().prints("aborted")


def is_sleep(pid):
    """And not a shell whose command line has it."""
    return command_line(pid).startswith("sleep")


def kill_together(*pids):
    """So that none of them sees another one's death."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        runs.wait_state(pid, "T")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
