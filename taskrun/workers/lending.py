"""Idle workers of an ``Executor``, lent to whoever submits: a thread sends its call itself, and wakes nobody for it.

A worker that is lent is not among those to whom the pool gives work. All here is under one lock, since the pool's
thread may see a worker's end at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.workers.clerk import Clerk

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import trio

    from taskrun.workers.birthplace import Birthplace
    from taskrun.workers.calling import Order
    from taskrun.workers.member import Owner
    from taskrun.workers.staff import Staff

_MOST = 16 * 1024  # bytes that surely have room in the socket of a worker that waits


class Lending:
    """Which workers are lent.

    Args:
        lock: Held by who borrows, and by who gives up.
        answered: Called when a worker has answered and may be lent.
        late: Called with what could not be sent at once, to be sent in the pool's thread.

    Attributes:
        listening: A worker's words are being taken in.
    """

    def __init__(
        self,
        lock: threading.RLock,
        answered: Callable[[LentClerk], None],
        late: Callable[[LentClerk, bytes], None],
    ) -> None:
        self._lock = lock
        self.answered = answered
        self._late = late
        self._idle: list[LentClerk] = []
        self.listening = False

    def __len__(self) -> int:
        return len(self._idle)

    def engage(self, owner: Owner, place: Birthplace, nursery: trio.Nursery, *, grace: float) -> LentClerk:
        """Makes a worker; for the pool."""
        return LentClerk(self, owner, place, nursery, grace=grace)

    def lend(self, clerk: LentClerk, staff: Staff) -> None:
        """In the pool's thread, with the lock: lends it, if it has nothing to do and may get something."""
        if clerk.listed and not clerk.inflight:
            staff.delist(clerk)  # this takes the place of the staff's own giving out
            self._idle.append(clerk)

    def take_back(self, staff: Staff | None) -> None:
        """In the pool's thread: nothing is lent any more."""
        with self._lock:
            idle, self._idle = self._idle, []
        for clerk in idle:
            if staff is not None:
                staff.enlist(clerk)

    def forget(self, clerk: LentClerk) -> None:
        """It has ended, or is about to: from here on nobody gives it anything."""
        with self._lock:
            if clerk in self._idle:
                self._idle.remove(clerk)

    def can_take(self, body: bytes) -> bool:
        """In any thread, with the lock: whether one of them is there for a request."""
        return bool(self._idle) and len(body) <= _MOST

    def give(self, order: Order) -> None:
        """In any thread, with the lock: gives a call to one of them; there must be one."""
        clerk = self._idle[-1]
        rest = clerk.take_at_once(order)
        self._idle.pop()  # now: a Ctrl-C may come between any two lines, and must not lose the worker
        if rest:
            self._late(clerk, rest)


def give_next(clerk: LentClerk, order: Order, staff: Staff) -> None:
    """In the pool's thread: gives a listed worker its next call, past the queue."""
    staff.delist(clerk)
    clerk.give(order)
    staff.enlist(clerk)


class LentClerk(Clerk):
    """A worker that may be lent."""

    def __init__(
        self, lending: Lending, owner: Owner, place: Birthplace, nursery: trio.Nursery, *, grace: float
    ) -> None:
        super().__init__(owner, place, nursery, grace=grace)
        self._lending = lending

    def take_at_once(self, order: Order) -> bytes:
        """Sends it a call, in any thread; returns what there was no room for."""
        data = order.frame()
        assert self._sock is not None
        order.attempt += 1
        self.inflight.append(order)
        try:
            return data[self._sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""  # it has died: its end settles the call

    def send_rest(self, data: bytes) -> None:
        """In the pool's thread: what there was no room for."""
        self._send(data)

    async def _talk(self) -> None:
        try:
            await super()._talk()
        finally:
            self._lending.forget(self)

    def _take(self, message: Any) -> None:
        self._lending.listening = True
        try:
            super()._take(message)
        finally:
            self._lending.listening = False
        if self.leaving or self.ending:
            self._lending.forget(self)
        self._lending.answered(self)
