"""The loop of a queue worker, for all engines: when to take jobs, to settle them, to look after others, and to end.

It decides about time and trouble alone. How jobs are kept, and how one knows that workers live, is the engine's part,
which it asks for turns; how a job is carried out is somebody else's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import trio

from taskrun.jobqueue.carrying import Settlement, Turn, carry
from taskrun.jobqueue.values import QueueBusy, QueueRefused, QueueUnwritable, Released

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from taskrun.jobqueue.carrying import Claim
    from taskrun.jobqueue.room import Costs
    from taskrun.jobqueue.values import Handle

POLL = 1.0  # seconds, after which one looks though nobody has rung
FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds between tries while the store cannot be reached or written
LAST_WORDS = 5.0  # seconds in which a worker that is cancelled gives its jobs back
_QUIET = 30.0  # seconds in which the same trouble is not told again


class Keeper(Protocol):
    """An engine's side of one worker. Each method may raise QueueBusy, QueueUnwritable or QueueRefused."""

    @property
    def descriptor(self) -> int | None:
        """See ``Lease``."""
        ...

    def may_take(self) -> bool:
        """Whether it is sure enough that others know it lives."""
        ...

    async def turn(self, settled: list[Settlement], held: list[Claim], take: int) -> Turn:
        """Settles all or nothing, and takes up to ``take`` jobs for which there is room."""
        ...

    async def chores(self) -> list[int]:
        """Looks after what others left; the jobs that are offered again."""
        ...

    async def is_drained(self) -> bool:
        """Whether nothing is ready for this worker, now or when there is room, and no retry is to come."""
        ...


class HeldJob:
    """A job that this worker has; what its carrier is given is a ``Lease``."""

    def __init__(self, claim: Claim, descriptor: int | None) -> None:
        self.claim = claim
        self.cancelled = trio.Event()
        self.scope = trio.CancelScope()  # cancelled when the job is not this worker's any more
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int | None:
        """See ``Lease``."""
        return self._descriptor


class Serving:
    """One worker's loop.

    Args:
        keeper: Keeps the jobs.
        handle: Carries one out.
        costs: Of what the worker takes.
        stop: When it is set, nothing new is taken.
        drain: End when nothing is left.
        trouble: Told, in words for people, what the worker gets over by trying again.
        look_every: Seconds after which it looks in any case, where that has to be more often than ``POLL``.

    Attributes:
        settlements: Outcomes that are not recorded yet.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        handle: Handle,
        costs: Costs,
        stop: trio.Event,
        drain: bool,
        trouble: Callable[[str], None],
        look_every: float = math.inf,
    ) -> None:
        self.settlements: list[Settlement] = []
        self._keeper = keeper
        self._handle = handle
        self._costs = costs
        self._stop = stop
        self._drain = drain
        self._trouble = trouble
        self._look_every = min(POLL, look_every)
        self._held: dict[tuple[int, int], HeldJob] = {}  # by job and claim
        self._bell = trio.Event()
        self._next_look = -math.inf
        self._refused: QueueRefused | None = None
        self._quiet_until: dict[str, float] = {}  # by what was said

    async def serve(self, *attendants: Callable[[], Awaitable[None]]) -> None:
        """Serves until it is stopped or, if that was asked for, nothing is left; the attendants run beside it.

        Raises:
            QueueRefused: The store is damaged.
        """
        try:
            refused: QueueRefused | None = None
            async with trio.open_nursery() as nursery:
                for attend in attendants:
                    nursery.start_soon(attend)
                nursery.start_soon(self._await_stop)
                try:
                    await self._work(nursery)
                except QueueRefused as error:  # raised outside, so that it comes alone and not in a group
                    refused = error
                nursery.cancel_scope.cancel()
            if refused is not None:
                raise refused
        finally:
            if self.settlements:
                with trio.move_on_after(LAST_WORDS, shield=True):
                    await self._turn(last=True)

    # --- what attendants tell

    def ring(self) -> None:
        """There may be something to take."""
        self._bell.set()

    def refuse(self, error: QueueRefused) -> None:
        """The store cannot be used any more."""
        self._refused = error
        self._bell.set()

    def complain(self, error: Exception) -> None:
        """Of a store that is away once, and then once in a while, however often and by whom it is tried."""
        now = trio.current_time()
        if now >= self._quiet_until.get(str(error), -math.inf):
            self._quiet_until = {said: until for said, until in self._quiet_until.items() if until > now}
            self._quiet_until[str(error)] = now + _QUIET
            self._trouble(str(error))

    def abandon(self, why: str, jobs: Iterable[int] | None = None) -> None:
        """Stops what runs, or these jobs, since they may be another worker's by now."""
        only = None if jobs is None else set(jobs)
        for held in self._held.values():
            if not held.scope.cancel_called and (only is None or held.claim.id in only):
                self._trouble(f"job {held.claim.id} {why}")
                held.scope.cancel()

    # --- the loop

    async def _work(self, nursery: trio.Nursery) -> None:
        while True:
            self._bell = trio.Event()
            if self._refused is not None:
                raise self._refused
            if trio.current_time() >= self._next_look:
                await self._chores()
                self._next_look = trio.current_time() + self._look_every
            turn = await self._turn()
            self.abandon("is not this worker's any more: it is stopped here", turn.lost)
            for claim in turn.claims:  # which may be of one that was just lost
                held = self._held[claim.id, claim.number] = HeldJob(claim, self._keeper.descriptor)
                nursery.start_soon(self._carry, held)
            for held in self._held.values():
                if held.claim.id in turn.cancelled:
                    held.cancelled.set()
            if not self._held and (self._stop.is_set() or (self._drain and await self._is_drained())):
                return
            # Never longer than a poll: then a clock that was set, and a wake that was lost, are noticed.
            is_full = self._stop.is_set() or not self._free_slots()
            until_due = math.inf if turn.due is None or is_full else max(0.0, turn.due)
            until_look = max(0.0, self._next_look - trio.current_time())
            with trio.move_on_after(min(until_look, until_due)):
                await self._bell.wait()

    async def _turn(self, *, last: bool = False) -> Turn:
        """A turn that succeeds, however long it takes: no outcome is dropped because a lock or a server is not free."""
        wait = FIRST_WAIT
        while True:
            settled = list(self.settlements)
            is_over = last or self._stop.is_set() or not self._keeper.may_take()
            claims = [held.claim for held in self._held.values()]
            try:
                turn = await self._keeper.turn(settled, claims, 0 if is_over else self._free_slots())
            except (QueueBusy, QueueUnwritable) as error:
                self.complain(error)
            else:
                break
            if self._stop.is_set() and not self._held:  # then there is nothing to be done any more
                return Turn()
            await trio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        for each in settled:
            self.settlements.remove(each)
            self._held.pop((each.id, each.number), None)
            if each.id in turn.fenced and not isinstance(each.outcome, Released):
                self._trouble(f"job {each.id} is not this worker's any more: how it ended here does not count")
        return turn

    def _free_slots(self) -> int:
        """How many slots no job has that is not over."""
        over = {(each.id, each.number) for each in self.settlements}
        running = (held.claim.task for key, held in self._held.items() if key not in over)
        return max(0, self._costs.slots - self._costs.slots_of(running))

    async def _is_drained(self) -> bool:
        try:
            return await self._keeper.is_drained()
        except (QueueBusy, QueueUnwritable) as error:
            self.complain(error)
            return False

    async def _chores(self) -> None:
        try:
            returned = await self._keeper.chores()
        except (QueueBusy, QueueUnwritable) as error:  # they have time
            self.complain(error)
            return
        for job in returned:
            self._trouble(f"job {job} was a worker's that has ended: it is offered again, or dead")

    async def _carry(self, held: HeldJob) -> None:
        settlement = Settlement(id=held.claim.id, number=held.claim.number, outcome=Released())
        try:
            with held.scope:
                settlement = await carry(held.claim, self._handle, held, self._trouble)
        finally:
            self.settlements.append(settlement)
            self._bell.set()

    async def _await_stop(self) -> None:
        await self._stop.wait()
        self._bell.set()
