"""The pools of a run: each is staffed when its first task comes, and sent home when the tasks are over.

They are the pools of ``taskrun.workers`` with another conversation; what a task does in one is not known here.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import trio

from taskrun.config.wording import printed
from taskrun.events import DiagnosticEvent, PoolState
from taskrun.execute.pool_worker import TaskTurn, TaskWorker
from taskrun.model import Diagnostic, Value
from taskrun.workers.birthplace import Birthplace
from taskrun.workers.settings import Settings, Timeouts
from taskrun.workers.staff import Staff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskrun.events import Emit
    from taskrun.execute.pool_worker import Attends
    from taskrun.execute.pump import Pump
    from taskrun.link import Link, TemplateSpec


class PoolPlan(Value, frozen=True, kw_only=True):
    """What a pool of the run is made of.

    Attributes:
        size: Workers; no more than there are tasks for.
        env: What the workers are born with. A call's variables are told as differences from it.
        startup_timeout: Seconds for a worker to be ready.
        grace: Seconds to leave the setup at the end.
    """

    size: int
    template: TemplateSpec
    env: dict[str, str]
    setup: str | None
    max_requests: int | None
    max_memory: int | None
    startup_timeout: float
    grace: float


class Crew:
    """The workers of one pool."""

    def __init__(self, name: str, plan: PoolPlan, staff: Staff, said: bytearray) -> None:
        self.name = name
        self.plan = plan
        self.staff = staff
        self.said = said
        self._number = 0
        self._told: PoolState | None = None

    def enqueue(self, call: bytes, attempt: Attends) -> TaskTurn:
        """Another call, which waits for its turn.

        Raises:
            WorkersError: The pool takes nothing any more.
        """
        self.staff.refuse_if_over()
        self._number += 1
        turn = TaskTurn(self._number, call, attempt)
        self.staff.submit(turn)
        return turn

    def tell(self, emit: Emit) -> None:
        """Tells how it stands, if that has changed."""
        now = self.staff.statistics
        state = PoolState(
            pool=self.name,
            size=self.plan.size,
            workers=now.workers,
            busy=now.busy,
            starting=now.starting,
            restarts=now.started - self.staff.most,
        )
        if state != self._told:
            self._told = state
            emit(state)


class Pools:
    """All pools of a run; ``serve`` before the first attempt, ``close`` after the last."""

    def __init__(self, link: Link, outputs: Pump, plans: Mapping[str, PoolPlan]) -> None:
        self._link = link
        self._outputs = outputs
        self._plans = plans
        self._nursery: trio.Nursery | None = None
        self._crews: dict[str, Crew] = {}
        self._closing = trio.CancelScope()  # of the time that workers have to go home
        self._is_closing = False
        self._patience = math.inf

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Where the pools live; run it in the nursery of the run."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def crew(self, name: str) -> Crew:
        """The workers of the pool of this name; they are started with the first call."""
        found = self._crews.get(name)
        if found is None:
            found = self._crews[name] = self._engage(name, self._plans[name])
        return found

    def _engage(self, name: str, plan: PoolPlan) -> Crew:
        assert self._nursery is not None
        place = Birthplace(self._link, plan.template, "", env=plan.env, startup=plan.startup_timeout, stdout=-1)
        settings = Settings(
            size=plan.size,
            timeouts=Timeouts(startup=plan.startup_timeout),
            max_requests=plan.max_requests,
            max_memory=plan.max_memory,
            grace=plan.grace,
            on_demand=True,
        )
        said = bytearray()
        engage = functools.partial(TaskWorker, outputs=self._outputs, setup=plan.setup, said=said)
        staff = Staff(place, self._nursery, settings, engage)
        staff.begin()
        return Crew(name, plan, staff, said)

    def tick(self, emit: Emit) -> None:
        """Some time has passed: tells how the pools stand."""
        for crew in self._crews.values():
            crew.tell(emit)

    def hold(self) -> None:
        """All stands still until ``release``: no worker is late."""
        for crew in self._crews.values():
            for member in crew.staff.everyone():
                member.hold()

    def release(self) -> None:
        """It goes on."""
        for crew in self._crews.values():
            for member in crew.staff.everyone():
                member.release()

    def hurry(self, seconds: float) -> None:
        """Who has not gone home so long after the last task, or after now if that is over, is killed."""
        self._patience = min(self._patience, seconds)
        if self._is_closing:
            self._closing.deadline = min(self._closing.deadline, trio.current_time() + seconds)

    async def close(self, emit: Emit) -> None:
        """Sends all workers home: they leave their setups, within the grace period."""
        self.tick(emit)
        self._is_closing = True
        self._closing.deadline = trio.current_time() + self._patience
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurry_up)
            async with trio.open_nursery() as leaving:
                for crew in self._crews.values():
                    leaving.start_soon(crew.staff.close)
            nursery.cancel_scope.cancel()
        self.tick(emit)
        self._tell_said(emit)

    async def _hurry_up(self) -> None:
        with self._closing:
            await trio.sleep_forever()
        for crew in self._crews.values():
            for member in crew.staff.everyone():
                member.end(now=True)

    def _tell_said(self, emit: Emit) -> None:
        for crew in self._crews.values():
            for text in printed(f"pool `{crew.name}`", bytes(crew.said)):
                emit(DiagnosticEvent(diagnostic=Diagnostic(code="pool", message=text, level="warning")))
