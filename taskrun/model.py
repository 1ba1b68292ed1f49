"""The values that the rooms hand to each other: states, attempts, outcomes, reasons, and the tree of errors.

It decides nothing, reads nothing and imports nothing of ours. It is longer than other modules, since it is one
vocabulary, whose words refer to each other, and whoever imports it needs most of them.

The values are frozen ``msgspec.Struct``s rather than dataclasses: a frozen, slotted dataclass costs 0.8 ms of start-up
each (its methods are compiled at import), a Struct 0.03 ms, and most of these go to disk or over a wire anyway.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every value that crosses a room's boundary: frozen, slotted, keyword-only."""


# --- states -----------------------------------------------------------------------------------------------------------


class State(enum.StrEnum):
    """Where a task stands in a run. The values are the words of events, records and messages."""

    PENDING = "pending"  # waits for dependencies, a slot or a limit
    RUNNING = "running"  # an attempt is under way
    READY = "ready"  # a service that has freed its dependents
    WAITING = "waiting"  # failed, will be tried again after a back-off; holds no slot
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"  # hit a clock, also if it then exited 0
    CANCELLED = "cancelled"  # stopped because someone or something else decided so
    SKIPPED = "skipped"  # ruled out by `when`, or a dependency failed
    NOT_STARTED = "not-started"  # the run ended before its turn came

    @property
    def settled(self) -> bool:
        """Whether the task has reached its final state."""
        return self not in _UNSETTLED


_UNSETTLED = frozenset({State.PENDING, State.RUNNING, State.READY, State.WAITING})


class OnFailure(enum.StrEnum):
    """What a failure that stands does to the rest of the run."""

    FINISH = "finish"  # start nothing new, let running tasks end
    STOP = "stop"  # terminate running tasks too
    CONTINUE = "continue"  # run all that can still succeed


class Clock(enum.StrEnum):
    """The clocks of an attempt, by the name of the key that sets them."""

    TIMEOUT = "timeout"  # the whole attempt
    START = "start-timeout"  # until the first output or progress
    IDLE = "idle-timeout"  # without output or progress
    STALL = "stall-timeout"  # progress is reported, but does not move
    IMPORT = "import timeout"  # of a Python task's module, in a worker: no key sets it


class CancelKind(enum.IntEnum):
    """Why running tasks are stopped, from the mildest to the strongest: a later, stronger one replaces an earlier."""

    FAILURE = 1  # `on-failure = "stop"`: another task failed
    DEADLINE = 2  # the run's deadline came
    OUTPUT = 3  # nobody reads our output any more (SIGPIPE), or it cannot be written
    HOST = 4  # the supervisor process was lost twice
    PARENT = 5  # --die-with-parent: the process that started us is gone
    JOB = 6  # somebody cancelled the job of the queue that this run carries out
    SIGNAL = 7  # HUP, INT, QUIT, TERM
    SECOND_SIGNAL = 8  # kill at once


class CancelReason(Value, frozen=True, kw_only=True):
    """Why something was cancelled; ``str()`` of it is what users read.

    Attributes:
        kind: The class of the reason.
        detail: The failed task's name, the signal's name, the deadline as text; may be empty.
    """

    kind: CancelKind
    detail: str = ""

    def __str__(self) -> str:
        """One short clause, for "stopped: ..."."""
        match self.kind:
            case CancelKind.FAILURE:
                return f"{self.detail} failed"
            case CancelKind.DEADLINE:
                return f"the run's deadline of {self.detail} came"
            case CancelKind.OUTPUT:
                return self.detail or "the output was closed"
            case CancelKind.HOST:
                return "the supervising process was lost"
            case CancelKind.PARENT:
                return "the parent process exited"
            case CancelKind.JOB:
                return "its job was cancelled"
            case CancelKind.SIGNAL | CancelKind.SECOND_SIGNAL:
                return self.detail or "interrupted"


# --- what an attempt is -----------------------------------------------------------------------------------------------


class BinaryCommand(Value, frozen=True, kw_only=True, tag="binary"):
    """A program and its arguments; no shell is involved unless it is the program.

    Attributes:
        argv: Program and arguments, resolved.
        shell: The user's command line where the task has `shell`, for display; argv then runs it.
        stdin: ``None`` for ``/dev/null``, ``"-"`` for taskrun's own, else an absolute path.
    """

    argv: tuple[str, ...]
    shell: str | None = None
    stdin: str | None = None


class PythonCall(Value, frozen=True, kw_only=True, tag="python"):
    """A call of ``module:function`` in a worker.

    Attributes:
        target: ``module:function``; the function may be dotted.
        args: Positional arguments, JSON-able.
        kwargs: Arguments by name, JSON-able.
        lax: Names (or positions as text) of arguments that came from the command line as strings, and are converted
            leniently ("4" for an int).
        pool: The workers of which pool carry it out; ``None``: a worker of its own does.
    """

    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    lax: tuple[str, ...] = ()
    pool: str | None = None


Command: TypeAlias = BinaryCommand | PythonCall


class Clocks(Value, frozen=True, kw_only=True):
    """Limits in time of one attempt, in seconds; ``None``: none."""

    timeout: float | None = None
    start: float | None = None
    idle: float | None = None
    stall: float | None = None


class ProgressSource(Value, frozen=True, kw_only=True):
    """How progress is found in a task's output, beside the channels that every task has.

    Attributes:
        parser: A built-in parser's name (`ffmpeg`, `tqdm`, ...), or ``"regex"``.
        regex: The pattern where ``parser`` is ``"regex"``.
        total: A fixed total for patterns that find only `current`.
        stream: ``"stdout"``, ``"stderr"`` or ``"both"``.
    """

    parser: str
    regex: str | None = None
    total: float | None = None
    stream: str = "both"


class Attempt(Value, frozen=True, kw_only=True):
    """One numbered try at one task, fully resolved: everything an executor needs, and writable as JSON.

    Attributes:
        run: The run's id.
        task: The instance's name, such as ``transcode[clip=in/a.mov]``.
        number: From 1.
        cwd: Absolute folder to start in.
        env: The whole environment of the task, but what the executor itself adds (`TASKRUN_MARK`, `TASKRUN_PROGRESS`).
        grace: Seconds between asking to stop and killing.
        stop_signal: Signal number that a timeout asks with.
        success_codes: Exit codes that count as success.
        log: Cap of the attempt's log in bytes; ``None``: none; ``False``: no log is kept.
        leak: ``"warn"`` or ``"fail"``.
        interactive: It gets the terminal.
        extra_env: Names of variables that the task's own tables set, for the record.
    """

    run: str
    task: str
    number: int
    command: Command
    cwd: str
    env: dict[str, str]
    clocks: Clocks = Clocks()
    grace: float = 5.0
    stop_signal: int = 15
    success_codes: tuple[int, ...] = (0,)
    progress: ProgressSource | None = None
    log: int | bool | None = None
    leak: str = "warn"
    interactive: bool = False
    slots: int = 1
    extra_env: tuple[str, ...] = ()


# --- how an attempt ended ---------------------------------------------------------------------------------------------


class Exited(Value, frozen=True, kw_only=True, tag="exited"):
    """The process ended by itself.

    Attributes:
        out_of_memory: The kernel had killed a process for want of memory; ``None``: not known, or not asked.
    """

    code: int
    out_of_memory: bool | None = None


class Signaled(Value, frozen=True, kw_only=True, tag="signaled"):
    """A signal that was not ours ended it; ``out_of_memory`` as of ``Exited``."""

    signal: int
    core_dumped: bool = False
    out_of_memory: bool | None = None


class Returned(Value, frozen=True, kw_only=True, tag="returned"):
    """A Python call returned; its value is the outcome's ``result``."""


class Raised(Value, frozen=True, kw_only=True, tag="raised"):
    """A Python call raised.

    Attributes:
        type_names: The exception's class and its bases up to, not including, ``BaseException``; each both as
            ``Name`` and ``module.Name``, for `retry.on = ["exception:..."]`.
        message: ``str()`` of it, or a repr where that fails.
        traceback: The frames of the task's own code, as text.
        retry_after: Seconds, where it was ``taskrun.Retry(after=...)``; 0.0 for ``Retry()``.
        kind: ``"exception"``, ``"retry"``, ``"fail"``, ``"arguments"`` or ``"import"``.
    """

    type_names: tuple[str, ...]
    message: str
    traceback: str = ""
    retry_after: float | None = None
    kind: str = "exception"


class NoResult(Value, frozen=True, kw_only=True, tag="no-result"):
    """A worker ended, or its result could not be sent, before a result arrived.

    Attributes:
        why: A clause for people: "exited before returning a result".
        code: Exit code of the worker, where it exited.
    """

    why: str
    code: int | None = None


class ClockHit(Value, frozen=True, kw_only=True, tag="clock"):
    """A clock ran out; what the process then did is in the outcome's exit_code and signal."""

    clock: Clock
    after: float  # seconds
    killed: bool = False  # it did not stop within the grace period


class SpawnFailed(Value, frozen=True, kw_only=True, tag="spawn-failed"):
    """It could not be started.

    Attributes:
        kind: ``"not-found"``, ``"not-executable"``, ``"cwd"``, ``"stdin"``, ``"too-long"``, ``"resources"`` or
            ``"other"``.
        message: What and why, for people.
        code: What a shell would have returned: 127 not found, 126 else.
    """

    kind: str
    message: str
    code: int = 126


class Stopped(Value, frozen=True, kw_only=True, tag="stopped"):
    """taskrun ended it, for a reason that is not the task's fault."""

    reason: CancelReason
    killed: bool = False


class Lost(Value, frozen=True, kw_only=True, tag="lost"):
    """The process that supervised it died; whatever it was doing is unknown."""

    why: str


class LookUpFailed(Value, frozen=True, kw_only=True, tag="look-up"):
    """The attempt could not be put together: a look-up depends on a result that is not there."""

    message: str


Ending: TypeAlias = (
    Exited | Signaled | Returned | Raised | NoResult | ClockHit | SpawnFailed | Stopped | Lost | LookUpFailed
)


class Leftover(Value, frozen=True, kw_only=True):
    """A process that an attempt left behind and that was killed (or could not be).

    Attributes:
        state: Of one that could not be killed: its state, one letter as ``ps`` has it; ``D`` is uninterruptible sleep.
        count: For how many it stands: where there are too many to name, the last one named stands for the rest.
    """

    pid: int
    command: str
    killed: bool = True
    state: str = ""
    count: int = 1


class Outcome(Value, frozen=True, kw_only=True):
    """How one attempt ended: settled, once, by its executor.

    Attributes:
        state: SUCCEEDED, FAILED, TIMED_OUT or CANCELLED.
        ending: What happened.
        reason: One clause for people, such as "exit 3" or "killed by SIGSEGV (core dumped)"; empty on success.
        result: JSON-able value that dependents look up.
        exit_code: As a shell would see it where the process exited; ``None`` where it did not.
        signal: Number of the signal that ended it, ours or not; ``None`` where it exited.
        elapsed: Seconds from exec (Python: from the call) to the end, suspension left out.
        cpu: Seconds of CPU, user and system, of the leader and its reaped children.
        max_rss: Peak resident size of the leader in bytes.
        log: The log's path relative to the run's folder; ``None`` where nothing was written.
    """

    state: State
    ending: Ending
    reason: str = ""
    result: Any = None
    exit_code: int | None = None
    signal: int | None = None
    elapsed: float = 0.0
    cpu: float = 0.0
    max_rss: int = 0
    leaked: tuple[Leftover, ...] = ()
    log: str | None = None


class StopRequest(Value, frozen=True, kw_only=True):
    """Asks an executor to end an attempt: the signal to ask with, how long to wait, and why.

    Attributes:
        signal: Number; forwarded to the task's processes, with CONT.
        grace: Seconds until KILL; 0.0 kills at once. ``None``: the attempt's own grace period.
    """

    reason: CancelReason
    signal: int
    grace: float | None = None


# --- mistakes ---------------------------------------------------------------------------------------------------------


class Span(Value, frozen=True, kw_only=True):
    """A place in a file: line and column from 1, columns in characters; ``end_column`` is one past the last."""

    line: int
    column: int
    end_line: int
    end_column: int


class Diagnostic(Value, frozen=True, kw_only=True):
    """One mistake of a user, complete enough to be shown as text, JSON or a CI annotation.

    Attributes:
        code: Stable, such as ``unknown-key``.
        message: What is wrong: a lower-case fragment, user's names in backticks.
        label: What to do, beside the caret ("did you mean `timeout`?"); may be empty.
        file: Path as the user knows it; ``None`` for the command line.
        span: Where in it.
        source: The source line that ``span`` starts on, without its end.
        notes: Further lines ("= help: ...").
        level: ``"error"`` or ``"warning"``.
    """

    code: str
    message: str
    label: str = ""
    file: str | None = None
    span: Span | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    level: str = "error"


class TaskrunError(Exception):
    """Base of the errors that users see as one message.

    TaskrunError
     +- UsageError         the command line is wrong                                        (exit status 2)
     +- ProjectError       tasks.toml, or what it names, is wrong; carries diagnostics      (exit status 2)
     +- NothingMatched     a glob or a pick matched nothing                                 (exit status 4)
     +- ResourceError      taskrun could not do its own part: disk, processes, descriptors  (exit status 125)
    """


class UsageError(TaskrunError):
    """The command line is wrong; you mend it."""


class ProjectError(TaskrunError):
    """The project is wrong; ``diagnostics`` say where. Nothing was started."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(diagnostics[0].message if diagnostics else "the project is wrong")
        self.diagnostics = diagnostics


class NothingMatched(TaskrunError):  # noqa: N818 - it names what happened
    """A glob or a pick on the command line matched no task."""


class ResourceError(TaskrunError):
    """The machine refused something that taskrun needs for its own part."""


Clockwork: TypeAlias = Callable[[], float]
"""Returns seconds of a monotonic clock."""
