"""A project with real tasks of every kind, and what must be written of them when a signal has ended the run.

Grace periods and clocks that must not come are so long that whatever waits for them fails by the test's patience.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import runs

if TYPE_CHECKING:
    import signal

    from support.project import ProjectDir

NEVER = "100s"
WITH_TIME = ("--grace", NEVER)

# A shell with a grandchild, a program and a Python worker; `after` never gets its turn.
REAL = """
[run]
jobs = 8
[tasks.shell]
shell = ": > shell.up; sleep 71.25 | cat"
[tasks.program]
run = ["sh", "-c", "echo first; : > program.up; exec sleep 71.25"]
[tasks.call]
python = "calls:nap"
[tasks.after]
needs = ["shell"]
run = ["true"]
"""
UP = ("shell.up", "program.up", "call.up")
STUBBORN = """
[tasks.stubborn]
shell = "trap '' INT TERM HUP QUIT; echo first; : > stubborn.up; while :; do sleep 0.05; done"
"""
CALLS = """
import os, time

def nap():
    open("call.up", "w").close()
    time.sleep(71.25)

def wait_for_go():
    open("call.up", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.02)
    return "waited"

def quick():
    return "quick"
"""
WAIT_FOR_GO = "until [ -e go ]; do sleep 0.02; done"


@pytest.fixture
def real(project: ProjectDir) -> ProjectDir:
    """A project with tasks of every kind."""
    project.write("calls.py", CALLS)
    return project.tasks(REAL)


def wait_up(project: ProjectDir, *names: str) -> dict[str, int]:
    """Waits until tasks have made these files, and the runner knows that they have started; returns their pids."""
    runs.wait_for_files(project, *names)
    return runs.wait_started(project, len(names))


def went_to(project: ProjectDir, number: signal.Signals) -> None:
    """Every task was cancelled by this signal, and the record and the events say so."""
    assert runs.states(project) == {
        "shell": "cancelled",
        "program": "cancelled",
        "call": "cancelled",
        "after": "not-started",
    }
    assert {end["reason"] for end in runs.ends(project).values()} == {number.name}
    record = runs.summary(project)
    assert (record["state"], record["signal"], record["exit_status"]) == ("finished", number, 128 + number)
    assert runs.kinds(project)[-1] == "run.end"
    assert runs.kinds(project).count("run.cancel") == 1
