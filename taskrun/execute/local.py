"""The executor of this machine: carries each attempt to its outcome, as a program, a Python call or at the terminal.

It keeps the attempts under way by their task, so that stops, pauses and questions find them; what each kind does is
in its own module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import trio

from taskrun.execute import binary
from taskrun.model import BinaryCommand, PythonCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.running import Running
    from taskrun.model import Attempt, Outcome, StopRequest


class LocalExecutor:
    """Executes attempts through the run's host; see ``plan.Executor`` for the promise."""

    def __init__(self, equipment: Equipment, *, on_keyboard_interrupt: Callable[[], None] = lambda: None) -> None:
        self._equipment = equipment
        self._on_keyboard_interrupt = on_keyboard_interrupt
        self._running: dict[str, Running] = {}
        self._one_at_the_terminal = trio.Lock()

    @property
    def has_the_keyboard(self) -> bool:
        """Whether an interactive task runs: the keyboard's signals are its affair then."""
        return self._one_at_the_terminal.locked()

    def running(self) -> Iterable[tuple[str, Running]]:
        """The attempts under way, by task, the oldest first."""
        return list(self._running.items())

    async def execute(self, attempt: Attempt, emit: Emit) -> Outcome:
        """Carries out one attempt. Cancelled by trio, it kills what it started, waits for its end, and re-raises."""
        running = self._equipment.running(attempt)
        self._running[attempt.task] = running
        self._equipment.machinery.attempts += 1
        if self._equipment.outputs.held:
            running.clocks.hold(self._equipment.clock.now())
        try:
            match attempt.command:
                case BinaryCommand() if attempt.interactive:
                    return await self._at_the_terminal(running, emit)
                case BinaryCommand():
                    return await binary.carry_out(running, self._equipment, emit)
                case PythonCall(pool=None):
                    from taskrun.execute import python_call  # most runs have none, or no interactive task

                    return await python_call.carry_out(running, self._equipment, emit)
                case PythonCall():
                    from taskrun.execute import pooled_call, python_call

                    return await python_call.carry_out(
                        running, self._equipment, emit, attempt=pooled_call.PooledAttempt
                    )
                case _:
                    assert_never(attempt.command)
        finally:
            del self._running[attempt.task]
            self._equipment.machinery.attempts -= 1

    async def _at_the_terminal(self, running: Running, emit: Emit) -> Outcome:
        from taskrun.execute import interactive

        async with self._one_at_the_terminal:
            self.hold_clocks()  # nobody reads the others' output meanwhile
            try:
                outcome = await interactive.carry_out(running, self._equipment, emit)
            finally:
                self.release_clocks()
        if not interactive.was_interrupted(outcome):
            return outcome
        self._on_keyboard_interrupt()
        return interactive.as_cancelled(outcome)

    def stop(self, task: str, request: StopRequest) -> None:
        """Asks the task's attempt to end; nothing happens if it has none under way."""
        running = self._running.get(task)
        if running is not None:
            running.stop(request)

    def hold_clocks(self) -> None:
        """Output is not being read any more: idle and stalled clocks stand still."""
        now = self._equipment.clock.now()
        for running in self._running.values():
            running.clocks.hold(now)

    def release_clocks(self) -> None:
        """Output is read again, unless somebody else still holds it up."""
        if self._equipment.outputs.held:
            return
        now = self._equipment.clock.now()
        for running in self._running.values():
            running.clocks.release(now)
            running.wake()

    def resumed(self) -> None:
        """The run's clock goes on after a pause: everyone looks at it anew, workers are told what time is left."""
        for running in self._running.values():
            running.on_resume()
            running.wake()

    def tick(self) -> None:
        """Called several times a second: held-back progress is told."""
        for running in self._running.values():
            running.on_tick()
