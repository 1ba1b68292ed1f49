"""Tasks in pools, and what they lose: their time, their template, whoever started the run, and their worker at the end."""

from __future__ import annotations

import os
import signal

import pytest
from support import runs

MODULE = """
    import atexit, os, time
    from pathlib import Path

    import taskrun

    def wait() -> None:
        Path("waiting").touch()
        while not Path("go").exists():
            time.sleep(0.02)

    def fail() -> None:
        os._exit(3)

    def fine() -> str:
        return "fine"

    def hang() -> None:
        time.sleep(600)

    def at_exit() -> None:
        atexit.register(lambda: Path("left").touch())

    def has_left() -> bool:
        return Path("left").exists()

    def stand() -> None:
        while True:
            taskrun.progress(1, 10)
            time.sleep(0.1)
"""
POOL = '[run]\ngrace = "500ms"\n\n[pools.p]\nsize = 1\n\n[defaults]\npool = "p"\n\n'


@pytest.mark.parametrize(
    ("clock", "function", "reason"),
    [
        ("start-timeout", "hang", "no output or progress within 300ms of its start"),
        ("idle-timeout", "hang", "no output or progress for 300ms"),
        ("stall-timeout", "stand", "progress did not move for 300ms"),
    ],
)
def test_every_clock_counts_from_the_call_and_the_next_task_finds_another_worker(project, clock, function, reason):
    project.write("m.py", MODULE)
    project.tasks(
        f'{POOL}[tasks.first]\npython = "m:{function}"\n{clock} = "300ms"\nallow-failure = true\n'
        '[tasks.fine]\nneeds = ["first"]\npython = "m:fine"\n'
    )
    project.taskrun("run", "fine").succeeds()
    ends = runs.ends(project)
    assert (ends["first"]["state"], ends["first"]["reason"]) == ("timed-out", reason)
    assert ends["fine"]["result"] == "fine"


def test_a_template_that_was_killed_is_started_anew_for_the_next_worker(project):
    project.write("m.py", MODULE)
    project.tasks(
        f'{POOL}[tasks.wait]\npython = "m:wait"\n[tasks.fail]\nneeds = ["wait"]\npython = "m:fail"\nallow-failure = true\n'
        '[tasks.fine]\nneeds = ["fail"]\npython = "m:fine"\n'
    )
    running = project.start("run", "fine")
    runs.wait_for_files(project, "waiting")
    os.kill(runs.named(running.pid, runs.TEMPLATE), signal.SIGKILL)
    project.write("go", "")
    running.finish().succeeds().says("it is started anew")
    assert {task: end["state"] for task, end in runs.ends(project).items()} == {
        "wait": "succeeded",
        "fail": "failed",
        "fine": "succeeded",
    }


def test_a_pool_ends_with_the_parent_where_that_is_wanted(project):
    project.write("m.py", MODULE)
    project.tasks(f'{POOL}[tasks.wait]\npython = "m:wait"\n')
    shell = project.launch("bash", "-c", "taskrun run --die-with-parent wait; echo went on")
    runs.wait_for_files(project, "waiting")
    shell.signal(signal.SIGKILL).finish().dies_of(signal.SIGKILL)
    project.expect_nothing_left()
    assert runs.ends(project)["wait"]["reason"].startswith("the parent process exited")


def test_exit_functions_run_when_the_worker_ends_and_not_after_the_task(project):
    project.write("m.py", MODULE)
    project.tasks(
        f'{POOL}[tasks.at_exit]\npython = "m:at_exit"\n[tasks.next]\nneeds = ["at_exit"]\npython = "m:has_left"\n'
    )
    project.taskrun("run", "next").succeeds()
    assert runs.ends(project)["next"]["result"] is False
    assert (project.path / "left").exists()
