"""Rows A1 to A9: signals that ask for the end, once, twice, three times; wherever taskrun was started."""

from __future__ import annotations

import os
import resource
import signal
import time

import pytest
from support import runs
from support.commands import CTRL_BACKSLASH, CTRL_C
from support.contexts import (
    ALONE,
    AT_PROMPT,
    AT_TERMINAL,
    IN_BASH,
    IN_DASH,
    NESTED,
    PLACES,
    PROCESS_ONE,
    UNDER_NOHUP,
    at_prompt,
    where,
)
from support.real import NEVER, STUBBORN, UP, WAIT_FOR_GO, WITH_TIME, wait_up, went_to

ALL_BUT_ONE = tuple(place for place in PLACES if place is not AT_TERMINAL)
"""Where no key is pressed a prompt is a terminal, too."""
SAME = 0.3
"""Seconds after which the same signal is another one: a shell forwards what the terminal has delivered already."""


# --- once


@pytest.mark.parametrize("place", where(signal.SIGINT))
def test_a1_ctrl_c_once(place, real):
    run = place.launch(real, "run", "*", *WITH_TIME)
    wait_up(real, *UP)
    run.interrupt()
    finished = run.ended_by(signal.SIGINT)
    assert real.left_behind() == []
    went_to(real, signal.SIGINT)
    finished.shows("Interrupted: stopping 3 tasks", "not run  after", "Summary", "interrupted by SIGINT")
    finished.never_says("Killing")


@pytest.mark.parametrize("place", where(signal.SIGINT, places=(ALONE, AT_PROMPT, PROCESS_ONE)))
def test_a2_ctrl_c_and_a_task_that_does_not_obey(place, project):
    project.tasks(STUBBORN)
    run = place.launch(project, "run", "stubborn", "--grace", "300ms")
    wait_up(project, "stubborn.up")
    run.interrupt()
    run.ended_by(signal.SIGINT).shows("stubborn", "killed")
    end = runs.ends(project)["stubborn"]
    assert (end["state"], end["signal"], end["reason"]) == ("cancelled", signal.SIGKILL, "SIGINT, killed")


@pytest.mark.parametrize("place", where(signal.SIGTERM, places=ALL_BUT_ONE))
def test_a6_sigterm_to_the_runner(place, real):
    run = place.launch(real, "run", "*", *WITH_TIME)
    wait_up(real, *UP)
    run.signal(signal.SIGTERM)
    finished = run.ended_by(signal.SIGTERM)
    assert real.left_behind() == []
    went_to(real, signal.SIGTERM)
    assert runs.ends(real)["program"]["signal"] == signal.SIGTERM
    finished.shows("Stopping 3 tasks: SIGTERM", "Summary")


@pytest.mark.parametrize("place", where(signal.SIGHUP, places=(ALONE, AT_PROMPT, IN_BASH, PROCESS_ONE, NESTED)))
def test_a7_sighup_to_the_runner(place, real):
    run = place.launch(real, "run", "*", *WITH_TIME)
    wait_up(real, *UP)
    run.signal(signal.SIGHUP)
    run.ended_by(signal.SIGHUP).shows("Stopping 3 tasks: SIGHUP", "Summary")
    went_to(real, signal.SIGHUP)


def test_a7_a_terminal_that_is_closed(real):
    with real.terminal("run", "*", *WITH_TIME) as terminal:
        wait_up(real, *UP)
        terminal.expect(r"\[\d+/\d+\].*running")
        terminal.hang_up()
        assert terminal.leave_unread() == -signal.SIGHUP
    assert real.left_behind() == []
    went_to(real, signal.SIGHUP)
    assert runs.summary(real)["trouble"] == []


def test_a7_a_closed_window_with_a_shell_in_it(real):
    with at_prompt(real, f"taskrun run '*' --grace {NEVER}") as terminal:
        wait_up(real, *UP)
        terminal.hang_up().leave_unread()
    real.expect_nothing_left()
    went_to(real, signal.SIGHUP)


def test_a8_sighup_under_nohup(project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    run = UNDER_NOHUP.launch(project, "run", "a")
    wait_up(project, "a.up")
    run.signal(signal.SIGHUP)
    project.write("go", "")
    run.ended_with(0)
    assert runs.states(project) == {"a": "succeeded"}
    assert "run.cancel" not in runs.kinds(project)


@pytest.fixture
def no_cores():
    """What dies of SIGQUIT would leave a core."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.mark.usefixtures("no_cores")
@pytest.mark.parametrize("place", where(signal.SIGQUIT, places=(ALONE, AT_TERMINAL, AT_PROMPT, IN_DASH, PROCESS_ONE)))
def test_a9_sigquit(place, real):
    run = place.launch(real, "run", "*", *WITH_TIME)
    leaders = wait_up(real, *UP)
    if place is AT_TERMINAL:
        run.command.press(CTRL_BACKSLASH)
    else:
        run.signal(signal.SIGQUIT)
    finished = run.ended_by(signal.SIGQUIT)
    went_to(real, signal.SIGQUIT)
    assert runs.ends(real)["program"]["signal"] == signal.SIGQUIT
    state = runs.folder(real) / "debug-state.txt"
    finished.shows("Stopping 3 tasks: SIGQUIT").shows("what taskrun was doing is in", state.name)
    content = state.read_text()
    for task, pid in leaders.items():
        assert f"  {task}: attempt 1, pid {pid}" in content
    for each in ("schedule.py", "conversation.py", "thread MainThread"):
        assert each in content


# --- again and again


@pytest.mark.parametrize("place", where(signal.SIGINT, places=(ALONE, AT_TERMINAL, AT_PROMPT)))
def test_a3_ctrl_c_twice(place, project):
    project.tasks(STUBBORN)
    run = place.launch(project, "run", "stubborn", *WITH_TIME)
    wait_up(project, "stubborn.up")
    run.interrupt()
    run.wait_for("Interrupted: stopping 1 task")
    time.sleep(SAME)
    run.interrupt()
    run.ended_by(signal.SIGINT).shows("Killing 1 task")
    assert runs.ends(project)["stubborn"]["signal"] == signal.SIGKILL
    assert project.left_behind() == []


@pytest.mark.parametrize(
    ("first", "second", "dies_of"),
    [
        (signal.SIGINT, signal.SIGTERM, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM),
    ],
    ids=lambda number: number.name,
)
def test_a3_another_signal_the_second_time(project, first, second, dies_of):
    """A Ctrl+C was everybody's at the terminal: a script stops only if it sees the command die of it."""
    project.tasks(STUBBORN)
    running = project.start("run", "stubborn", *WITH_TIME)
    wait_up(project, "stubborn.up")
    running.signal(first).wait_for("topping 1 task")
    running.signal(second).finish().dies_of(dies_of).says("Killing 1 task")
    assert runs.summary(project)["signal"] == dies_of


def test_a3_a_script_stops_though_it_was_not_ctrl_c_that_killed(project):
    project.tasks(STUBBORN)
    run = IN_BASH.launch(project, "run", "stubborn", *WITH_TIME)
    wait_up(project, "stubborn.up")
    run.interrupt()
    run.wait_for("Interrupted: stopping 1 task")
    run.signal(signal.SIGTERM)
    run.ended_by(signal.SIGINT)


@pytest.mark.parametrize("place", [pytest.param(place, id=place.name) for place in (ALONE, AT_PROMPT, IN_BASH)])
def test_a4_three_signals(place, project):
    """The host stands still, so that only leaving can end the runner; it cleans up when it goes on."""
    project.tasks(STUBBORN)
    run = place.launch(project, "run", "stubborn", *WITH_TIME)
    wait_up(project, "stubborn.up")
    host = runs.named(run.runner, runs.HOST)
    os.kill(host, signal.SIGSTOP)
    try:
        run.interrupt()
        run.wait_for("Interrupted: stopping 1 task")
        run.signal(signal.SIGTERM)
        run.wait_for("Killing 1 task")
        run.signal(signal.SIGHUP)
        run.ended_by(signal.SIGINT)
        assert runs.summary(project)["state"] == "running"
    finally:
        os.kill(host, signal.SIGCONT)
    project.expect_nothing_left()
    project.taskrun("runs").succeeds().prints("aborted")


# --- the same one twice

CLEANS_UP = """
    [tasks.a]
    shell = "trap 'sleep 0.4; echo cleaned up; exit 0' INT; : > a.up; while :; do sleep 0.02; done"
"""


def test_a5_the_same_signal_within_a_moment(project):
    project.tasks(CLEANS_UP)
    running = project.start("run", "a", *WITH_TIME)
    wait_up(project, "a.up")
    for _ in range(4):
        running.signal(signal.SIGINT)
        time.sleep(0.01)  # so that they do not become one in the kernel
    finished = running.finish().dies_of(signal.SIGINT).prints("cleaned up").never_says("illing")
    assert finished.stderr.count("Interrupted") == 1
    assert runs.kinds(project).count("run.cancel") == 1


def test_a5_a_wrapper_forwards_what_the_terminal_has_delivered(project):
    """As `npm` and `uv run` do."""
    project.tasks(CLEANS_UP)
    project.write(
        "wrapper.py",
        """
        import signal, subprocess, sys
        child = subprocess.Popen(sys.argv[1:])
        signal.signal(signal.SIGINT, lambda *_: child.send_signal(signal.SIGINT))
        print("wrapped", child.wait())
    """,
    )
    with project.terminal(argv=("python3", "wrapper.py", *project.command, "run", "a", *WITH_TIME)) as terminal:
        wait_up(project, "a.up")
        terminal.press(CTRL_C)
        terminal.finish().prints("Interrupted", "cleaned up", "wrapped -2").never_says("Killing")
    assert runs.kinds(project).count("run.cancel") == 1
