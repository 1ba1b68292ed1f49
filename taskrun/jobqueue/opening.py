"""Where a project's queue is, and from its place to the engine that keeps it. It opens nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.model import ResourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskrun.config import Project
    from taskrun.jobqueue.values import QueueEngine

FILE = "queue.db"
"""In the folder of the records, where a project names no other place."""

_SERVERS = ("postgresql://", "postgres://")


def location_of(project: Project, environ: Mapping[str, str]) -> str:
    """Where a project's queue is: ``$TASKRUN_QUEUE``, else `[run] queue`, else in the folder of the records.

    Returns:
        An absolute path, or the address of a server.
    """
    from taskrun.record.places import state_folder

    return located(project.root, state_folder(project, environ), project.run.queue, environ)


def located(root: str, state: str, named: str | None, environ: Mapping[str, str]) -> str:
    """As ``location_of``, from its parts: the file's folder, that of the records, and what `[run] queue` says."""
    named = environ.get("TASKRUN_QUEUE") or named
    if not named:
        return os.path.join(state, FILE)
    return named if "://" in named else os.path.join(root, os.path.expanduser(named))


def make_place(project: Project, environ: Mapping[str, str]) -> str:
    """As ``location_of``; makes the folder of the records, which git ignores, where the queue will be in it.

    Raises:
        ResourceError: It cannot be made.
    """
    location = location_of(project, environ)
    if not is_server(location) and not os.path.exists(location):
        from taskrun.record.places import make_state, state_folder

        folder = state_folder(project, environ)
        if os.path.dirname(location) == folder:
            try:
                make_state(folder)
            except OSError as error:
                raise ResourceError(f"the queue cannot be in {folder}: {error.strerror}") from None
    return location


def is_server(location: str) -> bool:
    """Whether a queue is on a server, and not in a file."""
    return location.startswith(_SERVERS)


def shown(location: str) -> str:
    """A place as it may be shown and recorded: without a password, also where it was not written as it should be."""
    if not is_server(location):
        return location
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(location)
        is_clear = parts.port is None or bool(parts.port)  # "//user:pa/ss@host" has a port that is none
    except ValueError:
        is_clear = False
    if not is_clear or "@" in parts.path + parts.query + parts.fragment:
        return "postgresql://..."
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(each for each in parts.query.split("&") if each.startswith(("host=", "port=", "dbname=", "user=")))
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query, fragment=""))


def open_queue(location: str, *, trouble: Callable[[str], None] = lambda _message: None) -> QueueEngine:
    """The queue at a place; nothing is opened before it is needed.

    Args:
        location: An absolute path, or ``postgresql://...``.
        trouble: Told, in words for people, what a worker gets over by trying again.

    Raises:
        UsageError: Nothing here can keep a queue there.
    """
    if is_server(location):
        from taskrun.jobqueue.postgres_address import need_libraries

        need_libraries()
        from taskrun.jobqueue.postgres import PostgresQueue

        return PostgresQueue(location, trouble=trouble)
    scheme, colon, _rest = location.partition("://")
    if colon and "/" not in scheme:  # it would become a folder of that name, with the password in it
        known = "a queue is a file, named by its path, or at postgresql://..."
        raise UsageError(f"there can be no queue at an address that begins with `{scheme}://`: {known}")
    from taskrun.jobqueue.sqlite import SqliteQueue

    return SqliteQueue(location, trouble=trouble)
