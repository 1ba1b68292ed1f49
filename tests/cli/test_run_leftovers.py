"""Runs beside and within each other: each has its own record, and nothing survives."""

from __future__ import annotations


def test_two_runs_in_one_project_have_two_records(project):
    project.tasks("""
        [tasks.a]
        shell = "echo $TASKRUN_RUN"
    """)
    first = project.start("run", "a")
    second = project.start("run", "a")
    assert first.finish().succeeds().stdout != second.finish().succeeds().stdout
    assert len(list((project.path / ".taskrun" / "runs").glob("2*"))) == 2
