"""Ctrl+Z and `fg` at random moments while tasks are started flat out: it never sticks, and no clock counts the pause."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from support import runs
from support.census import name_of, state_of
from support.commands import CTRL_C, CTRL_Z
from support.torture import torture

if TYPE_CHECKING:
    from support.commands import Terminal
    from support.torture import Case, Torture

__all__ = ["torture"]
pytestmark = pytest.mark.slow

PROMPT = "READY> "
STOPS = 50  # of one run; the suite makes 200 of them on a machine that is quick enough
TASKS = """
[run]
jobs = 4
[tasks.long]
run = ["sh", "-c", ": > long.up; exec sleep 600"]
timeout = "300s"
[tasks.short]
foreach.number = { range = [1, 4000] }
run = ["true"]
"""


def test_it_never_sticks_and_no_clock_counts_the_pause(torture: Torture) -> None:
    torture.each(one_run, usual=15.0, least=2)


def one_run(case: Case) -> None:
    """A run in a shell with job control, stopped again and again, and interrupted at last."""
    project, live = case.project, case.random.random() < 0.5
    project.tasks(TASKS)
    terminal = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": PROMPT})
    terminal.expect(PROMPT)
    terminal.press(f"taskrun run long short --ui {'live' if live else 'none'} --output none --grace 100ms\n")
    runner = runs.runner_of(project)
    runs.wait_for_files(project, "long.up")
    paused = 0.0
    for stop in range(STOPS):
        case.told |= {"live": live, "stops": stop}
        time.sleep(case.random.uniform(0.0, 0.04))
        paused += one_stop(case, terminal, runner)
    terminal.press(CTRL_C)
    runs.wait_gone(runner)
    terminal.expect(PROMPT)
    terminal.press("echo status $?; exit 0\n").expect(r"(?<!echo )status 130\n")
    terminal.finish().exits(0)
    expect_whole(case, paused)


def one_stop(case: Case, terminal: Terminal, runner: int) -> float:
    """Stops it, sees that all stands still, lets it go on; for how many seconds it was seen to stand still."""
    how = case.random.choice(["key", "key", "twice", "signal"])
    case.told["stopped by"] = how
    if how == "signal":
        os.kill(runner, signal.SIGTSTP)
    else:
        terminal.press(CTRL_Z)
        if how == "twice":
            time.sleep(case.random.uniform(0.0, 0.004))
            terminal.press(CTRL_Z)
    # Not "Stopped", which the second key makes the terminal forget if it comes late.
    stop = case.told["stops"]
    terminal.wait_foreground(terminal.pid).press(f"echo stop {stop}\n").expect(rf"(?<!echo )stop {stop}\n")
    began = time.monotonic()
    assert state_of(runner) == "T"
    if how != "twice":  # which makes the terminal forget what shows it
        terminal.expect_cursor()
    expect_still(runner)
    time.sleep(case.random.choice([0.0, 0.0, 0.01, 0.05]) if case.random.random() < 0.97 else 0.7)
    paused = time.monotonic() - began
    if case.random.random() < 0.2:
        terminal.press("bg\n").expect(PROMPT)
    terminal.press("fg\n").wait_foreground(runner)
    return paused


def expect_still(runner: int) -> None:
    """Whatever is below the runner has been stopped, or is dead; but for host and templates, which answer."""
    host = runs.named(runner, runs.HOST)

    def moving() -> list[int]:
        tasks = [pid for pid in runs.below(host) if name_of(pid) != runs.TEMPLATE]
        return [pid for pid in tasks if state_of(pid) not in {"T", "Z", "X", ""}]

    assert moving() == []


def expect_whole(case: Case, paused: float) -> None:
    """The record holds all pauses, and no clock has counted them."""
    events = runs.events(case.project)
    kinds = [event["event"] for event in events]
    assert kinds.count("run.suspend") == kinds.count("run.resume") > 0
    told = sum(event["paused"] for event in events if event["event"] == "run.resume")
    # What was seen to stand still is less than what did: this holds however slow the machine is.
    assert told >= paused
    moments = {event["event"]: event["ts"] for event in events if event.get("task") == "long"}
    wall = seconds_between(moments["task.start"], moments["task.end"])
    assert runs.ends(case.project)["long"]["elapsed"] <= wall - paused + 0.5, (wall, paused)
    assert set(runs.states(case.project).values()) <= {"succeeded", "cancelled", "not-started"}


def seconds_between(start: str, end: str) -> float:
    """Of two moments in a record."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
