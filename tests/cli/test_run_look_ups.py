"""What look-ups of the run itself give to real tasks."""

from __future__ import annotations

FACTS = """
    [tasks.program]
    env = { FOLDER = "{{ run.folder }}" }
    shell = 'test "$FOLDER" = {{ run.folder }}; echo {{ run.folder }} {{ run.id }} {{ run.root }} {{ run.cwd }}'
    [tasks.function]
    python = "builtins:print"
    args = ["{{ run.folder }}"]
"""


def test_the_runs_folder_is_that_of_its_record(project):
    project.tasks(FACTS)
    folder, run_id, root, cwd = project.taskrun("run", "program").succeeds().stdout.split()
    assert (folder, root, cwd) == (f"{project.path}/.taskrun/runs/{run_id}", str(project.path), str(project.path))
    assert (project.path / ".taskrun/runs" / run_id / "events.jsonl").exists()
    folder = project.taskrun("run", "function").succeeds().stdout.strip()
    assert (project.path / folder / "events.jsonl").exists()


def test_the_runs_folder_is_where_the_record_went_if_not_into_the_project(project):
    elsewhere = project.path / "elsewhere"
    env = {"TASKRUN_STATE": "/proc/nowhere", "XDG_STATE_HOME": str(elsewhere)}
    folder = project.tasks(FACTS).taskrun("run", "program", env=env).succeeds().stdout.split()[0]
    assert folder.startswith(f"{elsewhere}/taskrun/")
    assert (elsewhere / folder / "events.jsonl").exists()


def test_a_dry_run_shows_that_there_is_no_folder_yet(project):
    shown = project.tasks(FACTS).taskrun("run", "program", "--dry-run").succeeds().stdout
    assert f"{project.path}/.taskrun/runs/(run)" in shown


def test_an_argument_from_the_command_line_that_does_not_fit_is_told_with_its_value(project):
    project.write("m.py", "def f(n: int = 1): return n\n")
    project.tasks('[tasks.a]\npython = "m:f"\n')
    project.taskrun("run", "a", "n=two").exits(2).says("argument `n`", "expected `int`", "from the command line: n=two")
    project.taskrun("run", "a", "n=2").succeeds()
