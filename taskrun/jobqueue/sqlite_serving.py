"""A queue worker on SQLite: takes jobs, has them carried out, settles them, in one trio loop.

What may wait, for a lock or for the disk, is done in a thread. This decides when to look and what to do about
trouble, and knows nothing of tables, or of how a job is carried out.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from taskrun.jobqueue.carrying import Claim, Settlement, carry
from taskrun.jobqueue.presence import Presence
from taskrun.jobqueue.room import Costs
from taskrun.jobqueue.sqlite_store import Turn, WorkerStore
from taskrun.jobqueue.values import (
    QueueBusy,
    QueueRefused,
    QueueUnwritable,
    Released,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.values import Allowance, Handle, Recurring, Retention

T = TypeVar("T")

POLL = 1.0  # seconds, after which one looks though nobody has rung
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0  # seconds between tries while the store cannot be written
_LAST_WORDS = 5.0  # seconds in which a worker that is cancelled gives its jobs back


class SqliteLease:
    """What a job's carrier holds; see `Lease`."""

    def __init__(self, claim: Claim, descriptor: int) -> None:
        self.claim = claim
        self.cancelled = trio.Event()
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int | None:
        """The locked file that every process of the job inherits."""
        return self._descriptor


class Service:
    """One worker, for one ``run``; the arguments are those of `SqliteQueue` and its ``serve``."""

    def __init__(
        self,
        *,
        path: str,
        folder: str,
        handle: Handle,
        allowance: Allowance,
        stop: trio.Event,
        drain: bool,
        recurring: Sequence[Recurring],
        clock: Callable[[], float],
        chance: random.Random,
        retention: Retention | None,
        trouble: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._handle = handle
        self._costs = Costs(allowance)
        self._stop = stop
        self._drain = drain
        self._trouble = trouble
        self._open_store = partial(
            WorkerStore,
            path,
            folder,
            allowance=allowance,
            clock=clock,
            chance=chance,
            retention=retention,
            recurring=recurring,
            trouble=trouble,
        )
        self._leases: dict[int, SqliteLease] = {}  # by job
        self._settlements: list[Settlement] = []
        self._bell = trio.Event()
        self._threads = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Serves until it is stopped or, if that was asked for, nothing is left."""
        try:
            presence = Presence(self._folder)
        except OSError as error:
            raise QueueUnwritable(f"cannot use {self._folder} for the workers' locks: {error.strerror}") from None
        store = self._open_store(presence.worker)
        try:
            if await self._open(store):
                await self._serve(store, presence)
        finally:
            store.close()
            presence.leave(clean=not self._settlements)

    async def _open(self, store: WorkerStore) -> bool:
        """Waits for as long as somebody else holds the database; not if it is stopped."""
        wait = _FIRST_WAIT
        while not self._stop.is_set():
            try:
                await self._in_thread(store.open)
            except QueueBusy as error:
                self._trouble(str(error))
            else:
                return True
            with trio.move_on_after(wait):
                await self._stop.wait()
            wait = min(wait * 2, _LONGEST_WAIT)
        return False

    async def _serve(self, store: WorkerStore, presence: Presence) -> None:
        try:
            refused: QueueRefused | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, presence)
                nursery.start_soon(self._await_stop)
                try:
                    await self._work(store, presence, nursery)
                except QueueRefused as error:  # raised outside, so that it comes alone and not in a group
                    refused = error
                nursery.cancel_scope.cancel()
            if refused is not None:
                raise refused
        finally:
            if self._settlements:
                with trio.move_on_after(_LAST_WORDS, shield=True):
                    await self._turn(store, last=True)

    async def _work(self, store: WorkerStore, presence: Presence, nursery: trio.Nursery) -> None:
        next_chores = -math.inf
        while True:
            self._bell = trio.Event()
            if trio.current_time() >= next_chores:
                await self._chores(store)
                next_chores = trio.current_time() + POLL
            turn = await self._turn(store)
            for claim in turn.claims:
                lease = self._leases[claim.id] = SqliteLease(claim, presence.descriptor)
                nursery.start_soon(self._carry, lease)
            for job in turn.cancelled:
                if job in self._leases:
                    self._leases[job].cancelled.set()
            if not self._leases and (self._stop.is_set() or (self._drain and await self._is_drained(store))):
                return
            # Never longer than a poll: then a clock that was set, and a wake that was lost, are noticed.
            is_full = self._stop.is_set() or not self._free_slots()
            until_due = math.inf if turn.due is None or is_full else max(0.0, turn.due)
            until_chores = max(0.0, next_chores - trio.current_time())
            with trio.move_on_after(min(until_chores, until_due)):
                await self._bell.wait()

    async def _turn(self, store: WorkerStore, *, last: bool = False) -> Turn:
        """A turn that succeeds, however long it takes: no outcome is dropped because a lock or a disk is not free."""
        wait = _FIRST_WAIT
        while True:
            settled = list(self._settlements)
            take = 0 if last or self._stop.is_set() else self._free_slots()
            held = [lease.claim for lease in self._leases.values()]
            try:
                turn = await self._try_turn(store, settled, held, take)
            except (QueueBusy, QueueUnwritable) as error:
                self._trouble(str(error))
            else:
                break
            if self._stop.is_set() and not self._leases:  # then there is nothing to be done any more
                return Turn()
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
        for each in settled:
            self._settlements.remove(each)
            self._leases.pop(each.id, None)
        for job in turn.fenced:
            self._trouble(f"job {job} is not this worker's any more: how it ended here does not count")
        return turn

    async def _try_turn(self, store: WorkerStore, settled: list[Settlement], held: list[Claim], take: int) -> Turn:
        """Here and at once if nobody else writes just now; a thread takes ten times as long to be woken and to wake."""
        try:
            return store.turn(settled, held, take=take, patient=False)
        except QueueBusy:
            return await self._in_thread(partial(store.turn, settled, held, take=take, patient=True))

    def _free_slots(self) -> int:
        """How many slots no job has that is not over."""
        over = {each.id for each in self._settlements}
        running = (lease.claim.task for job, lease in self._leases.items() if job not in over)
        return max(0, self._costs.slots - self._costs.slots_of(running))

    async def _is_drained(self, store: WorkerStore) -> bool:
        try:
            return await self._in_thread(store.is_drained)
        except (QueueBusy, QueueUnwritable) as error:
            self._trouble(str(error))
            return False

    async def _chores(self, store: WorkerStore) -> None:
        try:
            returned = await self._in_thread(store.chores) if store.has_chores() else []
        except (QueueBusy, QueueUnwritable) as error:  # they have time
            self._trouble(str(error))
            return
        for job in returned:
            self._trouble(f"job {job} was a worker's that has ended: it is offered again, or dead")

    async def _carry(self, lease: SqliteLease) -> None:
        settlement = Settlement(id=lease.claim.id, number=lease.claim.number, outcome=Released())
        try:
            settlement = await carry(lease.claim, self._handle, lease, self._trouble)
        finally:
            self._settlements.append(settlement)
            self._bell.set()

    async def _listen(self, presence: Presence) -> None:
        if presence.bell is None:
            return
        while True:
            await trio.lowlevel.wait_readable(presence.bell)
            presence.silence()
            self._bell.set()

    async def _await_stop(self) -> None:
        await self._stop.wait()
        self._bell.set()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
