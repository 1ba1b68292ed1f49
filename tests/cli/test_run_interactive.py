"""An interactive task has the terminal: keys, Ctrl+C, Ctrl+Z; and the run is one job with it."""

from __future__ import annotations

import signal
import time

CTRL_C, CTRL_Z = "\x03", "\x1a"
EVENTS = ".taskrun/runs/latest/events.jsonl"


def bash(project):
    terminal = project.terminal(argv=("bash", "--norc", "-i"), env={"PS1": "ready> "})
    terminal.expect("ready> ")
    return terminal


def test_it_reads_the_keyboard_and_the_others_output_waits(project):
    project.tasks("""
        [tasks.ask]
        run = ["bash", "-c", "read -p 'name? ' name; echo hello $name"]
        interactive = true
        [tasks.other]
        shell = "for i in 1 2 3; do echo noise $i; done"
        output = "stream"
        [tasks.both]
        needs = ["ask", "other"]
    """)
    with project.terminal("run", "both") as terminal:
        terminal.expect(r"name\? ")
        terminal.press("bob\n")
        terminal.expect("hello bob")
        terminal.finish().exits(0)


def test_ctrl_z_stops_the_task_and_the_run_as_one_job_and_fg_goes_on(project):
    project.tasks("""
        [tasks.ask]
        run = ["bash", "-c", "read -p 'name? ' name; echo hello $name"]
        interactive = true
        timeout = "60s"
    """)
    with bash(project) as terminal:
        terminal.press("taskrun run ask\n")
        terminal.expect(r"name\? ")
        terminal.press(CTRL_Z)
        terminal.expect("Stopped")
        terminal.expect("ready> ")
        terminal.press("fg\n")
        terminal.expect("taskrun run ask")
        terminal.press("bob\n")
        terminal.expect("hello bob")
        terminal.expect("ready> ")
        terminal.press("exit $?\n")
        terminal.finish().exits(0)


def test_ctrl_c_in_it_is_the_runs_and_counts_once(project):
    project.tasks("""
        [tasks.ask]
        run = ["sleep", "64.25"]
        interactive = true
        [tasks.nap]
        run = ["sleep", "64.5"]
        [tasks.both]
        needs = ["ask", "nap"]
    """)
    with project.terminal("run", "both") as terminal:
        _wait_for(project, '"event":"task.start","task":"ask"')
        _wait_for(project, '"event":"task.start","task":"nap"')
        terminal.press(CTRL_C)
        terminal.finish().dies_of(signal.SIGINT)
    text = project.read(EVENTS)
    assert text.count('"event":"run.cancel"') == 1
    assert text.count('"state":"cancelled"') == 2


def _wait_for(project, text):
    deadline = time.monotonic() + 30
    path = project.path / EVENTS
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_a_terminal_it_runs_all_the_same(project):
    project.tasks("""
        [tasks.ask]
        run = ["cat"]
        interactive = true
    """)
    project.taskrun("run", "ask", stdin=b"piped\n").succeeds().prints("piped")


def test_a_task_with_our_stdin_does_not_eat_what_is_typed_for_the_shell(project):
    project.tasks("""
        [tasks.reader]
        shell = "cat > read; : > over"
        stdin = "-"
    """)
    with bash(project) as terminal:
        terminal.press("taskrun run reader > /dev/null 2>&1 & wait; echo for the shell\n")
        terminal.expect("\nfor the shell")
        assert project.read("read") == ""
        terminal.press("exit\n")
        terminal.finish().exits(0)
