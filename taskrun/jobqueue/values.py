"""What crosses the border of the queue: jobs, how they end, and what an engine must offer. It does nothing itself."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from taskrun.model import ResourceError, TaskrunError, UsageError, Value

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import trio

JobId: TypeAlias = int
"""Names a job for good: no engine uses a number twice."""

DAY = 86_400.0  # seconds
MOST_BYTES = 256 * 1024 * 1024  # of a job's arguments, and of its result, as JSON; SQLite takes a gigabyte for both


class JobState(enum.StrEnum):
    """Where a job stands."""

    BLOCKED = "blocked"  # the job that it comes after is not done
    DELAYED = "delayed"  # its time has not come: asked for, or the back-off of a retry
    READY = "ready"  # the next free worker takes it
    RUNNING = "running"  # a worker has it
    DONE = "done"
    DEAD = "dead"  # failed for good; kept, with what it was given, to be looked at and retried
    CANCELLED = "cancelled"

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it unless somebody asks for it."""
        return self in _SETTLED


_SETTLED = frozenset({JobState.DONE, JobState.DEAD, JobState.CANCELLED})


class NewJob(Value, frozen=True, kw_only=True):
    """A job to be stored.

    Attributes:
        task: Name of the task.
        args: What it is given; JSON-able.
        delay: Seconds from now before which it is not taken.
        at: Seconds since the epoch before which it is not taken; of the two the later counts.
        priority: The higher goes first; among equals the older.
        unique: Where an unsettled job has this key, nothing is stored, and that job's id comes back.
        max_attempts: How often it may be begun, attempts that died with their worker included.
        after: It waits until this job is done. If that one is cancelled, so is this one; if that one is dead, this one
            waits on, since a dead job may be retried.
    """

    task: str
    args: dict[str, Any] = {}
    delay: float = 0.0
    at: float | None = None
    priority: int = 0
    unique: str | None = None
    max_attempts: int = 3
    after: JobId | None = None


class Stored(Value, frozen=True, kw_only=True):
    """The job is stored, safe from a crash of the program and of the machine."""

    id: JobId


class Duplicate(Value, frozen=True, kw_only=True):
    """Nothing was stored: this job has the same unique key, and is not settled."""

    id: JobId


class Job(Value, frozen=True, kw_only=True):
    """A job as the one who carries it out sees it; times are seconds since the epoch.

    Attributes:
        attempt: The number of this attempt, from 1. It counts from when it was taken.
    """

    id: JobId
    task: str
    args: dict[str, Any]
    attempt: int
    max_attempts: int
    priority: int
    enqueued_at: float


# --- how an attempt at a job ends -------------------------------------------------------------------------------------


class Done(Value, frozen=True, kw_only=True):
    """It succeeded; ``result`` is JSON-able and kept with it. Here as below, ``run`` is the run that carried it out."""

    result: Any = None
    run: str | None = None


class Retry(Value, frozen=True, kw_only=True):
    """It failed, and may be tried again while it has attempts left.

    Attributes:
        error: Why, for people.
        delay: Seconds until the next attempt; ``None``: the engine's back-off.
    """

    error: str
    delay: float | None = None
    run: str | None = None


class Dead(Value, frozen=True, kw_only=True):
    """It failed, and no further attempt can help."""

    error: str
    run: str | None = None


class Cancelled(Value, frozen=True, kw_only=True):
    """It was stopped because somebody cancelled it."""

    error: str = "cancelled"
    run: str | None = None


class Released(Value, frozen=True, kw_only=True):
    """It is given back as if it had not been taken: the attempt does not count."""


JobOutcome: TypeAlias = Done | Retry | Dead | Cancelled | Released


class Lease(Protocol):
    """What a worker holds while it carries a job out."""

    @property
    def cancelled(self) -> trio.Event:
        """Set when somebody cancels the job: whoever carries it stops it, and says ``Cancelled``."""
        ...

    @property
    def descriptor(self) -> int | None:
        """An open file which every process of the job must inherit: until all have ended the job is nobody else's.

        ``None``: this engine has none.
        """
        ...


Handle: TypeAlias = Callable[[Job, Lease], Awaitable[JobOutcome]]
"""Carries one attempt out. An exception counts as ``Retry``; a trio cancellation as ``Released``."""


# --- what a worker takes ----------------------------------------------------------------------------------------------


class Cost(Value, frozen=True, kw_only=True):
    """What a job of a task takes while it runs.

    Attributes:
        slots: Of the worker's; at least one, and never more than the worker has.
        limits: Of named limits that all workers of the queue on this machine share; never more than the limit.
        here: Of what this worker alone has, such as the workers of a pool; never more than there are.
    """

    slots: int = 1
    limits: dict[str, int] = {}
    here: dict[str, int] = {}


class Allowance(Value, frozen=True, kw_only=True):
    """What a worker takes, and how much of it at once.

    Attributes:
        slots: How many jobs of one slot each.
        tasks: It takes jobs of these tasks alone; ``None``: of all, which cost one slot each.
        limits: How much of a named limit may be taken by all workers of the queue on this machine together.
        here: How much of what this worker alone has may be taken.
    """

    slots: int
    tasks: dict[str, Cost] | None = None
    limits: dict[str, int] = {}
    here: dict[str, int] = {}


class Recurring(Value, frozen=True, kw_only=True):
    """A task of which a job is stored whenever a moment comes, once for all workers.

    Attributes:
        task: Its name.
        latest: The last such moment at or before a moment, both in seconds since the epoch.
    """

    task: str
    latest: Callable[[float], float]


# --- looking at it ----------------------------------------------------------------------------------------------------


class JobRecord(Value, frozen=True, kw_only=True):
    """All that is known of a job; times are seconds since the epoch.

    Attributes:
        payload: Its arguments, in the bytes in which they were stored, also where these are no JSON.
        result: JSON, or ``None``.
        run: The run that carried out its last attempt; ``None``: that one has not ended, or died with its worker.
        worker: Who has it.
        cancelling: It runs, and has been asked to stop.
        why: Why it stands where it stands, for people; may be empty.
    """

    id: JobId
    task: str
    payload: bytes
    state: JobState
    priority: int
    attempt: int
    max_attempts: int
    enqueued_at: float
    due_at: float
    claimed_at: float | None
    settled_at: float | None
    worker: str | None
    unique: str | None
    after: JobId | None
    cancelling: bool
    error: str | None
    result: bytes | None
    run: str | None
    why: str


class Retention(Value, frozen=True, kw_only=True):
    """How many seconds settled jobs are kept."""

    done: float = 7 * DAY  # and cancelled
    dead: float = 30 * DAY


class QueueStats(Value, frozen=True, kw_only=True):
    """Counts by state, and the ages in seconds of what waits.

    Attributes:
        counts: How many jobs there are in each state.
        oldest_ready: Seconds since the oldest job that could be taken might have been; ``None``: there is none.
        next_due: Seconds until the next delayed job's time comes; ``None``: there is none.
        workers: How many workers live.
    """

    counts: dict[JobState, int]
    oldest_ready: float | None
    next_due: float | None
    workers: int


class QueueAdmin(Protocol):
    """Looks at jobs and changes their course."""

    def find(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        before: JobId | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Jobs, the newest first; ``before`` pages on. No states: all."""
        ...

    def show(self, job: JobId) -> JobRecord | None:
        """One job."""
        ...

    def retry(self, job: JobId) -> JobState:
        """Offers a dead or cancelled job again, with all of its attempts. Its state afterwards.

        Raises:
            NoSuchJob: There is none.
            UsageError: It is neither, or another one has its unique key.
        """
        ...

    def cancel(self, job: JobId) -> JobState:
        """Cancels a job; one that runs is asked to stop, and is still ``RUNNING``. Its state afterwards.

        Raises:
            NoSuchJob: There is none.
        """
        ...

    def prune(self, retention: Retention | None = None) -> int:
        """Forgets what settled longer ago than that. How many."""
        ...

    def stats(self) -> QueueStats:
        """How it stands."""
        ...


class QueueEngine(Protocol):
    """Keeps jobs. None that is stored is lost, no two live workers have the same one, attempts are bounded."""

    def enqueue(self, jobs: Sequence[NewJob], *, connection: Any = None) -> list[Stored | Duplicate]:
        """Stores all of them or none; when it returns they are safe.

        Args:
            jobs: In the order in which they are to be taken.
            connection: Of the application, on the same database: they are stored in its transaction, which the
                application commits, and safe when it has. ``wake`` then tells the workers.

        Raises:
            UsageError: A job is not well-formed.
            NoSuchJob: One comes after a job that is not there.
            ResourceError: The store is locked, full or out of reach.
        """
        ...

    def wake(self) -> None:
        """Tells workers that there may be something; never waits, never fails. Without it they look once a second."""
        ...

    async def serve(
        self,
        handle: Handle,
        *,
        allowance: Allowance,
        stop: trio.Event,
        drain: bool = False,
        recurring: Sequence[Recurring] = (),
    ) -> None:
        """Takes jobs and settles them, until ``stop`` is set and what runs has ended.

        A job is taken when its cost fits. One that only lacks slots holds up all that would come after it, so that
        it gets them in the end; one that lacks something else holds up only what needs the same.

        Args:
            handle: Carries a job out.
            allowance: What it takes, and how much at once.
            stop: Takes nothing new from then on.
            drain: Returns when nothing is ready, no retry is to come, and nothing runs here.
            recurring: Tasks of which it stores a job when their time has come. Of moments that were missed the last
                alone counts, none where the job of an earlier one is not settled, and none before a task was first
                seen.

        Raises:
            QueueRefused: The store is damaged.
        """
        ...

    def admin(self) -> QueueAdmin:
        """Looks at jobs and changes their course."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...


# --- errors -----------------------------------------------------------------------------------------------------------


class QueueRefused(UsageError):  # noqa: N818 - it names what happened
    """The store cannot be used as it is: damaged, of a newer version, on a network file system. Nothing was changed."""


class QueueBusy(ResourceError):  # noqa: N818 - it names what happened
    """Others have held the store for longer than one waits."""


class QueueUnwritable(ResourceError):  # noqa: N818 - it names what happened
    """The disk is full, or the store cannot be read or written."""


class NoSuchJob(TaskrunError):  # noqa: N818 - it names what happened
    """There is no job of that number, or none any more."""
