"""What the link hands out: how processes end, what templates are made of, and its two exceptions."""

from __future__ import annotations

from typing import Any

from taskrun.host.nearest import nearest_program
from taskrun.model import Leftover, SpawnFailed, Value


class HostLost(Exception):  # noqa: N818 - it names what happened
    """The host has died, or was killed since it did not answer, or has been shut down."""


class SpawnError(Exception):
    """A process could not be started.

    Attributes:
        failure: Why. Its kind may also be ``"template"``: the template of a Python call could not be had, or was lost
            twice.
        number: The errno, or 0.
    """

    def __init__(self, failure: SpawnFailed, number: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.number = number


class Usage(Value, frozen=True, kw_only=True):
    """How a process ended, and what it took.

    Attributes:
        status: Wait status, for ``os.waitstatus_to_exitcode``; ``None``: it could not be killed.
        cpu: Seconds, user and system, of it and of its reaped children.
        max_rss: Its peak resident size in bytes; a small program shows the host's own size, some 15 MB.
        leaked: What had outlived it by more than 0.2 s without having been asked to stop, and was killed.
        unkillable: What is still alive.
    """

    status: int | None
    cpu: float
    max_rss: int
    leaked: tuple[Leftover, ...] = ()
    unkillable: tuple[Leftover, ...] = ()


class TemplateSpec(Value, frozen=True, kw_only=True):
    """What a template is made of; equal ones share one.

    Attributes:
        python: The interpreter; ``None``: the host's own.
        sys_path: Put first on ``sys.path``.
        cwd: The folder that the imports see.
        preload: Modules to import at once.
        env: The environment of the imports; ``None``: the host's own.
        name: Tells it from others that are made of the same.
    """

    python: str | None = None
    sys_path: tuple[str, ...] = ()
    cwd: str = "/"
    preload: tuple[str, ...] = ()
    env: dict[str, str] | None = None
    name: str = ""


def usage(status: int | None, cpu: float, peak: int, leaked: Any, unkillable: Any) -> Usage:
    """From the host's ``ended``."""
    if not leaked and not unkillable:
        return Usage(status=status, cpu=cpu, max_rss=peak)
    return Usage(
        status=status,
        cpu=cpu,
        max_rss=peak,
        leaked=leftovers(leaked, killed=True),
        unkillable=leftovers(unkillable, killed=False),
    )


def leftovers(found: Any, *, killed: bool) -> tuple[Leftover, ...]:
    """From what the host says of each."""
    return tuple(
        Leftover(pid=pid, command=command, killed=killed, state=state, count=count)
        for pid, command, state, count in found
    )


def spawn_error(kind: str, number: int, text: str, argv: tuple[str, ...] = (), path: str | None = None) -> SpawnError:
    """From the host's ``failed``; for a command that was not found, looks for the one that was meant."""
    if kind == "not-found" and argv:
        nearest = nearest_program(argv[0], path)
        if nearest:  # before the folders, which are many
            text = text.replace(" not found", f" not found (did you mean {nearest}?)", 1)
    return SpawnError(SpawnFailed(kind=kind, message=text, code=127 if kind == "not-found" else 126), number)
