"""What every command says the same way: diagnostics, and the report of a bug."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from taskrun.cli.exits import EXIT_BUG, say_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.model import Diagnostic


def show_diagnostics(diagnostics: Sequence[Diagnostic], *, style: str = "text", err: bool = True) -> None:
    """All mistakes at once, in the order of the file."""
    from taskrun.config import render

    stream = sys.stderr if err else sys.stdout
    colour = style == "text" and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    click.echo(render(diagnostics, style=style, color=colour), err=err, nl=False, color=colour)


def report_bug(error: BaseException) -> int:
    """Writes the traceback to a file and says where; returns the exit status for a bug."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    if os.environ.get("TASKRUN_DEBUG"):
        click.echo(text, err=True)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="taskrun-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
        where = f"the details are in {file.name}; please report it"
    except OSError:
        where = text
    say_error(f"a bug in taskrun: {type(error).__name__}: {error}\n{where}")
    return EXIT_BUG
