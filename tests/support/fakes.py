"""Stand-ins for the scheduler's neighbours: selections written by hand, and an executor that follows a script.

The fake executor passes the same contract suite as the real ones.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import trio

from taskrun.config.project import TaskSpec
from taskrun.events import AnyEvent, Emit, TaskStart
from taskrun.model import (
    Attempt,
    BinaryCommand,
    Clock,
    ClockHit,
    Exited,
    Outcome,
    Returned,
    State,
    Stopped,
    StopRequest,
)
from taskrun.plan import Executor, Plan, RuledOut
from taskrun.resolve import Instance, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

# --- selections -------------------------------------------------------------------------------------------------------


def task(name: str, *needs: str, group: bool = False, finally_: Iterable[str] = (), **keys: Any) -> TaskSpec:
    """A task that needs others; ``keys`` are those of ``TaskSpec``."""
    command = {} if group or {"run", "shell", "python"} & keys.keys() else {"run": ("true",)}
    return TaskSpec(name=name, needs=needs, finally_=tuple(finally_), **command, **keys)


def selection(*specs: TaskSpec, requested: Iterable[str] | None = None) -> Selection:
    """A selection of plain tasks, without `foreach`; all of them asked for, but those that are another's `finally`."""
    cleaners = {name for spec in specs for name in spec.finally_}
    if requested is None:
        requested = [spec.name for spec in specs if spec.name not in cleaners]
    instances = {
        spec.name: Instance(
            name=spec.name,
            spec=spec,
            keys={},
            needs=spec.needs,
            finally_=spec.finally_,
            position=position,
            is_group=spec.is_group,
        )
        for position, spec in enumerate(specs)
    }
    return Selection(instances=instances, requested=tuple(requested), open_keys={})


def plan_of(*specs: TaskSpec, requested: Iterable[str] | None = None, **options: Any) -> Plan:
    """A plan of plain tasks; ``options`` are those of ``Plan``."""
    return Plan(selection(*specs, requested=requested), **{"limits": {}, "jobs": 1, **options})


# --- outcomes ---------------------------------------------------------------------------------------------------------


def succeeds(result: Any = None) -> Outcome:
    """Success, with a result."""
    return Outcome(state=State.SUCCEEDED, ending=Returned(), result=result)


def fails(code: int = 1) -> Outcome:
    """Failure by an exit code."""
    return Outcome(state=State.FAILED, ending=Exited(code=code), reason=f"exit {code}", exit_code=code)


def times_out(clock: Clock = Clock.TIMEOUT, after: float = 1.0) -> Outcome:
    """A clock ran out."""
    return Outcome(
        state=State.TIMED_OUT, ending=ClockHit(clock=clock, after=after), reason=f"timed out after {after:g}s"
    )


def stopped(request: StopRequest, *, killed: bool = False) -> Outcome:
    """Stopped as asked."""
    ending = Stopped(reason=request.reason, killed=killed)
    return Outcome(state=State.CANCELLED, ending=ending, reason=str(request.reason))


# --- the executor -----------------------------------------------------------------------------------------------------

Step = tuple[float, Outcome]
FOREVER: Step = (math.inf, succeeds())


def attempt_of(task: str, number: int = 1, **keys: Any) -> Attempt:
    """An attempt that no real executor has to carry out; ``keys`` are those of ``Attempt``."""
    defaults: dict[str, Any] = {"run": "r", "command": BinaryCommand(argv=("true",)), "cwd": "/", "env": {}}
    return Attempt(task=task, number=number, **{**defaults, **keys})


class FakeExecutor(Executor):
    """Follows a script, in whatever time trio's clock says it is.

    Args:
        script: Per task what each attempt does: so many seconds, then this outcome. The last step repeats; a task
            without a script succeeds at once.
        stubborn: Tasks that go on when asked to stop, until they are killed.
        demands: Per task what an attempt takes of each limit, for ``peaks``; by default one slot.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[Step]] | None = None,
        *,
        stubborn: Container[str] = (),
        demands: Callable[[str], Mapping[str, int]] = lambda _task: {"slots": 1},
    ) -> None:
        self._script = {} if script is None else script
        self._stubborn = stubborn
        self._demands = demands
        self._works: dict[str, _Work] = {}
        self._taken: Counter[str] = Counter()
        self.started: list[tuple[str, int]] = []
        self.ended: list[tuple[str, int]] = []
        self.requests: list[tuple[str, StopRequest]] = []
        self.peaks: Counter[str] = Counter()

    @property
    def running(self) -> list[str]:
        """The tasks whose attempts are under way."""
        return list(self._works)

    async def execute(self, attempt: Attempt, emit: Emit) -> Outcome:
        """Does what the script says, unless it is stopped."""
        assert attempt.task not in self._works, f"{attempt.task} runs twice at once"
        work = self._works[attempt.task] = _Work(attempt.grace)
        self.started.append((attempt.task, attempt.number))
        self._taken.update(self._demands(attempt.task))
        self.peaks |= self._taken
        try:
            emit(TaskStart(task=attempt.task, attempt=attempt.number))
            seconds, outcome = self._step(attempt)
            if seconds <= 0:
                return outcome
            with trio.move_on_after(seconds):
                killed = await work.wait_stopped(stubborn=attempt.task in self._stubborn)
                assert work.request is not None
                return stopped(work.request, killed=killed)
            return outcome if work.request is None else stopped(work.request)
        finally:
            self._taken.subtract(self._demands(attempt.task))
            self.ended.append((attempt.task, attempt.number))
            del self._works[attempt.task]

    def stop(self, task: str, request: StopRequest) -> None:
        """Asks; what it then does depends on whether it is stubborn."""
        self.requests.append((task, request))
        if task in self._works:
            self._works[task].ask(request)

    def _step(self, attempt: Attempt) -> Step:
        steps = self._script.get(attempt.task, [(0.0, succeeds())])
        return steps[min(attempt.number, len(steps)) - 1]


class _Work:
    """One attempt under way, and what it has been asked."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._kill_at = math.inf
        self._asked = trio.Event()
        self.request: StopRequest | None = None

    def ask(self, request: StopRequest) -> None:
        grace = self._grace if request.grace is None else request.grace
        self._kill_at = min(self._kill_at, trio.current_time() + grace)
        if self.request is None or request.reason.kind > self.request.reason.kind:
            self.request = request
        self._asked.set()

    async def wait_stopped(self, *, stubborn: bool) -> bool:
        """Returns whether it had to be killed."""
        await self._asked.wait()
        while stubborn and trio.current_time() < self._kill_at:
            self._asked = trio.Event()
            with trio.move_on_at(self._kill_at):
                await self._asked.wait()
        return stubborn or self._kill_at <= trio.current_time()


# --- the rest ---------------------------------------------------------------------------------------------------------


class Recorder:
    """Takes events and keeps them, with the time of each."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.times: list[float] = []
        self._told = trio.Event()

    def __call__(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.times.append(trio.current_time())
        self._told.set()

    def of(self, kind: type) -> list[Any]:
        """Those of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, is_it: Callable[[AnyEvent], bool]) -> None:
        """Returns when such an event has been told."""
        while not any(map(is_it, self.events)):
            self._told = trio.Event()
            await self._told.wait()


def prepare_plainly(task: str, number: int) -> Attempt | RuledOut | Outcome:
    """Prepares attempts for a ``FakeExecutor``."""
    return attempt_of(task, number)
