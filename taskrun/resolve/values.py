"""What resolve takes and hands on: the request, instances, the selection, views of other tasks, call sites, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.model import TaskrunError, UsageError, Value

if TYPE_CHECKING:
    from taskrun.config.project import TaskSpec


class Request(Value, frozen=True, kw_only=True):
    """What the command line asked for, and the facts of the run that look-ups may ask for.

    Attributes:
        targets: Task names, aliases, globs or instance names; empty: `[run] default`.
        assignments: ``KEY=VALUE``, in order.
        extra: What stood after ``--``; ``None`` where there was no ``--``.
        environ: The caller's environment.
        cwd: Absolute folder that taskrun was started in (`run.cwd`).
        run_id: `run.id`.
        run_folder: `run.folder`, absolute.
        jobs: Slots of the run.
        limits: ``--limit`` overrides.
        colour: Whether the runner's own output is coloured.
        dry: `{ shell }` sources are not run: they yield a visible placeholder.
        job: Id of the queue's job that it carries out; ``None``: of none.
        later: It will be carried out by another process: what environments, commands and files that are missing will
            say is not known.
    """

    targets: tuple[str, ...] = ()
    assignments: dict[str, str] = msgspec.field(default_factory=dict)
    extra: tuple[str, ...] | None = None
    environ: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str = "/"
    run_id: str = ""
    run_folder: str = ""
    jobs: int = 1
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    colour: bool = False
    dry: bool = False
    job: int | None = None
    later: bool = False


class Instance(msgspec.Struct, frozen=True, gc=False):
    """One task of the selection: a plain task, one instance of a `foreach`, or a group.

    Attributes:
        name: ``transcode[clip=in/a.mov]``, or the task's name.
        keys: The values of its `foreach` keys, in the order of the file.
        needs: Names of the instances it depends on.
        finally_: Names of the instances that run after it, however it ends.
        position: Its place in the order of the file, from 0.
        is_group: It settles by itself once what it needs has: a group, or a `foreach` without values.
    """

    name: str
    spec: TaskSpec
    keys: dict[str, Any]
    needs: tuple[str, ...]
    finally_: tuple[str, ...]
    position: int
    is_group: bool


class Selection(Value, frozen=True, kw_only=True):
    """What was asked for, with all that it needs.

    Attributes:
        instances: By name, in the order of the file: what was asked for, its dependencies, the `finally` tasks.
        requested: Names of the instances that were asked for.
        open_keys: ``KEY=VALUE`` that may be arguments of Python tasks: ``Resolver.accept_open_keys`` decides.
    """

    instances: dict[str, Instance]
    requested: tuple[str, ...]
    open_keys: dict[str, str] = msgspec.field(default_factory=dict)


class TaskView(Value, frozen=True, kw_only=True):
    """What look-ups may ask of another instance: its state as text (``"succeeded"``) and its result."""

    state: str
    result: Any = None


class CallSite(Value, frozen=True, kw_only=True):
    """One Python call of the selection as far as it is known before anything runs, for the inspection.

    Attributes:
        instance: Name of the instance.
        task: Name of the task; with an argument's name the place of a mistake.
        target: ``module:function``, or a module that is only imported.
        args: Positional arguments; ``None`` stands where a name of ``unknown`` is.
        kwargs: Arguments by name, less those in ``unknown``.
        unknown: Names (or positions as text) of arguments that depend on results.
        lax: Names (or positions as text) of arguments that are texts from outside, to be converted leniently.
        pool: The pool whose workers make it; empty: it gets a worker of its own.
        place: Where the target stands in the file; empty: in the task's table.
    """

    instance: str
    task: str
    target: str
    pool: str = ""
    place: tuple[str | int, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    lax: tuple[str, ...] = ()

    @property
    def whose(self) -> str:
        """The task or the pool, in words."""
        return f"task `{self.task}`" if self.task else f"pool `{self.pool}`"


class LookUpError(TaskrunError):
    """An attempt cannot be put together: a look-up depends on a result that is not there."""


class ShellFailed(TaskrunError):  # noqa: N818 - the family of model.TaskrunError is named after what happened
    """A `{ shell }` source could not be read; the message is a clause such as ``exit 128: not a git repository``."""


class NothingAsked(UsageError):  # noqa: N818 - as above
    """No task was named and the file has no `[run] default`; whoever shows this shows the list of tasks with it."""


class Unknown:
    """The type of ``UNKNOWN``: a value that is not known yet, or whose mistake has been reported already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


class Loose(str):
    """A text that came from outside (command line, environment, a command, a file): converted leniently for Python."""

    __slots__ = ()
