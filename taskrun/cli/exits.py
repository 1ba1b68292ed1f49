"""The exit statuses by name, and the one form in which every command says what is wrong."""

from __future__ import annotations

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_NOTHING_MATCHED = 4
EXIT_RESOURCES = 125


def say_error(message: str) -> None:
    """One mistake on stderr, in the words ``error: ...``."""
    if not message.isprintable():  # what is wrong may have come from anywhere
        message = "".join(each if each.isprintable() or each == "\n" else _escape(each) for each in message)
    click.echo(f"error: {message}", err=True)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
