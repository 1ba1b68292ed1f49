"""A queue worker on a PostgreSQL server: takes jobs, has them carried out, settles them, in one trio loop.

All that waits for the server is done in threads. This decides when to look and what to do about trouble, and knows
nothing of tables, or of how a job is carried out.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from taskrun.jobqueue.carrying import Claim, Settlement, carry
from taskrun.jobqueue.postgres_attendance import Attendance, Watch
from taskrun.jobqueue.postgres_database import PostgresDatabase
from taskrun.jobqueue.postgres_store import PostgresStore, Turn
from taskrun.jobqueue.room import Costs
from taskrun.jobqueue.sqlite_recurring import Ticker
from taskrun.jobqueue.values import (
    QueueBusy,
    QueueRefused,
    QueueUnwritable,
    Released,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.postgres_address import Address
    from taskrun.jobqueue.values import Allowance, Handle, Recurring, Retention

T = TypeVar("T")

POLL = 1.0  # seconds, after which one looks though nobody has rung
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0  # seconds between tries while the server does not answer
_LAST_WORDS = 5.0  # seconds in which a worker that is cancelled gives its jobs back
_QUIET = 30.0  # seconds in which the same trouble is not told again
_PATIENCE = 1.0  # seconds that a turn waits for a lock before it says so; the worker tries again for ever


class PostgresLease:
    """What a job's carrier holds; see `Lease`."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.cancelled = trio.Event()
        self.scope = trio.CancelScope()  # cancelled when the job is not this worker's any more

    @property
    def descriptor(self) -> int | None:
        """There is none: the server knows nothing of this machine's processes."""
        return None


class Service:
    """One worker, for one ``run``; the arguments are those of `PostgresQueue` and its ``serve``."""

    def __init__(
        self,
        *,
        address: Address,
        limit: float,
        handle: Handle,
        allowance: Allowance,
        stop: trio.Event,
        drain: bool,
        recurring: Sequence[Recurring],
        chance: random.Random,
        retention: Retention | None,
        trouble: Callable[[str], None],
    ) -> None:
        self._handle = handle
        self._costs = Costs(allowance)
        self._stop = stop
        self._drain = drain
        self._trouble = trouble
        self._attendance = Attendance(PostgresDatabase(address, idle=limit), limit)
        self._store = PostgresStore(
            PostgresDatabase(address, patience=_PATIENCE, idle=limit),
            self._attendance,
            costs=self._costs,
            chance=chance,
            retention=retention,
            watch=Watch(limit),
            ticker=Ticker(recurring, trouble) if recurring else None,
        )
        self._leases: dict[tuple[int, int], PostgresLease] = {}  # by job and claim
        self._settlements: list[Settlement] = []
        self._bell = trio.Event()
        self._refused: QueueRefused | None = None  # a heartbeat
        self._quiet_until: dict[str, float] = {}  # by what was said
        self._next_chores = -math.inf
        self._fence_every = min(POLL, limit / 20)

    async def run(self) -> None:
        """Serves until it is stopped or, if that was asked for, nothing is left."""
        try:
            await trio.to_thread.run_sync(self._attendance.enter)
            try:
                await self._serve()
            finally:
                with trio.move_on_after(_LAST_WORDS, shield=True):
                    await self._leave()
        finally:
            self._store.close()
            self._attendance.close()

    async def _serve(self) -> None:
        try:
            refused: QueueRefused | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._attend)
                nursery.start_soon(self._await_stop)
                try:
                    await self._work(nursery)
                except QueueRefused as error:  # raised outside, so that it comes alone and not in a group
                    refused = error
                nursery.cancel_scope.cancel()
            if refused is not None:
                raise refused
        finally:
            if self._settlements:
                with trio.move_on_after(_LAST_WORDS, shield=True):
                    await self._turn(last=True)

    async def _leave(self) -> None:
        try:
            await trio.to_thread.run_sync(self._attendance.leave)
        except (QueueBusy, QueueUnwritable) as error:  # others will notice
            self._complain(error)

    async def _work(self, nursery: trio.Nursery) -> None:
        while True:
            self._bell = trio.Event()
            if self._refused is not None:
                raise self._refused
            if trio.current_time() >= self._next_chores:
                await self._chores()
                # Who looks too seldom does not see that others stand still.
                self._next_chores = trio.current_time() + min(POLL, self._attendance.limit / 4)
            turn = await self._turn()
            for claim in turn.claims:
                lease = self._leases[claim.id, claim.number] = PostgresLease(claim)
                nursery.start_soon(self._carry, lease)
            self._tell(turn)
            if not self._leases and (self._stop.is_set() or (self._drain and await self._is_drained())):
                return
            # What is overdue and was not taken waits for the bell, or for the next look.
            until_due = turn.due if turn.due is not None and turn.due > 0 and not self._stop.is_set() else math.inf
            until_chores = max(0.0, self._next_chores - trio.current_time())
            with trio.move_on_after(min(until_chores, until_due)):
                await self._bell.wait()

    def _tell(self, turn: Turn) -> None:
        for lease in self._leases.values():
            if lease.claim.id in turn.cancelled:
                lease.cancelled.set()
            if lease.claim.id in turn.lost and not lease.scope.cancel_called:
                self._trouble(f"job {lease.claim.id} is not this worker's any more: it is stopped here")
                lease.scope.cancel()

    async def _turn(self, *, last: bool = False) -> Turn:
        """A turn that succeeds, however long it takes: no outcome is dropped because the server is not there."""
        wait = _FIRST_WAIT
        while True:
            settled = list(self._settlements)
            take = 0 if last or self._stop.is_set() or self._attendance.left() <= 0 else self._free_slots()
            held = [lease.claim for lease in self._leases.values()]
            try:
                turn = await trio.to_thread.run_sync(partial(self._store.turn, settled, held, take=take))
            except (QueueBusy, QueueUnwritable) as error:
                self._complain(error)
            else:
                break
            if self._stop.is_set() and not self._leases:  # then there is nothing to be done any more
                return Turn()
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
        for each in settled:
            self._settlements.remove(each)
            self._leases.pop((each.id, each.number), None)
            if each.id in turn.fenced and not isinstance(each.outcome, Released):
                self._trouble(f"job {each.id} is not this worker's any more: how it ended here does not count")
        return turn

    def _free_slots(self) -> int:
        """How many slots no job has that is not over."""
        over = {(each.id, each.number) for each in self._settlements}
        running = (lease.claim.task for key, lease in self._leases.items() if key not in over)
        return max(0, self._costs.slots - self._costs.slots_of(running))

    async def _is_drained(self) -> bool:
        try:
            return await trio.to_thread.run_sync(self._store.is_drained)
        except (QueueBusy, QueueUnwritable) as error:
            self._complain(error)
            return False

    def _complain(self, error: Exception) -> None:
        """Of a server that is away once, and then once in a while, however often and by whom it is tried."""
        now = trio.current_time()
        if now >= self._quiet_until.get(str(error), -math.inf):
            self._quiet_until = {said: until for said, until in self._quiet_until.items() if until > now}
            self._quiet_until[str(error)] = now + _QUIET
            self._trouble(str(error))

    async def _chores(self) -> None:
        try:
            returned = await trio.to_thread.run_sync(self._store.chores)
        except (QueueBusy, QueueUnwritable) as error:  # they have time
            self._complain(error)
            return
        for job in returned:
            self._trouble(f"job {job} was a worker's that has ended: it is offered again, or dead")

    # --- carrying jobs out ---

    async def _carry(self, lease: PostgresLease) -> None:
        settlement = Settlement(id=lease.claim.id, number=lease.claim.number, outcome=Released())
        try:
            with lease.scope:
                settlement = await carry(lease.claim, self._handle, lease, self._trouble)
        finally:
            self._settlements.append(settlement)
            self._bell.set()

    # --- being there ---

    async def _attend(self) -> None:
        """Listens, and says that it lives; stops its jobs where it could not say so in time."""
        next_beat = trio.current_time() + self._attendance.interval
        while True:
            deadline = min(next_beat, trio.current_time() + self._fence_every)
            heard = False
            with trio.move_on_at(deadline):
                heard = await self._listen()
            if heard:
                self._bell.set()
            self._fence()
            if trio.current_time() >= next_beat or self._attendance.descriptor is None:
                await self._beat()
                next_beat = trio.current_time() + self._attendance.interval

    async def _listen(self) -> bool:
        descriptor = self._attendance.descriptor
        if descriptor is None:
            return False
        await trio.lowlevel.wait_readable(descriptor)
        try:
            self._attendance.listen()
        except QueueUnwritable as error:
            self._complain(error)
        return True

    async def _beat(self) -> None:
        wait = _FIRST_WAIT
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fence_in_time)
                try:
                    in_time = await trio.to_thread.run_sync(self._attendance.beat)
                except (QueueBusy, QueueUnwritable) as error:
                    self._complain(error)
                except QueueRefused as error:
                    self._refused = error
                    self._bell.set()
                else:
                    self._bell.set()  # what was heard meanwhile, and what was not taken without a heartbeat
                    if not in_time:
                        self._fence(at_once=True)
                    return
                finally:
                    nursery.cancel_scope.cancel()
            self._fence()
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT, self._attendance.interval)

    async def _fence_in_time(self) -> None:
        """While a heartbeat waits for a server that does not answer."""
        while True:
            await trio.sleep(self._fence_every)
            self._fence()

    def _fence(self, *, at_once: bool = False) -> None:
        if at_once or self._attendance.left() <= 0:
            for lease in self._leases.values():
                if not lease.scope.cancel_called:
                    self._trouble(
                        f"job {lease.claim.id} is stopped here: the server was not reached for so long that it may be "
                        "another worker's by now"
                    )
                    lease.scope.cancel()

    async def _await_stop(self) -> None:
        await self._stop.wait()
        self._bell.set()
