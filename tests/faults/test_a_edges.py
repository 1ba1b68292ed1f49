"""Rows A20 to A28: signals that only ask or are ignored, at the edges of a run, and what its callers do to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest
from support import runs
from support.census import zombies_of
from support.contexts import ALONE, AT_PROMPT, IN_BACKGROUND, NESTED, PROCESS_ONE
from support.project import pids_of
from support.real import NEVER, UP, WAIT_FOR_GO, WITH_TIME, wait_up, went_to

SLEEPS = """
    [tasks.a]
    run = ["sh", "-c", "grep SigIgn /proc/self/status > ignored; : > a.up; exec sleep 71.25"]
"""
GITHUB = {"CI": "true", "GITHUB_ACTIONS": "true"}


def where(*places):
    return pytest.mark.parametrize("place", [pytest.param(place, id=place.name) for place in places])


# --- signals that only ask, and those that are ignored


@where(ALONE, AT_PROMPT, PROCESS_ONE)
def test_a20_sigusr1(place, project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    run = place.launch(project, "run", "a")
    pid = runs.wait_started(project, 1)["a"]
    run.signal(signal.SIGUSR1)
    run.wait_for(f"pid {pid}")
    project.write("go", "")
    run.ended_with(0)
    assert re.search(r"a running for .*, pid", json.dumps(runs.events(project)))
    assert runs.states(project) == {"a": "succeeded"}


def test_a21_sigint_was_ignored_at_the_start(project):
    project.tasks(SLEEPS)
    command = " ".join([*project.command, "run", "a", *WITH_TIME])
    running = project.launch("sh", "-c", f"trap '' INT QUIT; exec {command}")
    wait_up(project, "a.up")
    running.signal(signal.SIGINT).signal(signal.SIGQUIT).signal(signal.SIGUSR1).wait_for("a running for")
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM)
    assert nothing_is_ignored(project)
    assert {end["reason"] for end in runs.ends(project).values()} == {"SIGTERM"}


def nothing_is_ignored(project):
    """By the task, which is a program of its own, and starts as any."""
    return int(project.read("ignored").split()[1], 16) & 0x7FFFFFFF == 0  # beyond are the C library's own


def test_a21_in_the_background_of_a_shell_without_job_control(project):
    project.tasks(SLEEPS)
    run = IN_BACKGROUND.launch(project, "run", "a", *WITH_TIME)
    wait_up(project, "a.up")
    run.signal(signal.SIGINT)
    run.signal(signal.SIGQUIT)
    run.signal(signal.SIGUSR1)
    run.wait_for("a running for")
    run.signal(signal.SIGTERM)
    run.ended_by(signal.SIGTERM)
    assert nothing_is_ignored(project)
    assert {end["reason"] for end in runs.ends(project).values()} == {"SIGTERM"}


# --- at the edges of a run


def test_a22_sigterm_while_it_starts(real):
    """Imports, the fork of the host, the inspection, the first spawns: somewhere in there it comes."""
    for delay in (0, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3):
        running = real.start("run", "*", *WITH_TIME)
        time.sleep(delay)
        running.signal(signal.SIGTERM)
        came_to_its_end_quietly(real, running, signal.SIGTERM)


def test_a22_sigint_while_it_starts(real):
    """Python itself answers SIGINT with a traceback in its own first moments; ours begin with the host."""
    for delay in (0, 0.02, 0.05, 0.1, 0.2):
        running = real.start("run", "*", *WITH_TIME)
        runs.named(running.pid, runs.HOST)
        time.sleep(delay)
        running.signal(signal.SIGINT)
        came_to_its_end_quietly(real, running, signal.SIGINT)


def test_a22_sigkill_while_it_starts(real):
    for delay in (0, 0.05, 0.1, 0.15, 0.2, 0.3):
        running = real.start("run", "*", *WITH_TIME)
        runs.named(running.pid, runs.HOST)
        time.sleep(delay)
        running.signal(signal.SIGKILL)
        came_to_its_end_quietly(real, running, signal.SIGKILL)


def came_to_its_end_quietly(project, running, number):
    finished = running.finish().dies_of(number)
    finished.never_says("Traceback", "bug", "Exception ignored")
    project.expect_nothing_left()
    for record in (project.path / ".taskrun" / "runs").glob("2*/run.json"):
        assert json.loads(record.read_text())["state"] in {"running", "finished"}


def test_a23_sigint_while_it_ends(project):
    project.tasks("[tasks.a]\nshell = 'echo out; exit 3'\n")
    for count, delay in enumerate((0, 0.001, 0.002, 0.005), start=1):
        running = project.start("run", "a", "--ui", "plain")
        wait_for_ends(project, count)
        time.sleep(delay)
        finished = running.signal(signal.SIGINT).finish()
        assert finished.status in {1, -signal.SIGINT}
        finished.says("FAIL", "Summary", "1 failed").prints("out")
        assert runs.summary(project)["state"] == "finished"
        assert runs.kinds(project)[-1] == "run.end"


def wait_for_ends(project, count):
    """Waits until the task has ended in so many runs."""
    logs = (project.path / ".taskrun" / "runs").glob
    runs.wait_until(
        lambda: sum("task.end" in log.read_text() for log in logs("2*/events.jsonl")) == count,
        f"it ended {count} times",
    )


# --- who has started it


@pytest.mark.parametrize("how", ["--die-with-parent", "CI=true"])
def test_a24_a_ci_service_cancels_the_shell(project, how):
    """INT, which the shell takes note of and waits on, then TERM, of which it dies and signals nobody."""
    project.tasks(SLEEPS)
    option = how if how.startswith("--") else ""
    env = {} if option else dict([how.split("=")])
    shell = project.launch("bash", "-e", "-c", f"taskrun run {option} a --grace {NEVER}; echo went on", env=env)
    wait_up(project, "a.up")
    shell.signal(signal.SIGINT).signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM).never_says("went on")
    project.expect_nothing_left()
    assert runs.states(project) == {"a": "cancelled"}
    assert runs.ends(project)["a"]["reason"] == "the parent process exited"
    assert runs.summary(project)["signal"] == signal.SIGTERM


def test_a24_a_ci_service_cancels_a_step_that_is_taskrun_itself(real):
    real.write("step.sh", f"exec taskrun run '*' --grace {NEVER}\n")
    step = real.launch("bash", "-e", "step.sh", env=GITHUB)
    wait_up(real, *UP)
    step.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    assert real.left_behind() == []
    went_to(real, signal.SIGINT)


def test_a25_process_one_reaps_what_it_adopts(project):
    project.tasks('[tasks.a]\nshell = ": > a.up; sleep 71.25 | cat"\n')
    run = PROCESS_ONE.launch(project, "run", "a", *WITH_TIME)
    wait_up(project, "a.up")
    enter = ["nsenter", "--target", str(run.runner), "--pid", "--", "sh", "-c", "sleep 0.05 & echo"]
    subprocess.run(enter, check=True, capture_output=True)  # ends with an orphan, which is the runner's
    runs.wait_until(lambda: len(runs.children(run.runner)) == 1, "only the host is the runner's child")
    assert zombies_of(run.runner) == []
    run.signal(signal.SIGTERM)
    run.ended_by(signal.SIGTERM)
    assert runs.states(project) == {"a": "cancelled"}
    assert pids_of("71.25") == []


OUTER = """
    [tasks.outer]
    shell = "exec taskrun run -f inner/tasks.toml '*' --grace {grace}"
    timeout = "1500ms"
    grace = "{outer}"
"""
INNER = """
    [run]
    jobs = 4
    [tasks.obeys]
    shell = ": > obeys.up; sleep 63.25 | cat"
    [tasks.stubborn]
    shell = "trap '' INT TERM HUP; : > stubborn.up; while :; do sleep 0.05; done"
    [tasks.daemon]
    shell = "setsid sh -c 'setsid sleep 63.25 & exit' & : > daemon.up; sleep 63.25"
"""
INNER_UP = ("inner/obeys.up", "inner/stubborn.up", "inner/daemon.up")


def test_a26_a_nested_run_that_is_timed_out(project):
    project.write("inner/tasks.toml", INNER)
    project.tasks(OUTER.format(grace="100ms", outer=NEVER))
    project.taskrun("run", "outer").exits(124).says("timed out")
    assert pids_of("63.25") == []
    assert runs.states(project) == {"outer": "timed-out"}


@pytest.mark.parametrize(
    ("grace", "outer", "state"), [("200ms", NEVER, "finished"), (NEVER, "300ms", "running")], ids=["yields", "overruns"]
)
def test_a26_a_nested_run_that_is_terminated(project, grace, outer, state):
    """It ends its tasks itself; or it takes too long, is killed, and its host or the outer one's ends them."""
    project.write("inner/tasks.toml", INNER)
    project.tasks(OUTER.format(grace=grace, outer=outer).replace("1500ms", NEVER))
    running = project.start("run", "outer")
    runs.wait_for_files(project, *INNER_UP)
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM)
    assert pids_of("63.25") == []
    inner = project.path / "inner" / ".taskrun" / "runs" / "latest" / "run.json"
    assert json.loads(inner.read_text())["state"] == state


@pytest.mark.parametrize("whom", ["outer runner", "outer host", "inner runner", "inner host"])
def test_a26_sigkill_to_one_of_two(real, whom):
    run = NESTED.launch(real, "run", "*", *WITH_TIME)
    wait_up(real, *UP)
    inner = runs.runner_of(real)
    match whom:
        case "outer runner":
            run.signal(signal.SIGKILL)
            run.ended_by(signal.SIGKILL)
        case "outer host":
            (host,) = runs.children(run.runner)
            os.kill(host, signal.SIGKILL)
            run.ended_with(1).says("lost: ")
        case "inner runner":
            os.kill(inner, signal.SIGKILL)
            run.ended_with(1).says("killed by SIGKILL")
        case "inner host":
            os.kill(runs.named(inner, runs.HOST), signal.SIGKILL)
            run.ended_with(1).says("lost: ")
    real.expect_nothing_left()
    record = runs.summary(real)
    match whom:
        case "outer runner":  # its host has asked the inner run to end
            assert record["signal"] == signal.SIGTERM
            assert set(runs.states(real).values()) == {"cancelled", "not-started"}
        case "inner host":
            assert (record["state"], record["exit_status"]) == ("finished", 1)
        case _:
            assert record["state"] == "running"


# --- its standard streams


def test_a27_nobody_reads_any_more(project):
    project.tasks("[tasks.yes]\nrun = ['yes', 'so much']\n")
    read, write_end = os.pipe()
    running = project.start("run", "yes", stdout=write_end)
    os.close(write_end)
    assert os.read(read, 8) == b"so much\n"
    os.close(read)
    finished = running.finish().dies_of(signal.SIGPIPE)
    finished.says("START").never_says("Exception", "rror")
    project.expect_nothing_left()
    assert runs.states(project) == {"yes": "cancelled"}


@pytest.mark.parametrize("env", [{}, GITHUB], ids=["a pipe", "GitHub"])
def test_a27_head_takes_one_line(project, env):
    project.tasks("""
        [tasks.yes]
        run = ["yes", "so much"]
        [tasks.sleep]
        run = ["sleep", "600"]
    """)
    script = 'taskrun run -j 2 --output stream yes sleep | head -n 1 >line; echo "${PIPESTATUS[@]}"'
    finished = project.sh(script, env=env)
    assert finished.stdout == "141 0\n"
    finished.never_says("Exception", "rror")
    assert project.read("line")
    project.expect_nothing_left()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a28_closed_streams(project, oracle, closed):
    """None of the runner's own descriptors becomes 0, 1 or 2, where a task's output would go into it."""
    project.tasks("""
        [tasks.a]
        shell = "echo out; echo err >&2; cat; exit 3"
    """)
    script = f"taskrun run a {closed}; echo $? >status; taskrun list {closed}; echo $? >>status; taskrun run b {closed}"
    finished = project.sh(script).exits(2)
    assert project.read("status") == "1\n0\n"
    out_is_closed = closed not in {"2>&-", "<&-"}
    assert finished.stdout == ("" if out_is_closed else "out\na  echo out; echo err >&2; cat; exit 3\n")
    assert finished.stderr == "" or "2>&-" not in closed
    oracle.expect_log("a", b"out\nerr\n")
