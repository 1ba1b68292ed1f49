"""What the host must know of other processes, behind one small interface; ``linux`` and ``portable`` carry it out.

What concerns other processes is read here and nowhere else, but for the start times in records. ``system`` picks one.
No decision is made here.
"""

from __future__ import annotations

LeftOver = tuple[int, str, str, int]
"""What is said of a process that was left: pid, command, its state's letter where it could not be killed, and for how
many it stands: where there are too many to name, the last one named stands for the rest."""


class Seen:
    """A process as it was at one look.

    Attributes:
        pid: Its id.
        parent: Its parent's id.
        group: Its process group.
        session: Its session.
        state: One letter, as ``ps`` shows it; ``Z`` is a zombie, ``T`` is stopped.
        start: When it started, in a unit of the platform's own; with ``pid`` it names a process for ever.
    """

    __slots__ = ("group", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, state: str, *, parent: int, group: int, session: int, start: int) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session
        self.state = state
        self.start = start

    @property
    def dead(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.state in {"Z", "X", "x"}

    def __repr__(self) -> str:
        return f"<{self.pid} {self.state} parent={self.parent} group={self.group} session={self.session}>"


class Platform:
    """The interface. All methods cope with processes that are gone."""

    adopts: bool
    """Whether orphans below the host come back to the host (a subreaper): then what is left can be found exactly."""

    def become_subreaper(self) -> None:
        """Makes orphans below this process its children, where that exists."""
        raise NotImplementedError

    def set_name(self, name: str) -> None:
        """The name that process listings show for this process, where that can be set."""
        raise NotImplementedError

    def children(self) -> set[int]:
        """This process's own children, zombies included."""
        raise NotImplementedError

    def tree(self, roots: set[int]) -> list[Seen]:
        """The processes of ``roots`` and all below them, parents first.

        It is no snapshot: who was listed and then found dead (gone: state ``X``) may have had a child that is missing
        here and that has another parent by now.
        """
        raise NotImplementedError

    def strays(self, known: set[int]) -> list[Seen]:
        """What may be a left-over: every process below this one but those of the children in ``known``.

        Where orphans do not come back to us, these are all processes of the user, since any may be one.
        """
        raise NotImplementedError

    def everyone(self, but: set[int] | None = None) -> list[Seen]:
        """All processes that there are, but those of these pids; as in ``tree``, no snapshot."""
        raise NotImplementedError

    def latest(self) -> int:
        """The pid that was given last; 0: that cannot be told."""
        return 0

    def look(self, pid: int) -> Seen | None:
        """One process; ``None``: there is none."""
        raise NotImplementedError

    def stamp(self) -> int:
        """A moment, to be taken before a process is started."""
        return 0

    def start_since(self, pid: int, stamp: int) -> int:  # noqa: ARG002 - of use where the clock is the same
        """The start time of a child that was started between ``stamp`` and now; 0: it cannot be told."""
        seen = self.look(pid)
        return seen.start if seen else 0

    def environ(self, pid: int) -> bytes | None:
        """Its initial environment, NUL-separated; ``None``: it cannot be read (not ours, or gone)."""
        raise NotImplementedError

    def exited(self, pid: int) -> bool | None:
        """Whether a child has ended, without reaping it; ``None``: it is no child of ours (not yet, or no longer)."""
        raise NotImplementedError

    def signal(self, seen: Seen, number: int) -> bool:
        """Signals that very process and no later one with its pid; False: it is gone, or not ours to signal."""
        raise NotImplementedError

    def peak(self, max_rss: int) -> int:
        """Bytes of ``ru_maxrss``, whose unit differs."""
        raise NotImplementedError

    def resident(self, pid: int) -> int:
        """Bytes of a process that are in memory now; 0: it is gone, or that cannot be told."""
        raise NotImplementedError

    def command(self, pid: int) -> str:
        """Its command line for people, or its name, at most 200 characters; empty if it is gone."""
        raise NotImplementedError

    def memory_kills(self) -> int | None:
        """How many processes the kernel has killed so far, here, for want of memory; ``None``: nobody counts."""
        return None

    def describe(self, pid: int) -> list[str]:
        """What it is doing, for people: a line and, where the platform tells, details below it."""
        raise NotImplementedError
