"""Finds the project file: `-f FILE`, `$TASKRUN_FILE`, else the nearest tasks.toml or `[tool.taskrun]` upwards.

It looks, and reads a pyproject.toml where it must; it checks nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from taskrun.config.reading import read_text, unreadable
from taskrun.config.source import SourceFile
from taskrun.model import Diagnostic, ProjectError, UsageError, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "tasks.toml"
PYPROJECT = "pyproject.toml"
TABLE = ("tool", "taskrun")


class Found(Value, frozen=True, kw_only=True):
    """A project file.

    Attributes:
        path: Absolute.
        shown: As messages call it: relative to the working directory where that is shorter.
        root: Absolute folder that relative paths in the file start at.
        table: Keys of the table that is the project: none, or those of `[tool.taskrun]`.
    """

    path: str
    shown: str
    root: str
    table: tuple[str, ...] = ()


class NoProjectFile(UsageError):  # noqa: N818 - the tree of errors is named in taskrun.model
    """There is no project file here or above; a caller may say how to begin instead."""


def working_directory() -> str:
    """Where taskrun was started, absolute.

    Raises:
        UsageError: The folder is gone or cannot be reached.
    """
    try:
        return os.getcwd()
    except OSError as error:
        reason = "does not exist any more" if isinstance(error, FileNotFoundError) else f"is lost: {error.strerror}"
        raise UsageError(f"the working directory {reason}; change to another folder") from None


def find(explicit: str | None, environ: Mapping[str, str], cwd: str | None = None) -> Found:
    """Finds the project file. Whether it can be read, or is right, ``load`` finds out.

    Args:
        explicit: What `-f` said.
        environ: The caller's environment.
        cwd: Absolute; ``None`` asks the system.

    Raises:
        NoProjectFile: There is none.
        UsageError: The working directory is gone.
        ProjectError: The file named does not exist or is a folder; or one folder has two project files.
    """
    cwd = working_directory() if cwd is None else cwd
    if explicit is not None:
        return _named(explicit, cwd, "")
    if environ.get("TASKRUN_FILE"):
        return _named(environ["TASKRUN_FILE"], cwd, "the name is from $TASKRUN_FILE")
    folder = os.path.abspath(cwd)
    while True:
        found = _in_folder(folder, cwd)
        if found is not None:
            return found
        above = os.path.dirname(folder)
        if above == folder:
            raise NoProjectFile(
                f"there is no {FILE} in {cwd} or above, nor a {PYPROJECT} with [tool.taskrun]; "
                "`taskrun init` writes one to begin with"
            )
        folder = above


def _named(name: str, cwd: str, note: str) -> Found:
    path = os.path.join(cwd, name)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except (OSError, ValueError) as error:
        raise unreadable(path, name or '""', error, note) from None
    # A pipe such as /dev/fd/63 has no folder of its own.
    root = os.path.dirname(os.path.abspath(path)) if stat.S_ISREG(mode) else cwd
    found = Found(path=os.path.abspath(path), shown=_shown(os.path.abspath(path), cwd), root=root)
    if os.path.basename(name) != PYPROJECT:
        return found
    if not _has_table(path, name):
        message = f"{name} has no table [tool.taskrun]"
        notes = ('help: begin with [tool.taskrun.tasks.hello] and shell = "echo hello"',)
        raise ProjectError((Diagnostic(code="no-tasks", message=message, file=name, notes=notes),))
    return Found(path=found.path, shown=found.shown, root=root, table=TABLE)


def _in_folder(folder: str, cwd: str) -> Found | None:
    path = os.path.join(folder, FILE)
    pyproject = os.path.join(folder, PYPROJECT)
    if not os.path.lexists(path) or os.path.isdir(path):
        if os.path.isfile(pyproject) and _has_table(pyproject, _shown(pyproject, cwd)):
            return Found(path=pyproject, shown=_shown(pyproject, cwd), root=folder, table=TABLE)
        return None
    if os.path.isfile(pyproject) and _says_so(pyproject):
        message = f"{_shown(folder, cwd)} has both {FILE} and a {PYPROJECT} with [tool.taskrun]"
        notes = (f"help: keep one of them, or choose with -f {FILE}",)
        raise ProjectError((Diagnostic(code="two-files", message=message, file=_shown(path, cwd), notes=notes),))
    return Found(path=path, shown=_shown(path, cwd), root=folder)


def _shown(path: str, cwd: str) -> str:
    relative = os.path.relpath(path, cwd)
    return relative if len(relative) <= len(path) else path


def _has_table(path: str, shown: str) -> bool:
    """Whether a pyproject.toml has `[tool.taskrun]`. Most do not even have the word, and need no parsing.

    Raises:
        ProjectError: It has the word, and is not TOML.
    """
    text = read_text(path, shown)
    if "taskrun" not in text:
        return False
    import tomli

    try:
        document: Any = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        from taskrun.config.syntax import syntax_mistake

        raise ProjectError((syntax_mistake(SourceFile(shown, text), error),)) from None
    tool = document.get("tool")
    return isinstance(tool, dict) and "taskrun" in tool


def _says_so(pyproject: str) -> bool:
    """Whether a pyproject.toml beside a tasks.toml is one of ours too; one that cannot be read is not."""
    try:
        return _has_table(pyproject, pyproject)
    except ProjectError:
        return False
