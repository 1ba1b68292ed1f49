"""A queue worker on SQLite: its lock and its bell, and its turns at the database, in a thread where they may wait."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from taskrun.jobqueue import serving
from taskrun.jobqueue.presence import Presence
from taskrun.jobqueue.room import Costs
from taskrun.jobqueue.sqlite_store import WorkerStore
from taskrun.jobqueue.values import QueueBusy, QueueUnwritable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.carrying import Claim, Settlement, Turn
    from taskrun.jobqueue.values import Allowance, Handle, Recurring, Retention

T = TypeVar("T")


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
        self._stop = stop
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
        self._open_serving = partial(
            serving.Serving, handle=handle, costs=Costs(allowance), stop=stop, drain=drain, trouble=trouble
        )

    async def run(self) -> None:
        """Serves until it is stopped or, if that was asked for, nothing is left."""
        try:
            presence = Presence(self._folder)
        except OSError as error:
            raise QueueUnwritable(f"cannot use {self._folder} for the workers' locks: {error.strerror}") from None
        keeper = SqliteKeeper(self._open_store(presence.worker), presence)
        loop = self._open_serving(keeper)
        try:
            if await self._open(keeper, loop):
                await loop.serve(partial(keeper.listen, loop.ring))
        finally:
            keeper.close()
            presence.leave(clean=not loop.settlements)

    async def _open(self, keeper: SqliteKeeper, loop: serving.Serving) -> bool:
        """Waits for as long as somebody else holds the database; not if it is stopped."""
        wait = serving.FIRST_WAIT
        while not self._stop.is_set():
            try:
                await keeper.open()
            except QueueBusy as error:
                loop.complain(error)
            else:
                return True
            with trio.move_on_after(wait):
                await self._stop.wait()
            wait = min(wait * 2, serving.LONGEST_WAIT)
        return False


class SqliteKeeper:
    """A worker's side of the database; see ``serving.Keeper``."""

    def __init__(self, store: WorkerStore, presence: Presence) -> None:
        self._store = store
        self._presence = presence
        self._threads = trio.CapacityLimiter(1)

    @property
    def descriptor(self) -> int | None:
        """The locked file that every process of a job inherits."""
        return self._presence.descriptor

    def may_take(self) -> bool:
        """Always: the lock says that it lives."""
        return True

    async def open(self) -> None:
        """Opens the database and looks for damage."""
        await self._in_thread(self._store.open)

    async def turn(self, settled: list[Settlement], held: list[Claim], take: int) -> Turn:
        """Here and at once if nobody else writes just now; a thread takes ten times as long to be woken and to wake."""
        try:
            return self._store.turn(settled, held, take=take, patient=False)
        except QueueBusy:
            return await self._in_thread(partial(self._store.turn, settled, held, take=take, patient=True))

    async def chores(self) -> list[int]:
        """Looks first, since waking a thread is most of what an idle worker would cost."""
        return await self._in_thread(self._store.chores) if self._store.has_chores() else []

    async def is_drained(self) -> bool:
        """See ``WorkerStore``."""
        return await self._in_thread(self._store.is_drained)

    async def listen(self, ring: Callable[[], None]) -> None:
        """Hands on wakes, where there is a socket at which they could arrive."""
        if self._presence.bell is None:
            return
        while True:
            await trio.lowlevel.wait_readable(self._presence.bell)
            self._presence.silence()
            ring()

    def close(self) -> None:
        """Closes the database."""
        self._store.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
