"""Carries out an attempt whose call is a persistent worker's: waits for one, has its turn, and leaves it to the next.

While it waits no clock of the attempt counts; from then on it is like a call in a worker of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from taskrun.execute.binary import started, watch
from taskrun.execute.python_call import IMPORT_TIMEOUT, PythonAttempt
from taskrun.model import Clock, Clocks, SpawnFailed, Stopped
from taskrun.worker import wire
from taskrun.workers.errors import WorkersError, WorkerStartFailed

if TYPE_CHECKING:
    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.pool_worker import TaskTurn
    from taskrun.execute.pools import Crew
    from taskrun.execute.running import Running
    from taskrun.model import Outcome

_NO_CLOCKS = Clocks()


class PooledAttempt(PythonAttempt):
    """One call, in one of the workers of a pool."""

    def __init__(self, running: Running, equipment: Equipment, emit: Emit) -> None:
        super().__init__(running, equipment, emit)
        assert self.command.pool is not None
        assert equipment.machinery.pools is not None
        self.sink.read_first = None
        self.sink.read_rest = self._read_rest
        self.sink.dump = _dump
        self._crew: Crew = equipment.machinery.pools.crew(self.command.pool)
        self._turn: TaskTurn | None = None
        self._all_read = False
        self._is_imported = False  # its worker has called the same function before
        running.control = self

    async def _carry_out(self, call: bytes) -> Outcome:
        try:
            turn = await self._await_turn(call)
        except WorkersError as failure:
            return self._refused(failure)
        if turn is None:
            assert self.running.stopping is not None
            return self.running.without_process(Stopped(reason=self.running.stopping.reason))
        try:
            outcome = await watch(self.running, self.sink)
            await self.settle_checkpoints(outcome)
            return outcome
        finally:
            self._leave(turn)

    def _leave(self, turn: TaskTurn) -> None:
        """Its turn is over, whatever has become of it: nothing of it stays with the worker."""
        if turn.worker is None:
            self._crew.staff.queue.withdraw(turn)
        elif turn.whole and self._all_read:
            turn.worker.put_down()
        else:
            turn.worker.end(now=True)  # mostly it is dead already

    def _refused(self, failure: WorkersError) -> Outcome:
        text = str(failure)
        if isinstance(failure, WorkerStartFailed):
            if failure.traceback:
                self.sink.stderr(f"{failure.traceback.rstrip()}\n".encode(errors="backslashreplace"))
            if failure.kind == "state":
                text = "its setup failed" + text.removeprefix("the worker's state could not be made")
        ending = SpawnFailed(kind="pool", message=f"pool `{self.command.pool}`: {text}")
        return self.running.without_process(ending, log=self.sink.log_path)

    async def _await_turn(self, call: bytes) -> TaskTurn | None:
        """Its turn, once a worker has it; ``None``: it was stopped before.

        Raises:
            WorkersError: There will be none.
        """
        turn = self._turn = self._crew.enqueue(call, self)
        try:
            while turn.worker is None and self.running.stopping is None:  # it may be woken for other reasons
                with self.running.until_stopped(math.inf):
                    await turn.wait_news()
        except BaseException:
            self._leave(turn)
            raise
        if turn.worker is not None:
            return turn
        self._leave(turn)
        return None

    def _encoded_call(self) -> bytes:
        base, environ = self._crew.plan.env, self.sink.environment()
        env: dict[str, str | None] = dict(environ.items() - base.items())
        for name in base.keys() - environ.keys():
            env[name] = None
        return wire.encode(self.call(env))

    # --- what its worker tells (see ``pool_worker.Attends``)

    def begun(self, turn: TaskTurn) -> None:
        """See there."""
        assert turn.worker is not None
        self._is_imported = self.command.target in turn.worker.called
        if not self._is_imported:
            self.running.only_clocks(Clocks(timeout=IMPORT_TIMEOUT), name=Clock.IMPORT)
        self.running.begin(turn)
        self.running.on_resume = self._tell_time_left
        self.emit(started(self.attempt, turn))
        self.sink.listen()

    def heard(self, message: wire.AnyMessage) -> None:
        """See there."""
        self._take(message, self.equipment.clock.now())
        if isinstance(message, wire.Failure) and self._turn is not None:
            self._turn.status = (1 if message.code is None else message.code) << 8
        if self.attempt.clocks != _NO_CLOCKS and isinstance(message, wire.Result | wire.Failure):
            self.running.only_clocks(_NO_CLOCKS)  # what the worker still has to do is not the task's time

    def start_clocks(self, now: float) -> None:
        """See there."""
        if self._is_imported:  # they count already, from a moment ago
            self.running.started = now
            self.running.clocks.restart(now)
            return
        assert self._turn is not None
        assert self._turn.worker is not None
        self._turn.worker.called.add(self.command.target)
        super().start_clocks(now)

    def wrote(self, stream: str, data: bytes) -> None:
        """See there."""
        (self.sink.stdout if stream == "stdout" else self.sink.stderr)(data)

    async def _read_rest(self) -> bool:
        if self._turn is not None and self._turn.worker is not None and self._turn.whole:
            await self._turn.worker.read_rest(held=self.running.stopping is None)
            self._all_read = True
        return True

    def _send_now(self, message: wire.CheckpointSaved | wire.ClockUpdate) -> None:
        if self._turn is not None and self._turn.worker is not None and self._turn.usage is None:
            self._turn.worker.tell(message)

    # --- signals (see ``running.Control``)

    def stop(self, process: Any, number: int) -> None:
        """See there."""
        process.worker.ask(number)

    def kill(self, process: Any) -> None:
        """See there."""
        process.worker.end(now=True)


def _dump(turn: TaskTurn) -> None:
    if turn.worker is not None:
        turn.worker.dump()
