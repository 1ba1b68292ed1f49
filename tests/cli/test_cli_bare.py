"""`taskrun` and nothing more: what there is, or how to begin."""

from __future__ import annotations


def test_with_a_file_the_tasks_and_a_hint(project):
    project.tasks("""
        [tasks.a]
        description = "First"
        run = ["true"]
        [tasks.secret]
        hidden = true
        run = ["true"]
    """)
    project.taskrun().succeeds().prints_exactly("a  First\n").says("taskrun run TASK", "taskrun --help")


def test_a_default_is_named_and_not_run(project):
    project.tasks("""
        [run]
        default = ["a"]
        [tasks.a]
        run = ["touch", "ran"]
    """)
    project.taskrun().succeeds().says("`taskrun run` runs a")
    assert not (project.path / "ran").exists()


def test_without_a_file_how_to_begin_and_status_2(project):
    done = project.taskrun().exits(2).prints_exactly("")
    done.says("taskrun init", "taskrun run TASK", "taskrun list", "taskrun --help", "error: ", "tasks.toml")


def test_a_file_with_hidden_tasks_only_says_so(project):
    project.tasks('[tasks.a]\nhidden = true\nrun = ["true"]').taskrun().succeeds().prints_exactly("").says(
        "only hidden"
    )


def test_a_broken_file_is_told_and_not_how_to_begin(project):
    project.tasks("[tasks.a\n").taskrun().exits(2).says("tasks.toml:1:").never_says("taskrun init")


def test_a_named_file_that_is_not_there_is_told_and_not_how_to_begin(project):
    project.taskrun(env={"TASKRUN_FILE": "gone.toml"}).exits(2).says("gone.toml").never_says("taskrun init")


def test_run_without_a_task_lists_them_and_has_status_2(project):
    project.tasks("""
        [tasks.a]
        description = "First"
        run = ["true"]
        [tasks.secret]
        hidden = true
        run = ["true"]
    """)
    for options in ((), ("--dry-run",)):
        done = project.taskrun("run", *options).exits(2).prints_exactly("")
        done.says("a  First\n", "error: no task was named").never_says("secret")


def test_help_names_every_command(project):
    done = project.taskrun("--help").succeeds()
    done.prints("run", "list", "graph", "check", "init", "schema", "runs", "logs", "completion")


def test_version(project):
    project.taskrun("--version").succeeds().prints("taskrun ")


def test_an_unknown_command_gets_the_nearest(project):
    project.taskrun("rnu").exits(2).says("rnu")


def test_a_command_that_is_not_there_has_a_hint(project):
    project.taskrun("rnu").exits(2).says("there is no command `rnu`; did you mean `run`?")
    project.taskrun("build").exits(2).says("there is no command `build`; to run a task: taskrun run build")
