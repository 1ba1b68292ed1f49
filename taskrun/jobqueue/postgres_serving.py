"""A queue worker on a PostgreSQL server: its heartbeats, and its turns at the server, all of which wait in threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio
from msgspec import structs

from taskrun.jobqueue import serving
from taskrun.jobqueue.postgres_attendance import Attendance, Watch
from taskrun.jobqueue.postgres_database import PostgresDatabase
from taskrun.jobqueue.postgres_store import PostgresStore
from taskrun.jobqueue.room import Costs
from taskrun.jobqueue.ticking import Ticker
from taskrun.jobqueue.values import QueueBusy, QueueRefused, QueueUnwritable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.carrying import Claim, Settlement, Turn
    from taskrun.jobqueue.postgres_address import Address
    from taskrun.jobqueue.values import Allowance, Handle, Recurring, Retention

T = TypeVar("T")

_PATIENCE = 1.0  # seconds that a turn waits for a lock before it says so; the worker tries again for ever
_LOOK = 0.02  # seconds between looks at whether threads have ended
_UNREACHED = (
    "is stopped here: the server was not reached for so long that it may be another worker's by now"  # after "job 7"
)


class Threads:
    """What waits for the server. A server that hangs is waited for, but not by a worker that is to end.

    Args:
        databases: Whose connections are cut off then.
    """

    def __init__(self, *databases: PostgresDatabase) -> None:
        self._databases = databases
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Does something in a thread; if this is cancelled, it is finished first."""
        self._under_way += 1
        try:
            return await trio.to_thread.run_sync(work)
        finally:
            self._under_way -= 1

    async def cut_off_in_time(self) -> None:
        """Runs beside them; when it is cancelled, they have a while to finish."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(serving.LAST_WORDS, shield=True):
                while self._under_way:  # noqa: ASYNC110 - an event would have to be another one for each thread
                    await trio.sleep(_LOOK)
            if self._under_way:
                for database in self._databases:
                    database.cut_off()


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
        costs = Costs(allowance)
        own, shared = PostgresDatabase(address, idle=limit), PostgresDatabase(address, patience=_PATIENCE, idle=limit)
        self._threads = Threads(own, shared)
        self._attendance = Attendance(own, limit)
        self._store = PostgresStore(
            shared,
            self._attendance,
            costs=costs,
            chance=chance,
            retention=retention,
            watch=Watch(limit),
            ticker=Ticker(recurring, trouble) if recurring else None,
        )
        self._serving = serving.Serving(
            PostgresKeeper(self._store, self._attendance, self._threads),
            handle=handle,
            costs=costs,
            stop=stop,
            drain=drain,
            trouble=trouble,
            look_every=limit / 4,  # who looks too seldom does not see that others stand still
        )
        self._fence_every = min(serving.POLL, limit / 20)

    async def run(self) -> None:
        """Serves until it is stopped or, if that was asked for, nothing is left."""
        try:
            await self._threads.run(self._attendance.enter)
            try:
                await self._serving.serve(self._attend, self._threads.cut_off_in_time)
            finally:
                with trio.move_on_after(serving.LAST_WORDS, shield=True):
                    await self._leave()
        finally:
            self._store.close()
            self._attendance.close()

    async def _leave(self) -> None:
        try:
            await self._threads.run(self._attendance.leave)
        except (QueueBusy, QueueUnwritable) as error:  # others will notice
            self._serving.complain(error)

    async def _attend(self) -> None:
        """Listens, and says that it lives; stops its jobs where it could not say so in time."""
        next_beat = trio.current_time() + self._attendance.interval
        while True:
            deadline = min(next_beat, trio.current_time() + self._fence_every)
            heard = False
            with trio.move_on_at(deadline):
                heard = await self._listen()
            if heard:
                self._serving.ring()
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
            self._serving.complain(error)
        return True

    async def _beat(self) -> None:
        wait = serving.FIRST_WAIT
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fence_in_time)
                try:
                    in_time = await self._threads.run(self._attendance.beat)
                except (QueueBusy, QueueUnwritable) as error:
                    self._serving.complain(error)
                except QueueRefused as error:
                    self._serving.refuse(error)
                else:
                    self._serving.ring()  # what was heard meanwhile, and what was not taken without a heartbeat
                    if not in_time:
                        self._serving.abandon(_UNREACHED)
                    return
                finally:
                    nursery.cancel_scope.cancel()
            self._fence()
            await trio.sleep(wait)
            wait = min(wait * 2, serving.LONGEST_WAIT, self._attendance.interval)

    async def _fence_in_time(self) -> None:
        """While a heartbeat waits for a server that does not answer."""
        while True:
            await trio.sleep(self._fence_every)
            self._fence()

    def _fence(self) -> None:
        if self._attendance.left() <= 0:
            self._serving.abandon(_UNREACHED)


class PostgresKeeper:
    """A worker's side of the server; see ``serving.Keeper``."""

    def __init__(self, store: PostgresStore, attendance: Attendance, threads: Threads) -> None:
        self._threads = threads
        self._store = store
        self._attendance = attendance

    @property
    def descriptor(self) -> int | None:
        """There is none: the server knows nothing of this machine's processes."""
        return None

    def may_take(self) -> bool:
        """Not while its heartbeats are so late that it may be taken for dead."""
        return self._attendance.left() > 0

    async def turn(self, settled: list[Settlement], held: list[Claim], take: int) -> Turn:
        """See ``PostgresStore``. What is overdue and was not taken waits for the bell, or for the next look."""
        turn = await self._threads.run(partial(self._store.turn, settled, held, take=take))
        return turn if turn.due is None or turn.due > 0 else structs.replace(turn, due=None)

    async def chores(self) -> list[int]:
        """See ``PostgresStore``."""
        return await self._threads.run(self._store.chores)

    async def is_drained(self) -> bool:
        """See ``PostgresStore``."""
        return await self._threads.run(self._store.is_drained)
