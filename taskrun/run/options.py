"""What the command line asked of a run, and what came of it. Values only."""

from __future__ import annotations

from taskrun.model import OnFailure, Value


class RunOptions(Value, frozen=True, kw_only=True):
    """The options of ``taskrun run``, checked by the command line but not yet combined with the file's.

    Attributes:
        targets: Tasks, globs, instances; empty: the file's default.
        assignments: ``KEY=VALUE``.
        extra: What stood after ``--``; ``None``: no ``--``.
        arguments: The whole command line, for the record.
        limits: ``--limit NAME=N``.
        deadline: Seconds.
        grace: Seconds.
        events: Path, ``"-"`` for stdout, or ``None``.
        verbose: How often ``-v`` was given.
    """

    targets: tuple[str, ...] = ()
    assignments: dict[str, str] = {}
    extra: tuple[str, ...] | None = None
    arguments: tuple[str, ...] = ()
    file: str | None = None
    jobs: int | None = None
    limits: dict[str, int] = {}
    on_failure: OnFailure | None = None
    deadline: float | None = None
    grace: float | None = None
    ui: str | None = None
    output: str | None = None
    events: str | None = None
    exit_code_task: bool = False
    die_with_parent: bool | None = None
    verbose: int = 0
    quiet: bool = False


class RunResult(Value, frozen=True, kw_only=True):
    """How a run ended: the exit status, or the signal to die of."""

    exit_status: int = 0
    signal: int | None = None
