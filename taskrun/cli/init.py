"""``taskrun init``: writes a first tasks.toml, small, commented and working. Never replaces a file unasked."""

from __future__ import annotations

import os

import click

from taskrun.cli.answers import is_missing

FIRST_FILE = """\
# The tasks of this project.
#
#     taskrun                  lists them
#     taskrun run              runs the default, with all that it needs
#     taskrun run hello        runs one
#     taskrun run --dry-run    says what would run
#
# For completion and checks in your editor, `taskrun schema > tasks.schema.json`, and as the first line of this file:
#     #:schema ./tasks.schema.json

[run]
default = ["count"]

[tasks.hello]
description = "Say hello"
run = ["echo", "hello from taskrun"]         # a program and its arguments; no shell, so nothing needs quoting

[tasks.count]
description = "Count to five, and say how far it is"
needs = ["hello"]                            # runs first
shell = '''
for i in 1 2 3 4 5; do
  echo "progress $i/5 at $i" > "$TASKRUN_PROGRESS"
  echo "$i"
  sleep 0.2
done
'''
timeout = "1m"                               # then it is stopped, with all that it has started
retry = 2                                    # tries in all

# A Python function, called in a process of its own; its arguments are checked against its type hints:
#
#     [tasks.resize]
#     foreach.image = { glob = "in/*.png" }        # one task for each file, side by side
#     python = "images:resize"                     # `resize` in images.py
#     args = { path = "{{ image }}", width = 800 }
"""


@click.command(name="init")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--file", "name", metavar="NAME", default="tasks.toml", show_default=True, help="Write this one.")
def command(name: str, *, force: bool) -> int:
    """Write a first tasks.toml here.

    Nothing is ever replaced without --force.
    """
    from taskrun.config.peek import read_table
    from taskrun.model import ResourceError, UsageError

    if name == "tasks.toml" and read_table("pyproject.toml") is not None:
        raise UsageError(
            "pyproject.toml here has [tool.taskrun], and one folder cannot have both (--file names another)"
        )
    try:
        write_new(name, FIRST_FILE.encode(), replace=force)
    except FileExistsError:
        raise UsageError(f"`{name}` is here already (--force replaces it)") from None
    except OSError as error:
        kind = UsageError if is_missing(error) or isinstance(error, IsADirectoryError) else ResourceError
        raise kind(f"cannot write `{name}`: {error.strerror}") from None
    option = "" if name == "tasks.toml" else f" -f {name}"
    click.echo(f"created {name} (2 tasks)\nnext: taskrun run{option}", err=True)
    return 0


def write_new(path: str, data: bytes, *, replace: bool) -> None:
    """Writes a file as a whole or not at all; a symbolic link is followed.

    Raises:
        FileExistsError: It is there, and is not to be replaced.
        OSError: It cannot be written; then nothing has changed.
    """
    if replace:
        path = os.path.realpath(path)
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory", path)
    elif os.path.lexists(path):
        raise FileExistsError(17, "File exists", path)
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        _write(beside, data)
        if replace:
            os.replace(beside, path)
        else:
            _move_to_free_name(beside, path)
    finally:
        if os.path.lexists(beside):
            os.unlink(beside)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _move_to_free_name(source: str, target: str) -> None:
    """A rename that fails where the name has been taken meanwhile."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the check before has to do
        os.rename(source, target)
