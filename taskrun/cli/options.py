"""What several commands have in common: words and times, the option for the file, and reading the project it names."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from taskrun.config.project import Project

Function = TypeVar("Function", bound="Callable[..., Any]")

# `transcode[clip=in/a.mov]` is an instance, `clip=in/a.mov` an assignment.
_ASSIGNMENT = r"(?s)([A-Za-z_][A-Za-z0-9_.-]*)=(.*)"


def split_words(words: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Tasks and ``KEY=VALUE`` of the words before ``--``.

    Raises:
        click.UsageError: One key is given twice.
    """
    targets: list[str] = []
    assignments: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(_ASSIGNMENT, word) if "=" in word else None
        if match is None:
            targets.append(word)
        elif match[1] in assignments:
            raise click.UsageError(f"{match[1]}= is given twice")
        else:
            assignments[match[1]] = match[2]
    return tuple(targets), assignments


class Duration(click.ParamType[float]):
    """A number of seconds, or ``1h30m``, ``250ms``."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To seconds."""
        if isinstance(value, float):
            return value
        from taskrun.config.units import DURATION_ABOVE_ZERO, BadValue, seconds

        text = str(value)
        if self._zero and text in {"0", "0s"}:
            return 0.0
        is_number = text.replace(".", "", 1).isdecimal() and float(text) > 0
        if not is_number and not re.fullmatch(DURATION_ABOVE_ZERO, text):
            self.fail(
                f"{text!r} is no time{'' if self._zero else ' above zero'}: a number of seconds, or as in 1h30m, 250ms",
                param,
                ctx,
            )
        try:
            return seconds(float(text) if is_number else text)
        except BadValue as error:
            self.fail(f"{text!r} {error}", param, ctx)


class JobNumber(click.ParamType[int]):
    """The id of a job."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """To a number that an engine can have given."""
        text = str(value).removeprefix("#")
        if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:20]) < 2**63:
            self.fail(f"{value!r} is no job: they have numbers, which `taskrun jobs list` shows", param, ctx)
        return int(text)


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
