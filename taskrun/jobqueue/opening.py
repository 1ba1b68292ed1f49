"""From the place of a queue to the engine that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.jobqueue.values import QueueEngine

_SERVERS = ("postgresql://", "postgres://")


def is_server(location: str) -> bool:
    """Whether a queue is on a server, and not in a file."""
    return location.startswith(_SERVERS)


def shown(location: str) -> str:
    """A place as it may be shown and recorded: without a password."""
    if not is_server(location):
        return location
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(location)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(each for each in parts.query.split("&") if not each.startswith("password="))
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))


def open_queue(location: str, *, trouble: Callable[[str], None] = lambda _message: None) -> QueueEngine:
    """The queue at a place; nothing is opened before it is needed.

    Args:
        location: An absolute path, or ``postgresql://...``.
        trouble: Told, in words for people, what a worker gets over by trying again.

    Raises:
        UsageError: Nothing here can keep a queue there.
    """
    if is_server(location):
        raise UsageError("a queue on PostgreSQL is not carried out by this version of taskrun")
    from taskrun.jobqueue.sqlite import SqliteQueue

    return SqliteQueue(location, trouble=trouble)
