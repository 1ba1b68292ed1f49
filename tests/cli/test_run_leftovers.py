"""Runs beside and within each other: each has its own record, and nothing survives."""

from __future__ import annotations

from support.project import pids_of


def test_two_runs_in_one_project_have_two_records(project):
    project.tasks("""
        [tasks.a]
        shell = "echo $TASKRUN_RUN"
    """)
    first = project.start("run", "a")
    second = project.start("run", "a")
    assert first.finish().succeeds().stdout != second.finish().succeeds().stdout
    assert len(list((project.path / ".taskrun" / "runs").glob("2*"))) == 2


def test_a_nested_run_ends_with_the_outer_one(project):
    project.write(
        "inner.toml",
        """
        [tasks.nap]
        run = ["sleep", "63.25"]
    """,
    )
    project.tasks("""
        [tasks.outer]
        shell = "taskrun run -f inner.toml nap"
        timeout = "1500ms"
    """)
    project.taskrun("run", "outer", timeout=25).exits(124)
    assert pids_of("63.25") == []
    project.expect_nothing_left()
