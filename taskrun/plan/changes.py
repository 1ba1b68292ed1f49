"""The values that a plan and its driver exchange: what may start, and what has changed. Nothing is decided here."""

from __future__ import annotations

from typing import TypeAlias

from taskrun.model import CancelReason, Outcome, State, Value


class Start(Value, frozen=True, kw_only=True):
    """An attempt that may start now; its slots and limits are taken."""

    task: str
    attempt: int  # from 1


class RuledOut(Value, frozen=True, kw_only=True):
    """A task's `when` does not hold: it is skipped, and its dependents go on.

    Attributes:
        why: One clause for people.
        cause: The task because of which, where there is one.
    """

    why: str
    cause: str | None = None


class Settled(Value, frozen=True, kw_only=True):
    """A task has reached its final state, once. Groups settle silently: they are no work of their own.

    Attributes:
        reason: One clause for people; empty on success.
        cause: The task whose failure this is a consequence of; ``None`` where it is its own.
        allowed: A failure that `allow-failure` excuses.
        outcome: Of the last attempt; ``None`` where none was made (and for groups).
        attempt: Number of the last attempt; 0 where none was made.
    """

    task: str
    state: State
    reason: str = ""
    cause: str | None = None
    allowed: bool = False
    outcome: Outcome | None = None
    attempt: int = 0


class Retried(Value, frozen=True, kw_only=True):
    """An attempt failed and there will be another, ``delay`` seconds from now: say ``Plan.due(task)`` then."""

    task: str
    attempt: int  # the one that failed
    delay: float
    why: str
    outcome: Outcome


class StopRunning(Value, frozen=True, kw_only=True):
    """`on-failure = "stop"`: running tasks, but for those that clean up, are to be stopped."""

    reason: CancelReason


Change: TypeAlias = Settled | Retried | StopRunning
