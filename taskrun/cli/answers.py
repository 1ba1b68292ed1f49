"""Writes a command's answer to stdout, and text of users so that a terminal cannot be harmed by it."""

from __future__ import annotations

import errno
import os
import sys

import click

from taskrun.config.wording import width_of

SIGPIPE = 13  # the same number everywhere; `signal` is not worth an import here


def colour_on_stdout() -> bool:
    """Whether an answer may be coloured: asked for, or a terminal that can, and nobody minds."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def answer(text: str, status: int = 0) -> int:
    """Writes the whole answer at once and returns the exit status, negative for the signal to die of.

    click would make a closed pipe exit status 1: `taskrun list | head -1` is to end as any program ends there.

    Raises:
        ResourceError: stdout cannot be written (a full disk).
    """
    try:
        click.echo(text, nl=False, color=True)  # whoever colours has asked before
    except UnicodeEncodeError:  # a stdout that is not UTF-8: what it lacks is written as escapes
        return answer(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), status)
    except BrokenPipeError:
        return -SIGPIPE
    except OSError as error:
        from taskrun.model import ResourceError

        raise ResourceError(f"cannot write to stdout: {error.strerror}") from error
    return status


def printable(text: str) -> str:
    """One line of a user's text: white space becomes one blank, and control characters are shown as escapes."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def counted(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cut(text: str, width: int) -> str:
    """The line, or its beginning and an ellipsis, in at most so many columns."""
    if len(text) <= 4 * width and width_of(text) <= width:
        return text
    text = text[: max(0, 4 * width)]  # each look at it costs its length
    while text and width_of(text) > width - 1:
        text = text[:-1]
    return text.rstrip() + "…" if width > 0 else ""


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; ``None`` where it is none."""
    try:
        if not sys.stdout.isatty():
            return None
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None
    return columns or 80  # 0: nobody has told the kernel


def is_missing(error: OSError) -> bool:
    """Whether a file could not be opened because it, or a folder above it, is not there."""
    return error.errno in {errno.ENOENT, errno.ENOTDIR}
