"""``taskrun`` without a command: the tasks, and what to type next; or, without a file, how to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from taskrun.cli.answers import answer, terminal_width
from taskrun.cli.options import load_project

if TYPE_CHECKING:
    from taskrun.config.project import Project, TaskSpec

HOW_TO_BEGIN = """\
taskrun runs the tasks of a tasks.toml.

  taskrun init          write a first tasks.toml here
  taskrun run TASK      run a task and what it needs
  taskrun list          list the tasks
  taskrun --help        everything else
"""


def show_tasks() -> int:
    """The tasks on stdout and a hint on stderr; without a file, how to begin on stderr and status 2."""
    from taskrun.cli.list import parameter_lines, task_lines
    from taskrun.config import NoProjectFile

    try:
        project = load_project(None)
    except NoProjectFile:
        click.echo(HOW_TO_BEGIN, err=True)
        raise
    shown = [task for task in project.tasks.values() if not task.hidden]
    width = terminal_width()
    lines = task_lines(shown, width) + parameter_lines(project, width)
    status = answer("".join(f"{line}\n" for line in lines))
    if status == 0:
        click.echo(_hint(project, shown), err=True)
    return status


def _hint(project: Project, shown: list[TaskSpec]) -> str:
    if not shown:
        return f"only hidden tasks in {project.source.path} (`taskrun list --all` shows them)"
    if project.run.default:
        default = ", ".join(project.run.default)
        return f"\n`taskrun run` runs {default}; `taskrun run TASK` another; `taskrun --help` tells more"
    return "\n`taskrun run TASK` runs one with all that it needs; `taskrun --help` tells more"
