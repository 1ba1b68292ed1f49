"""The closed union of facts about a run, versioned, and their codec. Never how to show them.

Events are numbered and stamped when they are written (``Envelope``), in the one order in which the scheduler's loop
emitted them. ``TaskOutput`` carries raw bytes in memory and decoded text on the wire.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, TypeAlias

import msgspec

from taskrun.model import Diagnostic, Leftover, Value

VERSION = 1


class Event(Value, frozen=True, kw_only=True, tag_field="event"):
    """Base of all events."""


class RunStart(Event, frozen=True, kw_only=True, tag="run.start"):
    """A run begins: what was asked for, and the tasks of its plan in order."""

    taskrun: str  # version
    file: str
    argv: tuple[str, ...]
    cwd: str
    jobs: int
    tasks: tuple[str, ...]
    folder: str | None = None  # the record's
    pid: int = 0


class TaskQueued(Event, frozen=True, kw_only=True, tag="task.queued"):
    """All that the task needs has settled well; it waits for slots or limits."""

    task: str


class TaskStart(Event, frozen=True, kw_only=True, tag="task.start"):
    """An attempt's process exists (for Python: its worker)."""

    task: str
    attempt: int
    argv: tuple[str, ...] = ()
    shell: str | None = None
    target: str | None = None  # module:function
    cwd: str = ""
    pid: int = 0
    env: tuple[str, ...] = ()  # names only


class TaskOutput(Event, frozen=True, kw_only=True, tag="task.output"):
    """Bytes that a task wrote, as read: at most 64 KiB, any number of lines or part of one."""

    task: str
    attempt: int
    stream: str  # "stdout" or "stderr"
    data: bytes


class TaskProgress(Event, frozen=True, kw_only=True, tag="task.progress"):
    """How far an attempt says it is; emitted ten times a second at most per task, and always for the last one."""

    task: str
    attempt: int
    fraction: float | None = None  # 0 to 1; None: unknown
    current: float | None = None
    total: float | None = None
    message: str = ""
    rate: float | None = None  # units of current (else of fraction) per second
    eta: float | None = None  # seconds
    phase: int | None = None
    phases: int | None = None


class TaskMessage(Event, frozen=True, kw_only=True, tag="task.message"):
    """A `warn` or `error` line that a task sent through its progress channel."""

    task: str
    attempt: int
    level: str  # "warning" or "error"
    text: str


class TaskRetry(Event, frozen=True, kw_only=True, tag="task.retry"):
    """An attempt failed and there will be another."""

    task: str
    attempt: int  # the one that failed
    why: str
    delay: float  # seconds
    exit_code: int | None = None
    signal: int | None = None
    elapsed: float = 0.0
    leaked: tuple[Leftover, ...] = ()
    log: str | None = None


class TaskEnd(Event, frozen=True, kw_only=True, tag="task.end"):
    """A task has settled. ``attempt`` is 0 where none was made."""

    task: str
    attempt: int
    state: str
    exit_code: int | None = None
    signal: int | None = None
    elapsed: float = 0.0
    cpu: float = 0.0
    max_rss: int = 0
    leaked: tuple[Leftover, ...] = ()
    reason: str = ""  # "exit 3", "timed out after 10s", "deploy failed"
    cause: str | None = None  # the task whose failure this is a consequence of
    allowed: bool = False  # a failure that `allow-failure` excuses
    log: str | None = None
    result: Any = None
    detail: str = ""  # longer text: a traceback


class PoolState(Event, frozen=True, kw_only=True, tag="pool.state"):
    """How a pool stands; emitted twice a second at most, and only when something has changed."""

    pool: str
    size: int  # workers that it should have
    workers: int  # that are ready
    busy: int  # of these, with a task
    starting: int
    restarts: int  # workers that were started in the place of others


class RunSuspend(Event, frozen=True, kw_only=True, tag="run.suspend"):
    """The run was stopped by Ctrl+Z; clocks stand still."""


class RunResume(Event, frozen=True, kw_only=True, tag="run.resume"):
    """It goes on. ``paused`` is in seconds."""

    paused: float


class RunCancel(Event, frozen=True, kw_only=True, tag="run.cancel"):
    """Running tasks are being stopped."""

    reason: str
    killing: bool = False  # at once


class DiagnosticEvent(Event, frozen=True, kw_only=True, tag="diagnostic"):
    """Something the user should know that is not about one attempt's outcome: mistakes, leaks of the run, warnings."""

    diagnostic: Diagnostic


class RunEnd(Event, frozen=True, kw_only=True, tag="run.end"):
    """The last event of every run, also of one whose file was refused."""

    exit_status: int
    signal: int | None = None
    elapsed: float = 0.0
    counts: dict[str, int] = {}  # by state
    first_cause: str | None = None  # task
    leaked: tuple[Leftover, ...] = ()
    folder: str | None = None


class WorkerStart(Event, frozen=True, kw_only=True, tag="worker.start"):
    """A queue worker begins; its events have an id of its own in ``run``, between those of the runs of its jobs."""

    taskrun: str  # version
    file: str
    argv: tuple[str, ...]
    cwd: str
    queue: str  # without a password
    slots: int
    tasks: tuple[str, ...]  # of which it takes jobs
    pid: int = 0


class JobStart(Event, frozen=True, kw_only=True, tag="job.start"):
    """The worker has taken a job."""

    job: int
    task: str
    attempt: int
    max_attempts: int
    carried_by: str  # id of the run that carries it out


class JobEnd(Event, frozen=True, kw_only=True, tag="job.end"):
    """An attempt at a job is over, and what becomes of the job is about to be recorded."""

    job: int
    task: str
    attempt: int
    max_attempts: int
    outcome: str  # "done", "retry", "dead", "cancelled" or "released"
    error: str = ""
    elapsed: float = 0.0
    carried_by: str | None = None  # None: it was refused before there was a run


class WorkerStopping(Event, frozen=True, kw_only=True, tag="worker.stopping"):
    """The worker takes nothing new; what runs is finished first."""

    reason: str
    running: int  # jobs


class WorkerEnd(Event, frozen=True, kw_only=True, tag="worker.end"):
    """The last event of a queue worker."""

    exit_status: int
    signal: int | None = None
    elapsed: float = 0.0
    jobs: dict[str, int] = {}  # by outcome
    leaked: tuple[Leftover, ...] = ()


AnyEvent: TypeAlias = (
    RunStart
    | TaskQueued
    | TaskStart
    | TaskOutput
    | TaskProgress
    | TaskMessage
    | TaskRetry
    | TaskEnd
    | PoolState
    | RunSuspend
    | RunResume
    | RunCancel
    | DiagnosticEvent
    | RunEnd
    | WorkerStart
    | JobStart
    | JobEnd
    | WorkerStopping
    | WorkerEnd
)

Emit: TypeAlias = Callable[[AnyEvent], None]
"""Hands a fact to whoever listens. Must not block and must not raise."""


class Stamped(Value, frozen=True, kw_only=True):
    """An event with its place in the run: number from 1 and wall-clock time in seconds since the epoch."""

    seq: int
    ts: float
    run: str
    event: AnyEvent


_encoder = msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[AnyEvent]:
    """Made when something is read: a run only writes, and would pay for it at its start."""
    return msgspec.json.Decoder(type=AnyEvent)


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, as in every event."""
    whole, micro = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_to_the_second(whole)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=2)  # of the thousands of events of one second all but the first need no calendar
def _to_the_second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}"


def encode_value(value: Any) -> bytes:
    """JSON of a value; in names of files that are no UTF-8, what is wrong becomes U+FFFD."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_without_surrogates(msgspec.to_builtins(value)))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(entry) for entry in value]
    return value


def encode(stamped: Stamped) -> bytes:
    """One line of JSON with its newline: the envelope's fields first, then the event's own.

    ``TaskOutput`` is refused: its bytes become text only through a decoder that keeps state over chunks, see
    ``encode_output``.
    """
    head = f'{{"v":{VERSION},"seq":{stamped.seq},"ts":"{timestamp(stamped.ts)}","run":"{stamped.run}",'
    return head.encode() + encode_value(stamped.event)[1:] + b"\n"


def encode_output(stamped: Stamped, output: TaskOutput, text: str) -> bytes:
    """A ``task.output`` line whose bytes were decoded to ``text``."""
    fields = {"event": "task.output", "task": output.task, "attempt": output.attempt, "stream": output.stream}
    head = f'{{"v":{VERSION},"seq":{stamped.seq},"ts":"{timestamp(stamped.ts)}","run":"{stamped.run}",'
    return head.encode() + encode_value(fields | {"text": text})[1:] + b"\n"


def decode(line: bytes) -> Stamped:
    """Reads back what ``encode`` wrote; unknown fields are ignored.

    Raises:
        msgspec.DecodeError: It is no JSON, no event, or of a kind that this version does not know.
    """
    raw = msgspec.json.decode(line, type=_Envelope)
    moment = dt.datetime.fromisoformat(raw.ts)
    return Stamped(seq=raw.seq, ts=moment.timestamp(), run=raw.run, event=_decoder().decode(line))


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one line: any event, with the envelope's fields.

    More fields, and more kinds of events, may come with the same version; nothing is taken away or changes its type.
    """
    (union,), kinds = msgspec.json.schema_components([AnyEvent], ref_template="#/$defs/{name}")
    envelope = {
        "v": {"const": VERSION, "description": "Version of the events."},
        "seq": {"type": "integer", "minimum": 1, "description": "Number of the event in its run."},
        "ts": {"type": "string", "format": "date-time", "description": "When it was emitted, in UTC."},
        "run": {"type": "string", "description": "The run's id."},
    }
    for reference in union["anyOf"]:
        kind = kinds[reference["$ref"].rpartition("/")[2]]
        kind["properties"] = {**envelope, **kind["properties"]}
        kind["required"] = [*envelope, *kind["required"]]
    output = kinds[TaskOutput.__name__]
    del output["properties"]["data"]
    output["properties"]["text"] = {"type": "string", "description": "What is no UTF-8 is U+FFFD."}
    output["required"] = [*output["required"][:-1], "text"]
    output["description"] = "Text that a task wrote, only where it was asked for."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of taskrun",
        "anyOf": union["anyOf"],
        "$defs": kinds,
    }


class _Envelope(msgspec.Struct):
    v: int
    seq: int
    ts: str
    run: str
