"""The checked project: what the other rooms see of tasks.toml. Defaults are merged in, durations are seconds.

Look-ups (``{{ ... }}``) still stand in it as the user wrote them; resolve replaces them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from taskrun.config.source import SourceFile  # noqa: TC001 - msgspec resolves the annotations of what is encoded
from taskrun.model import Clocks, OnFailure, ProgressSource, Value


class GlobSource(Value, frozen=True, kw_only=True):
    """Files that a pattern matches, sorted, relative to the file's folder."""

    glob: tuple[str, ...]


class LinesSource(Value, frozen=True, kw_only=True):
    """The lines of a file, without their ends; empty ones left out."""

    lines: str


class RangeSource(Value, frozen=True, kw_only=True):
    """Whole numbers, both ends included."""

    first: int
    last: int


class ShellSource(Value, frozen=True, kw_only=True):
    """stdout of a command line (10 s at most), without its last newline; in `foreach`, its lines."""

    shell: str


class EnvSource(Value, frozen=True, kw_only=True):
    """A variable of the caller's environment."""

    env: str
    default: str | None = None


class Parameter(Value, frozen=True, kw_only=True):
    """A value that the command line may set.

    Attributes:
        type: ``"str"``, ``"int"``, ``"float"``, ``"bool"`` or ``"path"``.
        required: There is no default.
    """

    type: str = "str"
    choices: tuple[Any, ...] = ()
    default: Any = None
    required: bool = False
    help: str = ""


class Literal(Value, frozen=True, kw_only=True):
    """A value as it stands in the file; strings in it may hold look-ups."""

    value: Any


Source: TypeAlias = GlobSource | LinesSource | RangeSource | ShellSource | EnvSource | Parameter | Literal


class RetryRule(Value, frozen=True, kw_only=True):
    """One entry of `retry.on`.

    Attributes:
        kind: ``"exit"``, ``"signal"``, ``"timeout"``, ``"start"``, ``"idle"``, ``"stall"``, ``"exception"``,
            ``"lost"`` or ``"failure"``.
        value: The exit code, the signal's number, the exception's name; ``None`` for the others.
        negated: It excludes.
    """

    kind: str
    value: int | str | None = None
    negated: bool = False


class Retry(Value, frozen=True, kw_only=True):
    """When and how often an attempt is repeated. Delays in seconds; ``jitter``: full jitter below the doubled delay."""

    attempts: int = 1
    first_delay: float = 0.0
    longest_delay: float = 0.0
    jitter: bool = False
    on: tuple[RetryRule, ...] = ()


class When(Value, frozen=True, kw_only=True):
    """One table of `when`: all that is set must hold."""

    platform: tuple[str, ...] = ()  # "linux", "macos"
    env: tuple[str, ...] = ()  # NAME, !NAME, NAME=VALUE
    exists: tuple[str, ...] = ()  # paths or globs; "!" in front: must not


class PoolSpec(Value, frozen=True, kw_only=True):
    """A table of `[pools]`: persistent workers for tasks.

    Attributes:
        size: Workers at most; ``None``: as many as there are slots.
        preload: Modules that are imported before the workers are forked.
        setup: ``module:function``, called once in each worker; what it returns, if that is a context manager, is
            entered, and left when the worker ends.
        max_requests: A worker is replaced after so many tasks.
        max_memory: Bytes resident, above which it is replaced.
        startup_timeout: Seconds that its start may take; ``None``: the limit of imports.
    """

    size: int | None = None
    preload: tuple[str, ...] = ()
    setup: str | None = None
    max_requests: int | None = None
    max_memory: int | None = None
    startup_timeout: float | None = None


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task as the user wrote it, checked and completed from `[defaults]`.

    Exactly one of ``run``, ``shell``, ``python`` is set, or none of them: a group.
    """

    name: str
    description: str = ""
    run: tuple[str, ...] | None = None
    shell: str | None = None
    python: str | None = None
    args: dict[str, Any] | tuple[Any, ...] | None = None
    shell_argv: tuple[str, ...] = ("sh", "-eu", "-c")
    needs: tuple[str, ...] = ()
    finally_: tuple[str, ...] = ()
    foreach: dict[str, Source] = {}
    hidden: bool = False
    aliases: tuple[str, ...] = ()
    env: dict[str, str] = {}
    dotenv: tuple[str, ...] = ()
    cwd: str = "."
    when: tuple[When, ...] = ()
    success_codes: tuple[int, ...] = (0,)
    allow_failure: bool = False
    stop_signal: int = 15
    stdin: str | None = None
    output: str | None = None
    log: int | bool | None = None
    leak: str = "warn"
    interactive: bool = False
    grace: float | None = None
    clocks: Clocks = Clocks()
    retry: Retry = Retry()
    limits: dict[str, int] = {}
    slots: int | None = 1  # None: all
    progress: ProgressSource | None = None
    pool: str | None = None
    every: float | None = None  # seconds between the due moments of a recurring job
    cron: str | None = None

    @property
    def is_group(self) -> bool:
        """It has no command of its own."""
        return self.run is None and self.shell is None and self.python is None


class RunSettings(Value, frozen=True, kw_only=True):
    """`[run]`. Times in seconds; ``None`` where the file says nothing."""

    default: tuple[str, ...] = ()
    jobs: int | None = None
    on_failure: OnFailure = OnFailure.FINISH
    deadline: float | None = None
    grace: float = 5.0
    cleanup: float = 2.0
    python: str | None = None
    state: str = ".taskrun"
    keep_runs: int = 20
    queue: str | None = None


class Project(Value, frozen=True, kw_only=True):
    """The whole of one file, checked.

    Attributes:
        source: The file and where everything stands in it.
        root: Absolute folder of the file.
        tasks: By name, in file order.
    """

    source: SourceFile
    root: str
    run: RunSettings
    limits: dict[str, int]
    vars: dict[str, Source]
    env: dict[str, str]
    tasks: dict[str, TaskSpec]
    pools: dict[str, PoolSpec] = {}
