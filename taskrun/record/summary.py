"""What ``run.json`` holds: what was asked for and by which process, and how it went. It is pure."""

from __future__ import annotations

import msgspec

from taskrun import events
from taskrun.model import State, Value

VERSION = 1


class Asked(Value, frozen=True, kw_only=True):
    """What the command line asked for, so that it can be repeated.

    Attributes:
        targets: Tasks as named, or those of `run.default`.
        assignments: ``KEY=VALUE``.
        extra: What came after ``--``; ``None``: there was no ``--``.
    """

    targets: tuple[str, ...] = ()
    assignments: dict[str, str] = msgspec.field(default_factory=dict)
    extra: tuple[str, ...] | None = None


class TaskSummary(Value, frozen=True, kw_only=True, omit_defaults=True):
    """How a task of the run went; the fields of its last ``task.end``."""

    state: str
    attempts: int = 0
    elapsed: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    cause: str | None = None
    allowed: bool = False
    log: str | None = None


class RunSummary(Value, frozen=True, kw_only=True):
    """A run.

    Attributes:
        state: ``"running"`` or ``"finished"`` in the file; read back, ``"aborted"`` where it says running and the
            process that wrote it is dead.
        started: Seconds since the epoch; ``ended`` likewise, ``None`` while it runs.
        process_start: Of ``pid``, in clock ticks since the boot that ``boot`` names.
        host: The pid of the process that supervises the run, and ``host_start`` as ``process_start``.
        mark: With what the marks in the environments of its processes begin; empty: unknown.
        tasks: By name, those that have settled, in the order in which they did.
        trouble: What could not be recorded.
    """

    id: str
    state: str
    v: int = VERSION
    taskrun: str = ""
    pid: int = 0
    process_start: int | None = None
    host: int = 0
    host_start: int | None = None
    mark: str = ""
    boot: str = ""
    started: float = 0.0
    ended: float | None = None
    elapsed: float = 0.0
    argv: tuple[str, ...] = ()
    cwd: str = ""
    file: str = ""
    jobs: int = 0
    asked: Asked = Asked()
    plan: tuple[str, ...] = ()
    exit_status: int | None = None
    signal: int | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    first_cause: str | None = None
    tasks: dict[str, TaskSummary] = msgspec.field(default_factory=dict)
    trouble: tuple[str, ...] = ()


def of_task(end: events.TaskEnd) -> TaskSummary:
    """What a ``task.end`` says, shortened."""
    return TaskSummary(
        state=end.state,
        attempts=end.attempt,
        elapsed=end.elapsed,
        exit_code=end.exit_code,
        signal=end.signal,
        reason=end.reason,
        cause=end.cause,
        allowed=end.allowed,
        log=end.log,
    )


def finished(
    summary: RunSummary, end: events.RunEnd, ts: float, tasks: dict[str, TaskSummary], trouble: tuple[str, ...]
) -> RunSummary:
    """The summary of a run at its end."""
    return msgspec.structs.replace(
        summary,
        state="finished",
        ended=ts,
        elapsed=end.elapsed,
        exit_status=end.exit_status,
        signal=end.signal,
        counts=end.counts,
        first_cause=end.first_cause,
        tasks=tasks,
        trouble=trouble,
    )


def shortened(summary: RunSummary) -> RunSummary:
    """What must not be lost of it: how the run ended, and with what."""
    return msgspec.structs.replace(summary, tasks={}, plan=(), argv=(), asked=Asked())


def durations(tasks: dict[str, TaskSummary]) -> dict[str, float]:
    """Seconds that the last attempt of each task took that succeeded by being carried out."""
    return {
        name: task.elapsed for name, task in tasks.items() if task.state == State.SUCCEEDED.value and task.attempts > 0
    }


def encode(summary: RunSummary) -> bytes:
    """What is written to ``run.json``."""
    return events.encode_value(summary)


def decode(data: bytes) -> RunSummary:
    """Reads a ``run.json`` back.

    Raises:
        msgspec.DecodeError: It is none.
    """
    return msgspec.json.decode(data, type=RunSummary)
