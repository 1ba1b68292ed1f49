"""What every executor promises, whatever carries its attempts: the fake that other tests trust, and the real ones.

To put another one to the test, write its ``Bench`` and add it to ``BENCHES``.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
import pytest
import trio
import trio.testing
from support.fakes import FOREVER, FakeExecutor, Recorder, attempt_of, fails, succeeds
from support.local_bench import (
    LocalBench,
    PooledBench,
    PortableBench,
    PortablePooledBench,
    PortablePythonBench,
    PythonBench,
)

from taskrun.events import TaskStart
from taskrun.model import Attempt, CancelKind, CancelReason, Outcome, State, Stopped, StopRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from taskrun.plan import Executor

INT, TERM = 2, 15
PATIENCE = 30.0  # seconds; only what hangs takes so long
FAILURE = CancelReason(kind=CancelKind.FAILURE, detail="other")
DEADLINE = CancelReason(kind=CancelKind.DEADLINE, detail="1m")
CTRL_C = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")


class Bench(Protocol):
    """An executor to be tested, and attempts that it can carry.

    The acts of attempts are ``"succeed"``, ``"fail"`` (with exit code 3), ``"last"`` (until asked to stop) and
    ``"resist"`` (for ever, whatever it is asked).
    """

    clock: trio.abc.Clock | None

    def executor(self) -> AbstractAsyncContextManager[Executor]:
        """The executor, for as long as the block lasts."""
        ...

    def attempt(self, act: str, task: str, **keys: Any) -> Attempt:
        """An attempt of that act; ``keys`` are those of ``Attempt``."""
        ...

    async def wait_ready(self, recorder: Recorder, task: str) -> None:
        """Returns when the attempt is under way, and one that resists has begun to."""
        ...


class FakeBench:
    """The executor that the scheduler's tests use."""

    ACTS: ClassVar = {"succeed": (0.1, succeeds()), "fail": (0.1, fails(3)), "last": FOREVER, "resist": FOREVER}

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self._script: dict[str, list[Any]] = {}
        self._stubborn: set[str] = set()

    @contextlib.asynccontextmanager
    async def executor(self):
        executor = FakeExecutor(self._script, stubborn=self._stubborn)
        yield executor
        assert executor.running == []

    def attempt(self, act, task, **keys):
        self._script[task] = [self.ACTS[act]]
        if act == "resist":
            self._stubborn.add(task)
        return attempt_of(task, **keys)

    async def wait_ready(self, recorder, task):
        await recorder.wait_for(lambda event: isinstance(event, TaskStart) and event.task == task)


BENCHES: list[Callable[[], Bench]] = [
    FakeBench,
    LocalBench,
    PythonBench,
    PooledBench,
    PortableBench,
    PortablePythonBench,
    PortablePooledBench,
]


@pytest.fixture(params=BENCHES, ids=lambda bench: bench.__name__)
def bench(request: pytest.FixtureRequest) -> Bench:
    return request.param()


class Trial:
    """An executor with attempts under way, their outcomes and what it told."""

    def __init__(self, bench: Bench, executor: Executor, nursery: trio.Nursery) -> None:
        self._bench, self._nursery = bench, nursery
        self.executor = executor
        self.recorder = Recorder()
        self.outcomes: dict[str, Outcome] = {}
        self.begun = trio.Event()
        self._ended: dict[str, trio.Event] = defaultdict(trio.Event)

    def begin(self, act: str, task: str = "a", **keys: Any) -> None:
        """Starts an attempt."""
        self._nursery.start_soon(self._carry, self._bench.attempt(act, task, **keys))

    async def ready(self, act: str, task: str = "a", **keys: Any) -> None:
        """Starts an attempt, and waits until it is under way."""
        self.begin(act, task, **keys)
        await self._bench.wait_ready(self.recorder, task)

    async def carry(self, act: str, task: str = "a", **keys: Any) -> Outcome:
        """Starts an attempt and waits for its outcome."""
        await self._carry(self._bench.attempt(act, task, **keys))
        return self.outcomes[task]

    async def outcome(self, task: str = "a") -> Outcome:
        """Waits for the outcome."""
        await self._ended[task].wait()
        return self.outcomes[task]

    def stop(self, task: str = "a", *, reason: CancelReason = CTRL_C, signal: int = TERM, grace: float | None = None):
        self.executor.stop(task, StopRequest(reason=reason, signal=signal, grace=grace))

    async def _carry(self, attempt: Attempt) -> None:
        self.begun.set()  # whoever waits for it has its turn after the first step of `execute`
        self.outcomes[attempt.task] = await self.executor.execute(attempt, self.recorder)
        self._ended[attempt.task].set()


def run(bench: Bench, test: Callable[[Trial], Awaitable[None]]) -> None:
    """Runs a test on a bench, within bounds."""

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with bench.executor() as executor, trio.open_nursery() as nursery:
                await test(Trial(bench, executor, nursery))
                nursery.cancel_scope.cancel()

    trio.run(main, clock=bench.clock)


def was_stopped(outcome: Outcome, *, reason: CancelReason = CTRL_C, killed: bool) -> bool:
    return outcome.state is State.CANCELLED and outcome.ending == Stopped(reason=reason, killed=killed)


# --- outcomes and events ----------------------------------------------------------------------------------------------


def test_success_is_an_outcome(bench):
    async def test(trial):
        outcome = await trial.carry("succeed")

        assert outcome.state is State.SUCCEEDED
        assert outcome.reason == ""

    run(bench, test)


def test_failure_is_an_outcome_that_says_why(bench):
    async def test(trial):
        outcome = await trial.carry("fail")

        assert outcome.state is State.FAILED
        assert outcome.exit_code == 3
        assert outcome.reason == "exit 3"

    run(bench, test)


def test_outcomes_can_be_written_and_read(bench):
    async def test(trial):
        for outcome in (await trial.carry("succeed", "a"), await trial.carry("fail", "b")):
            assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome

    run(bench, test)


def test_the_start_is_told_first_and_once_and_nothing_after_the_end(bench):
    async def test(trial):
        await trial.carry("succeed", number=2)
        events = list(trial.recorder.events)
        await trio.sleep(0.3)

        assert isinstance(events[0], TaskStart)
        assert len(trial.recorder.of(TaskStart)) == 1
        assert all((event.task, event.attempt) == ("a", 2) for event in events)
        assert trial.recorder.events == events

    run(bench, test)


def test_different_tasks_go_side_by_side_and_each_has_its_own_outcome(bench):
    async def test(trial):
        await trial.ready("last", "long")
        trial.begin("fail", "bad")
        trial.begin("succeed", "good")

        assert (await trial.outcome("bad")).state is State.FAILED
        assert (await trial.outcome("good")).state is State.SUCCEEDED
        assert "long" not in trial.outcomes
        trial.stop("long")
        assert was_stopped(await trial.outcome("long"), killed=False)

    run(bench, test)


def test_attempts_at_one_task_follow_each_other(bench):
    async def test(trial):
        for number in (1, 2, 3):
            assert (await trial.carry("fail", number=number)).state is State.FAILED
        assert [event.attempt for event in trial.recorder.of(TaskStart)] == [1, 2, 3]

    run(bench, test)


# --- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [INT, TERM])
def test_an_attempt_that_is_asked_to_stop_is_cancelled_and_says_by_what(bench, number):
    async def test(trial):
        await trial.ready("last")
        trial.stop(signal=number)

        outcome = await trial.outcome()
        assert was_stopped(outcome, killed=False)
        assert outcome.reason

    run(bench, test)


def test_one_that_resists_is_killed_after_its_own_grace_period(bench):
    async def test(trial):
        await trial.ready("resist", grace=0.5)
        asked = trio.current_time()
        trial.stop()

        assert was_stopped(await trial.outcome(), killed=True)
        assert trio.current_time() - asked >= 0.5

    run(bench, test)


def test_without_a_grace_period_it_is_killed_at_once(bench):
    async def test(trial):
        await trial.ready("resist", grace=PATIENCE)
        trial.stop(grace=0.0)

        assert was_stopped(await trial.outcome(), killed=True)

    run(bench, test)


def test_of_two_requests_the_shorter_grace_period_and_the_stronger_reason_win(bench):
    async def test(trial):
        await trial.ready("resist", "a", grace=PATIENCE)
        await trial.ready("resist", "b", grace=PATIENCE)
        trial.stop("a", reason=FAILURE)
        trial.stop("a", reason=CTRL_C, grace=0.3)
        trial.stop("b", reason=CTRL_C, grace=0.3)
        trial.stop("b", reason=DEADLINE, grace=PATIENCE)

        for name in "ab":
            assert was_stopped(await trial.outcome(name), killed=True)

    run(bench, test)


def test_to_ask_often_is_to_ask_once(bench):
    async def test(trial):
        await trial.ready("last")
        for _ in range(5):
            trial.stop()

        assert was_stopped(await trial.outcome(), killed=False)

    run(bench, test)


def test_a_request_in_the_first_step_of_an_attempt_is_not_lost(bench):
    async def test(trial):
        trial.begin("last")
        await trial.begun.wait()
        trial.stop()

        assert (await trial.outcome()).state is State.CANCELLED

    run(bench, test)


def test_a_request_for_what_does_not_run_is_ignored(bench):
    async def test(trial):
        trial.stop()
        assert (await trial.carry("succeed")).state is State.SUCCEEDED
        trial.stop()
        assert (await trial.carry("succeed", number=2)).state is State.SUCCEEDED

    run(bench, test)


# --- trio's own cancellation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["last", "resist"])
def test_cancelling_the_scope_ends_the_attempt_and_goes_on_upwards(bench, act):
    async def test(trial):
        with trio.move_on_after(0.5) as scope:
            await trial.carry(act, grace=PATIENCE)

        assert scope.cancelled_caught
        assert trial.outcomes == {}
        assert (await trial.carry("succeed", number=2)).state is State.SUCCEEDED

    run(bench, test)


def test_it_can_be_cancelled_at_every_step(bench):
    """At the n-th turn of the loop, for every n until the attempt is faster; the next attempt finds a clean place."""

    async def test(trial):
        number = 0
        for turns in range(60):
            number += 1
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, turns, scope)
                    outcome = await trial.carry("succeed", number=number)
                    assert outcome.state is State.SUCCEEDED
                    nursery.cancel_scope.cancel()
        assert (await trial.carry("succeed", number=number + 1)).state is State.SUCCEEDED

    async def cancel_after(turns, scope):
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    run(bench, test)
