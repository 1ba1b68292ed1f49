"""At a terminal: real transcodes, a terminal that stands still, and lending it; afterwards it is as it was before.

What the keys do otherwise is in `tests/faults/`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest
from support import runs
from support.commands import CTRL_C, CTRL_Q, CTRL_S, CTRL_Z
from support.project import pids_of
from support.real import NEVER, WITH_TIME

PROMPT = "READY> "
LIVE = r"\[\d+/\d+\].*running"
"""The last line of the live area."""


def bash(project):
    """An interactive shell with job control, at its first prompt. It does no editing: so the terminal's modes stay."""
    terminal = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": PROMPT})
    terminal.expect(PROMPT)
    return terminal


def leave(terminal):
    """Leaves the shell, which must be at its prompt; that also shows that the keyboard is its own again."""
    terminal.press("exit 0\n").finish().exits(0)


def expect_given_back(terminal, before):
    """The terminal's modes are as before, the cursor is visible and at the start of a line."""
    assert terminal.settings() == before
    terminal.expect_cursor()
    assert terminal.text.endswith("\n")


# --- ten transcodes

TRANSCODES = """
[run]
jobs = 2
[tasks.transcode]
foreach.number = { range = [1, 10] }
run = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=320x240:duration=3600", "-c:v", "mpeg4", "{{ number }}.mp4"]
"""


def transcodes(project):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    return project.tasks(TRANSCODES)


def under_way(project):
    """Two of them have started; then some moment, which is another one in every test."""
    runs.wait_started(project, 2)
    time.sleep(random.Random(os.environ.get("PYTEST_CURRENT_TEST")).uniform(0, 0.5))


def expect_no_ffmpeg(project, within=10.0):
    project.expect_nothing_left(within=within)
    assert pids_of("testsrc=size=320x240:duration=3600") == []


def test_ctrl_c_ends_ten_transcodes_at_any_moment(project):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        before = terminal.settings()
        under_way(project)
        terminal.press(CTRL_C)
        terminal.finish().dies_of(signal.SIGINT).prints("2 stopped, 8 not run")
        expect_given_back(terminal, before)
    expect_no_ffmpeg(project, within=0.0)
    assert sorted(runs.states(project).values()) == ["cancelled"] * 2 + ["not-started"] * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_a_signal_ends_ten_transcodes_too(project, number):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        under_way(project)
        os.kill(terminal.pid, number)
        terminal.finish().dies_of(number)
    expect_no_ffmpeg(project)
    if number != signal.SIGKILL:
        assert sorted(runs.states(project).values()) == ["cancelled"] * 2 + ["not-started"] * 8


def test_the_death_of_the_host_ends_ten_transcodes_too(project):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        before = terminal.settings()
        under_way(project)
        os.kill(runs.named(terminal.pid, runs.HOST), signal.SIGKILL)
        terminal.finish().exits(1).prints("lost: ", "2 failed, 8 not run")
        expect_given_back(terminal, before)
    expect_no_ffmpeg(project, within=0.0)


# --- the terminal goes away, or stands still


def chatty(project):
    """A task that writes more than a terminal takes while nobody reads it."""
    return project.tasks("""
        [tasks.a]
        shell = "while :; do echo a line of output that fills the terminal; done"
        [tasks.b]
        shell = ": > b.up; exec sleep 71.25"
    """)


def test_a_terminal_that_is_stopped_by_ctrl_s_does_not_hold_an_interrupt_up(project):
    """The key Ctrl+C would let it go on: so the signal comes from elsewhere."""
    chatty(project)
    with project.terminal("run", "a", "b", "--output", "stream", *WITH_TIME) as terminal:
        before = terminal.settings()
        runs.wait_for_files(project, "b.up")
        terminal.expect("fills the terminal")
        terminal.press(CTRL_S)
        time.sleep(0.3)  # by now it is full
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.leave_unread() == -signal.SIGINT
        terminal.press(CTRL_Q)
        assert terminal.settings() == before
    assert project.left_behind() == []
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


def test_ctrl_c_on_a_terminal_that_nobody_reads(project):
    chatty(project)
    with project.terminal("run", "a", "b", "--output", "stream", *WITH_TIME) as terminal:
        runs.wait_for_files(project, "b.up")
        terminal.expect("fills the terminal")
        time.sleep(0.3)  # by now it is full
        terminal.press(CTRL_C)
        assert terminal.leave_unread() == -signal.SIGINT
    assert project.left_behind() == []
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


def test_ctrl_z_on_a_terminal_that_stands_still(project):
    chatty(project)
    with bash(project) as terminal:
        terminal.press(f"taskrun run a b --output stream --grace {NEVER}\n").expect("fills the terminal")
        runner = runs.runner_of(project)
        time.sleep(0.3)  # by now it is full
        terminal.press(CTRL_Z)
        runs.wait_state(runner, "T")
        os.kill(runner, signal.SIGTERM)
        os.kill(runner, signal.SIGCONT)
        runs.wait_gone(runner)
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


# --- Ctrl+Z


# --- other sizes


# --- interactive tasks


def test_an_interactive_task_may_take_ctrl_c_for_itself(project):
    project.tasks("""
        [tasks.ask]
        shell = "trap 'echo never mind' INT; echo your name?; until read name; do :; done; echo hello $name"
        interactive = true
        [tasks.other]
        shell = "until [ -e go ]; do sleep 0.02; done"
    """)
    with project.terminal("run", "ask", "other") as terminal:
        terminal.expect(r"your name\?")
        terminal.press(CTRL_C).expect("never mind")
        terminal.press("Ada\n").expect("hello Ada")
        project.write("go", "")
        terminal.finish().exits(0)
    assert "run.cancel" not in runs.kinds(project)


def test_ctrl_c_that_an_interactive_task_answers_by_ending_well_is_not_the_runs(project):
    """The runner stands still meanwhile, and so hears of the key and of the end at once: eight times, in any order."""
    project.tasks("""
        [tasks.stop]
        foreach.number = { range = [1, 8] }
        shell = "trap 'exit 0' INT; echo pid $$; while :; do sleep 0.02; done"
        interactive = true
    """)
    with project.terminal("run", "stop") as terminal:
        for _ in range(8):
            task = int(terminal.expect(r"pid (\d+)\n")[1])
            os.kill(terminal.pid, signal.SIGSTOP)
            terminal.press(CTRL_C)
            runs.wait_state(task, "Z")
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.finish().exits(0).prints("8 ok")


def test_a_signal_from_elsewhere_ends_an_interactive_task_with_the_run(project):
    project.tasks("""
        [tasks.ask]
        shell = "echo your name?; read name"
        interactive = true
    """)
    with project.terminal("run", "ask", *WITH_TIME) as terminal:
        terminal.expect(r"your name\?")
        os.kill(terminal.pid, signal.SIGTERM)
        terminal.finish().dies_of(signal.SIGTERM)
    assert runs.states(project) == {"ask": "cancelled"}


def test_an_interactive_task_may_take_ctrl_z_for_itself(project):
    project.tasks("""
        [tasks.ask]
        shell = "trap '' TSTP; echo your name?; read name; echo hello $name"
        interactive = true
    """)
    with bash(project) as terminal:
        terminal.press("taskrun run ask\n").expect(r"your name\?")
        terminal.press(CTRL_Z)
        terminal.press("Ada\n").expect("hello Ada")
        terminal.expect("1 ok")
        leave(terminal)
    assert "run.suspend" not in runs.kinds(project)


def test_the_timeout_of_an_interactive_task_counts(project):
    project.tasks("""
        [tasks.ask]
        shell = "echo your name?; read name"
        interactive = true
        timeout = "400ms"
    """)
    with project.terminal("run", "ask") as terminal:
        before = terminal.settings()
        terminal.expect(r"your name\?")
        terminal.finish().exits(124).prints("timed out after 400ms")
        expect_given_back(terminal, before)


def test_an_interactive_task_that_garbles_the_terminal_is_cleaned_up_after(project):
    project.tasks("""
        [tasks.garble]
        shell = "stty raw -echo; exit 3"
        interactive = true
    """)
    with project.terminal("run", "garble") as terminal:
        before = terminal.settings()
        terminal.finish().exits(1)
        expect_given_back(terminal, before)


def test_what_an_interactive_task_leaves_running_is_killed(project):
    project.tasks("""
        [tasks.leave]
        shell = "sleep 72.25 & setsid sleep 72.25 & echo left"
        interactive = true
    """)
    with project.terminal("run", "leave") as terminal:
        terminal.expect("left")
        terminal.finish().exits(0)
    assert pids_of("sleep 72.25") == []
    assert len(runs.ends(project)["leave"]["leaked"]) == 2
