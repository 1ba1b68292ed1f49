"""What runner and worker say to each other over a worker's channel, and what an inspection asks and answers.

A frame is a little-endian u32 length and a msgpack map with a ``type``. Both ends import this module, so it stays
light; unknown fields are ignored, since the two may be of different versions of taskrun.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from taskrun.model import Value
from taskrun.worker.framing import Frames, frame

CHECKPOINT_LIMIT = 1024 * 1024
"""Largest checkpoint in bytes of JSON."""


# --- runner to worker -------------------------------------------------------------------------------------------------


class Call(Value, frozen=True, kw_only=True, tag="call"):
    """The one call that a worker carries out; sent once the host has confirmed the worker's pid.

    Attributes:
        target: ``module:function``; the function may be dotted.
        lax: Names (or positions as text) of arguments that came from the command line as strings.
        time_left: Seconds that the attempt may take from ``Started`` on; ``None``: no limit.
        restored: JSON of the latest checkpoint of an earlier attempt.
        env: For a pool's worker: variables that differ from those that it was born with; ``None``: not there.
        cwd: For a pool's worker: the call's folder. A worker of its own was born in it.
    """

    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    lax: tuple[str, ...] = ()
    time_left: float | None = None
    restored: bytes | None = None
    task: str = ""
    attempt: int = 1
    env: dict[str, str | None] = msgspec.field(default_factory=dict)
    cwd: str = ""


class ServeTasks(Value, frozen=True, kw_only=True, tag="serve-tasks"):
    """Instead of a call: the worker belongs to a pool of a run, and gets one call after the other.

    Attributes:
        setup: ``module:function`` to be called first; ``None``: there is none.
    """

    setup: str | None = None


class Serve(Value, frozen=True, kw_only=True, tag="serve"):
    """Instead of a call: the worker belongs to a pool. What follows on the channel is as in ``requests``.

    Attributes:
        target: ``module:name`` of a ``Handlers``; the name may be dotted.
        setup: For handlers of taskrun's own, which find it at ``session.setup``.
        preload: Modules that the user wanted to be there; the template has imported them, if they can be.
    """

    target: str
    setup: bytes = b""
    preload: tuple[str, ...] = ()


class ClockUpdate(Value, frozen=True, kw_only=True, tag="clock"):
    """The attempt's clock was moved, after a suspension for instance; seconds from now."""

    time_left: float | None


class CheckpointSaved(Value, frozen=True, kw_only=True, tag="saved"):
    """The checkpoint is safely on disk, or could not be written: then ``error`` says why."""

    id: int
    error: str = ""


# --- worker to runner -------------------------------------------------------------------------------------------------


class Ready(Value, frozen=True, kw_only=True, tag="ready"):
    """The first words of a pool's worker: it waits for calls, or says why it cannot.

    Attributes:
        mistake: Its setup could not be imported.
        failure: Its setup raised.
        cpu: As in ``Done``.
    """

    mistake: Mistake | None = None
    failure: Failure | None = None
    cpu: float = 0.0


class Done(Value, frozen=True, kw_only=True, tag="done"):
    """After ``Result`` or ``Failure``, in a pool's worker: everything of the call has been written and put back.

    Attributes:
        cpu: Seconds, user and system, of the worker so far and of the children that it has waited for.
        max_rss: Largest resident size of the worker so far, in bytes.
        spent: Why the worker takes no other call, and ends; empty: it does.
    """

    cpu: float
    max_rss: int
    spent: str = ""


class Started(Value, frozen=True, kw_only=True, tag="started"):
    """Imports and conversions are done, the function is about to be called: clocks start."""


class Progress(Value, frozen=True, kw_only=True, tag="progress"):
    """How far the function says it is."""

    done: float
    total: float | None = None
    message: str = ""


class Status(Value, frozen=True, kw_only=True, tag="status"):
    """What the function says it is doing."""

    text: str


class Message(Value, frozen=True, kw_only=True, tag="message"):
    """Something for the user; ``level`` is ``"warning"`` or ``"error"``."""

    level: str
    text: str


class Checkpoint(Value, frozen=True, kw_only=True, tag="checkpoint"):
    """JSON to keep for later attempts; answered by ``CheckpointSaved`` with the same id."""

    id: int
    value: bytes


class Result(Value, frozen=True, kw_only=True, tag="result"):
    """The function returned; ``value`` is JSON. The last frame of a worker that did well."""

    value: bytes


class Failure(Value, frozen=True, kw_only=True, tag="failure"):
    """The call did not return a value. The last frame of a worker that did not do well.

    Attributes:
        kind: ``"exception"``, ``"retry"`` (``taskrun.Retry``), ``"fail"`` (``taskrun.Fail``), ``"arguments"``,
            ``"import"``, ``"result"`` (could not be sent back), ``"exit"`` (``sys.exit``) or ``"cancelled"``.
        message: For people; never empty.
        type_names: The exception's class and its bases below ``BaseException``, as ``Name`` and ``module.Name``.
        traceback: The task's own frames, its causes' and its notes, as Python prints them; empty where they say
            nothing: for ``Fail``, ``Cancelled``, and a ``Retry`` without a cause.
        notes: What ``add_note`` added.
        retry_after: Seconds, for ``"retry"``; 0.0 where the function did not say.
        code: Exit status, for ``"exit"``.
        file: Where it happened, for ``"import"`` and ``"exception"``; empty where unknown.
        line: Line in ``file``, from 1; 0 where unknown.
    """

    kind: str
    message: str
    type_names: tuple[str, ...] = ()
    traceback: str = ""
    notes: tuple[str, ...] = ()
    retry_after: float | None = None
    code: int | None = None
    file: str = ""
    line: int = 0


AnyMessage: TypeAlias = (
    Call
    | Serve
    | ServeTasks
    | Ready
    | Done
    | ClockUpdate
    | CheckpointSaved
    | Started
    | Progress
    | Status
    | Message
    | Checkpoint
    | Result
    | Failure
)


# --- inspection -------------------------------------------------------------------------------------------------------


class CallSite(Value, frozen=True, kw_only=True):
    """One call to check before anything starts.

    Attributes:
        id: The asker's number for it.
        target: ``module:function``, or a module alone, which is only imported.
        unknown: Names (or positions as text) of arguments whose values depend on results; they count as given, and
            have no value in ``args`` or ``kwargs`` that means anything.
        lax: As in ``Call``.
    """

    id: int
    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    lax: tuple[str, ...] = ()


class InspectRequest(Value, frozen=True, kw_only=True):
    """Calls to check.

    Attributes:
        open_keys: ``KEY=VALUE`` of the command line that may be arguments: a call that has a parameter of that name
            and leaves it open is checked as if it had been given this string.
        import_timeout: Seconds that importing one module may take; ``None``: any time.
    """

    calls: tuple[CallSite, ...]
    open_keys: dict[str, str] = msgspec.field(default_factory=dict)
    import_timeout: float | None = None


class Mistake(Value, frozen=True, kw_only=True):
    """Why a module cannot be imported, or a target not be called.

    Attributes:
        type: The exception's class, or ``"not-found"``, ``"not-callable"``, ``"async"``, ``"generator"``, ``"name"``
            or ``"timeout"``.
        hint: The nearest right name, or what to do.
        text: The source line, where there is one.
        column: From 1; 0 where unknown.
        traceback: The user's own frames.
    """

    type: str
    message: str
    hint: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    text: str = ""
    traceback: str = ""


class ModuleReport(Value, frozen=True, kw_only=True):
    """How the import of one module went.

    Attributes:
        error: It cannot be imported.
        unclean: Why it is imported in each worker and not in the template ("leaves 1 thread running"); empty: clean.
        seconds: How long the import took.
    """

    error: Mistake | None = None
    unclean: str = ""
    seconds: float = 0.0


class Parameter(Value, frozen=True, kw_only=True):
    """One parameter of a target.

    Attributes:
        schema: JSON Schema (2020-12) of its values; ``{}`` where anything goes.
    """

    name: str
    required: bool = True
    schema: dict[str, Any] = msgspec.field(default_factory=dict)


class TargetReport(Value, frozen=True, kw_only=True):
    """What a target takes.

    Attributes:
        open: It takes any further names (``**kwargs``), or does not tell what it takes (some builtins).
        file: Where it is defined; empty where unknown.
        summary: First line of its docstring.
    """

    parameters: tuple[Parameter, ...] = ()
    open: bool = False
    error: Mistake | None = None
    file: str = ""
    line: int = 0
    summary: str = ""


class CallProblem(Value, frozen=True, kw_only=True):
    """One thing that is wrong with one call's arguments.

    Attributes:
        site: ``CallSite.id``.
        argument: Name, or position as text, as the call has it; empty for the arguments as a whole.
        path: Into the value, to where it is wrong.
        message: What is wrong, without the argument's name: "expected `int`, got `str`".
        hint: The nearest right name; may be empty.
        code: ``"unknown-argument"``, ``"missing-argument"``, ``"duplicate-argument"``, ``"too-many-arguments"`` or
            ``"wrong-type"``.
    """

    site: int
    argument: str
    message: str
    path: tuple[str | int, ...] = ()
    hint: str = ""
    code: str = "wrong-type"


class InspectReply(Value, frozen=True, kw_only=True):
    """The answers: by module, by target (of modules that could be imported), and by call."""

    modules: dict[str, ModuleReport] = msgspec.field(default_factory=dict)
    targets: dict[str, TargetReport] = msgspec.field(default_factory=dict)
    problems: tuple[CallProblem, ...] = ()


# --- codec ------------------------------------------------------------------------------------------------------------


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """One frame."""
    return frame(_encoder.encode(message))


class Reader(Frames):
    """Cuts a stream of a call's channel into messages."""

    def __init__(self) -> None:
        super().__init__(_decoder.decode)
