"""A run that is refused at the last moment: nothing is started, and no record of it is left."""

from __future__ import annotations

import pytest

TASKS = """
    [limits]
    gpu = 2
    [tasks.a]
    run = ["touch", "started"]
    limits = { gpu = 2 }
"""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--limit", "gpu=1"), "`a` takes 2 of the limit `gpu`, which is 1"),
        (("--events", "."), "--events .: Is a directory"),
    ],
)
def test_a_run_that_is_refused_leaves_no_record(project, options, why):
    project.tasks(TASKS).taskrun("run", "a", *options).exits(2).says(why).never_says("Traceback")
    assert not (project.path / "started").exists()
    project.taskrun("runs").succeeds().prints_exactly("")


def test_the_events_of_a_refused_run_go_to_the_descriptor_that_was_named(project):
    project.tasks("[tasks.a]\nrun = 3\n")
    project.sh("taskrun run a --events fd:7 7> events").exits(2)
    assert '"event":"run.end"' in project.read("events")
    assert not (project.path / "fd:7").exists()


def test_a_descriptor_of_taskruns_own_is_not_taken_for_events(project):
    project.tasks('[tasks.a]\nrun = ["touch", "ran"]')
    for number in (3, 4, 5, 6):  # the socket to the host, pollers: to write there was a bug's report, or a hang
        project.taskrun("run", "a", "--events", f"fd:{number}").exits(2).says(f"--events fd:{number}: Bad file desc")
    assert not (project.path / "ran").exists()
