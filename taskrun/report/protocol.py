"""What a reporter is, and what reporters may ask of the project. It shows nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from taskrun.model import Value

if TYPE_CHECKING:
    from taskrun.events import Stamped


class Reporter:
    """Consumes the events of one run, in order, on the loop's thread. It never blocks and never steers.

    All reporters derive from it; what they need not do, they leave as it is here: nothing.
    """

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""

    def tick(self, now: float) -> None:
        """Time has passed; ``now`` is a reading of the clock that the reporters were made with, in seconds."""

    def suspend(self) -> None:
        """The terminal is somebody else's until ``resume``: leaves it as it was before the run."""

    def resume(self) -> None:
        """The terminal is ours again."""

    def close(self) -> None:
        """No event comes any more: leaves the terminal as it was. A second call does nothing."""


class TaskFacts(Value, frozen=True, kw_only=True):
    """What the file and the command line say about a task, as far as it is shown.

    Attributes:
        place: File as the user knows it, and line, of the task's table.
        output: The task's own ``output`` key.
        logged: An attempt's output can be read back at its end.
        rerun: Makes the command that runs it again; ``None``: it is derived from its name.
    """

    place: tuple[str, int] | None = None
    output: str | None = None
    logged: bool = True
    rerun: Callable[[], str] | None = None


AboutTask: TypeAlias = Callable[[str], TaskFacts]
"""Facts about an instance, by name. Asked rarely: for tasks that print, and for those that failed."""

ReadLog: TypeAlias = Callable[[str], Iterable[tuple[str, bytes]]]
"""Reads an attempt's log back, by the path of ``task.end``: pieces of at most 64 KiB in order of arrival, each with
its stream, ``"stdout"`` or ``"stderr"``. Called on the writer's thread; may raise ``OSError``."""
