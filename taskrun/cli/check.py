"""``taskrun check``: everything that can be known to be wrong without running a task, all at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from taskrun.cli.answers import answer, colour_on_stdout, counted
from taskrun.cli.exits import EXIT_USAGE
from taskrun.cli.options import complete_tasks, file_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.model import Diagnostic
    from taskrun.run.checking import Checked


@click.command(name="check")
@click.argument("tasks", metavar="[TASK...]", nargs=-1, shell_complete=complete_tasks)
@click.option("--format", "style", type=click.Choice(["text", "json", "github"]), default="text", help="Default: text.")
@file_option
def command(tasks: tuple[str, ...], style: str, file: str | None) -> int:
    """Check the file and everything that it names.

    Look-ups, sources, Python targets and their arguments, programs: of the tasks named with what they need, else of
    all. No task is started; modules of Python tasks are imported.
    """
    from taskrun.config import render
    from taskrun.model import ProjectError

    try:
        diagnostics, verdict = _check(tasks, file)
    except ProjectError as error:
        diagnostics, verdict = error.diagnostics, ""
    text = render(diagnostics, style=style, color=colour_on_stdout() and style == "text")
    if any(diagnostic.level == "error" for diagnostic in diagnostics):
        return answer(text, EXIT_USAGE)
    return answer(text if style == "json" else text + verdict)


def _check(tasks: tuple[str, ...], file: str | None) -> tuple[Sequence[Diagnostic], str]:
    """What was found, and the last line if none of it is an error."""
    from taskrun.cli.programs import missing_programs
    from taskrun.run.checking import check
    from taskrun.run.options import RunOptions

    checked = check(RunOptions(targets=tasks, file=file), os.environ)
    found = [*checked.diagnostics, *missing_programs(checked.project, checked.tasks, os.environ)]
    return found, _verdict(checked)


def _verdict(checked: Checked) -> str:
    return f"ok: {counted(len(checked.tasks), 'task')} ({checked.project.source.path})\n"
