"""What several commands have in common: the option for the file, and reading the project that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from taskrun.config.project import Project

Function = TypeVar("Function", bound="Callable[..., Any]")


def complete_tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tasks; for `run` also ``KEY=``, and what may stand behind it. For ``shell_complete=`` of an argument."""
    del param
    from taskrun.cli.complete import complete_words

    return complete_words(ctx, incomplete)


def file_option(function: Function) -> Function:
    """Adds ``-f FILE``."""
    help_text = "The file, instead of tasks.toml here or in a parent."
    return click.option("-f", "--file", type=click.Path(), metavar="FILE", help=help_text)(function)


def load_project(file: str | None) -> Project:
    """The checked project of ``-f FILE``, ``$TASKRUN_FILE`` or the nearest folder.

    Raises:
        NoProjectFile: There is none here or above.
        ProjectError: The file named is not there, or has mistakes.
    """
    from taskrun import config

    return config.load(config.find(file, os.environ))
