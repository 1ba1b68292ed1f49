"""`taskrun init`: a first file that works, and never the loss of one that was there."""

from __future__ import annotations

import os

import pytest


def test_it_writes_a_file_that_loads_and_says_what_to_type_next(project):
    project.taskrun("init").succeeds().prints_exactly("").says_exactly("""
        created tasks.toml (2 tasks)
        next: taskrun run
    """)
    project.taskrun("list").succeeds().prints("hello", "count")
    project.taskrun("check").succeeds().prints_exactly("ok: 2 tasks (tasks.toml)\n")


@pytest.mark.slow
def test_the_file_runs(project):
    project.taskrun("init").succeeds()
    project.taskrun("run").succeeds().prints("1\n2\n3\n4\n5\n")


def test_an_existing_file_stays_as_it_is(project):
    project.tasks("# mine\n").taskrun("init").exits(2).says("error: `tasks.toml` is here already", "--force")
    assert project.read("tasks.toml") == "# mine\n"


def test_a_dangling_link_counts_as_existing(project):
    os.symlink("nowhere", project.path / "tasks.toml")
    project.taskrun("init").exits(2)
    assert os.readlink(project.path / "tasks.toml") == "nowhere"


def test_force_replaces_the_file(project):
    project.tasks("# mine\n").taskrun("init", "--force").succeeds()
    assert "[tasks.hello]" in project.read("tasks.toml")


def test_force_replaces_what_a_link_leads_to(project):
    project.write("real.toml", "# mine\n")
    os.symlink("real.toml", project.path / "tasks.toml")
    project.taskrun("init", "--force").succeeds()
    assert os.readlink(project.path / "tasks.toml") == "real.toml"
    assert "[tasks.hello]" in project.read("real.toml")


def test_another_name_is_named_in_the_next_command(project):
    project.taskrun("init", "--file", "my.toml").succeeds().says("created my.toml", "taskrun run -f my.toml")
    project.taskrun("list", "-f", "my.toml").succeeds().prints("hello")


def test_a_pyproject_with_tasks_beside_it_is_refused(project):
    """Both in one folder would be an error for every command that follows."""
    project.write("pyproject.toml", "[tool.taskrun.tasks.a]\nrun = ['true']\n")
    project.taskrun("init").exits(2).says("pyproject.toml", "[tool.taskrun]")
    assert not (project.path / "tasks.toml").exists()


def test_a_pyproject_of_other_tools_is_no_hindrance(project):
    project.write("pyproject.toml", "[tool.ruff]\nline-length = 120\n")
    project.taskrun("init").succeeds()


def test_a_folder_that_does_not_exist_is_a_usage_error(project):
    project.taskrun("init", "--file", "no/such/tasks.toml").exits(2).says("error: cannot write `no/such/tasks.toml`")


def test_a_folder_of_that_name_is_a_usage_error(project):
    (project.path / "tasks.toml").mkdir()
    project.taskrun("init", "--force").exits(2).says("error: cannot write `tasks.toml`")


def test_nothing_is_left_beside_it(project):
    project.tasks("# mine\n")
    project.taskrun("init").exits(2)
    project.taskrun("init", "--force").succeeds()
    assert os.listdir(project.path) == ["tasks.toml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(project):
    project.path.chmod(0o500)
    try:
        project.taskrun("init").exits(125).says("error: cannot write `tasks.toml`: Permission denied")
    finally:
        project.path.chmod(0o700)


def test_the_umask_decides_who_may_read_it(project):
    project.sh("umask 027; taskrun init").succeeds()
    assert (project.path / "tasks.toml").stat().st_mode & 0o777 == 0o640


def test_two_at_once_write_one_file(project):
    first, second = project.start("init"), project.start("init")
    statuses = sorted((first.finish().status, second.finish().status))
    assert statuses == [0, 2]
    assert os.listdir(project.path) == ["tasks.toml"]
