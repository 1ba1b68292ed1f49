"""Reads one file and makes a ``Project`` of it, or says everything that is wrong with it."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import msgspec
import tomli

from taskrun.config.check import check
from taskrun.config.complete import complete
from taskrun.config.mistakes import Mistakes
from taskrun.config.plain import is_plain
from taskrun.config.source import SourceFile
from taskrun.model import ProjectError

if TYPE_CHECKING:
    from taskrun.config.discover import Found
    from taskrun.config.project import Project


def load(found: Found) -> Project:
    """Loads the file that ``find`` found.

    Raises:
        ProjectError: It cannot be read, or has mistakes; all of them are in it, in the order of the file.
    """
    from taskrun.config.reading import read_text

    return load_text(read_text(found.path, found.shown), path=found.shown, root=found.root, table=found.table)


def load_text(text: str, *, path: str = "tasks.toml", root: str | None = None, table: tuple[str, ...] = ()) -> Project:
    """Loads a project from a text.

    Args:
        text: TOML.
        path: How messages call the file.
        root: Absolute folder that relative paths start at; the working directory where it is not given.
        table: Keys of the table that is the project.

    Raises:
        ProjectError: It has mistakes.
    """
    source = SourceFile(path, text.removeprefix("\ufeff").replace("\r\n", "\n"), table)
    collecting = gc.isenabled()
    gc.disable()  # all that is made here lives on: a third of the time would go into looking for garbage
    try:
        return _load(source, os.getcwd() if root is None else root)
    finally:
        if collecting:
            gc.enable()


def check_document(document: dict[str, Any], source: SourceFile, root: str, mistakes: Mistakes) -> Project:
    """Checks a document as tomli read it, and completes it.

    Args:
        document: The project's table.
        source: Where it stands.
        root: Absolute folder that relative paths start at.
        mistakes: Grows; where it is not empty afterwards, what is returned must not be used.
    """
    if not is_plain(document):
        document = _check_by_model(document, mistakes)
    project = complete(document, source, root, mistakes)
    check(project, document, mistakes)
    return project


def _check_by_model(document: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Returns what of the document fits the file model: all of it, where there is no mistake."""
    from taskrun.config.model import FileTable  # a tenth of a start

    try:
        msgspec.convert(document, FileTable)
    except msgspec.ValidationError:
        from taskrun.config.walk import walk

        return walk(document, mistakes)
    return document


def _load(source: SourceFile, root: str) -> Project:
    mistakes = Mistakes(source)
    try:
        project = check_document(_document(source), source, root, mistakes)
    except RecursionError:
        mistakes.add("syntax", "arrays or tables in each other are too deep", ())
    if mistakes:
        raise ProjectError(mistakes.sorted())
    return project


def _document(source: SourceFile) -> dict[str, Any]:
    """The project's table as tomli reads it."""
    try:
        document: Any = tomli.loads(source.text)
    except tomli.TOMLDecodeError as error:
        from taskrun.config.syntax import syntax_mistake

        raise ProjectError((syntax_mistake(source, error),)) from None
    except ValueError as error:  # a number of more than 4300 digits
        from taskrun.config.syntax import number_mistake

        raise ProjectError((number_mistake(source, error),)) from None
    for index, key in enumerate(source.table):
        document = document.get(key, {})
        if not isinstance(document, dict):
            mistakes = Mistakes(SourceFile(source.path, source.text))
            dotted = ".".join(source.table[: index + 1])
            mistakes.add("wrong-type", f"`{dotted}` must be a table", source.table[: index + 1])
            raise ProjectError(mistakes.sorted())
    return document  # type: ignore[no-any-return]
