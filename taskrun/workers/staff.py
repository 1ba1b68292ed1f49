"""Who works in a pool: the queue, the workers and their clocks; replaces the dead, and ends all in an orderly way."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import enable_ki_protection

from taskrun.workers.breaker import Breaker
from taskrun.workers.clerk import Clerk
from taskrun.workers.errors import PoolClosed, WorkerStartFailed
from taskrun.workers.member import NEVER
from taskrun.workers.post import Post
from taskrun.workers.queueing import Queue
from taskrun.workers.settings import Statistics
from taskrun.workers.ticket import AGAIN, Ended
from taskrun.workers.wear import Wear

if TYPE_CHECKING:
    from taskrun.link import Usage
    from taskrun.workers.birthplace import Birthplace
    from taskrun.workers.member import Engage, Member
    from taskrun.workers.settings import Settings
    from taskrun.workers.ticket import Turn


class Staff:
    """The workers of one pool, and the requests that wait for them.

    Attributes:
        queue: The requests that no worker has.
        operations: What the workers handle, digest by name; ``None`` until the first is ready.
        counts: For the statistics.
        most: Workers that there were, or were starting, at once.
    """

    def __init__(self, place: Birthplace, nursery: trio.Nursery, settings: Settings, engage: Engage = Clerk) -> None:
        self.queue = Queue(settings.max_queue)
        self.operations: dict[str, str] | None = None
        self.counts = dict.fromkeys(
            ("completed", "failed", "timed_out", "crashed", "started", "crashes", "recycled"), 0
        )
        self.most = 0
        self._place = place
        self._nursery = nursery
        self._settings = settings
        self._engage = engage
        self._starting: set[Member[Any]] = set()
        self._members: set[Member[Any]] = set()  # that get requests, or finish theirs
        self._spares: deque[Member[Any]] = deque()
        self._room: deque[Member[Any]] = deque()  # those of the members that can take another
        self._closing = False
        self._killing = False
        self._broken: WorkerStartFailed | None = None
        self._first = trio.Event()  # a worker is ready, or none ever will be
        self._nothing_left = trio.Event()
        self._alarm = trio.Event()
        self._alarm_at = NEVER
        self._wear = Wear(settings)
        self._breaker = Breaker(settings.restarts)
        self.post = Post()  # see ``Owner``

    # --- requests

    async def admit(self) -> None:
        """Waits until the queue has room for another.

        Raises:
            PoolClosed: It takes nothing any more.
            WorkerStartFailed: The pool has given up.
        """
        await self.queue.room()
        self.refuse_if_over()

    def submit(self, turn: Turn) -> None:
        """Another request, to be waited for with ``withdraw``."""
        self.queue.push(turn)
        self._dispatch()

    def refuse_if_over(self) -> None:
        """Where nothing is taken any more, says so.

        Raises:
            PoolClosed: It was closed.
            WorkerStartFailed: It has given up.
        """
        if self._closing:
            raise PoolClosed("the pool is closed")
        if self._broken is not None:
            raise WorkerStartFailed(self._broken.kind, str(self._broken), self._broken.traceback)

    def withdraw(self, ticket: Turn) -> bool:
        """Its sender was cancelled: what waits is forgotten, what is in work is ended."""
        if self.queue.withdraw(ticket):
            self._look_for_the_end()
            return True
        for member in self._members:
            if member.inflight and member.inflight[0] is ticket:
                self.delist(member)
                member.end()
                self._fill()
                return False
        return True  # a worker has it behind another one, and is ended when it comes to it

    # --- handing out

    def _dispatch(self) -> None:
        while self.queue and self._room:
            member = self._room.popleft()
            member.listed = False
            if member.ending or member.leaving:
                continue
            member.give(self.queue.pop())
            self.enlist(member)
        if self._closing:
            self._look_for_the_end()  # what could not be given has failed
        if self.queue and self._is_lazy:
            self._fill()

    def enlist(self, member: Member[Any]) -> None:
        """Notes that it can take another request, if it can."""
        has_room = len(member.inflight) < self._settings.prefetch and not member.worn and self._wear.leaves_room(member)
        if has_room and not member.listed and not member.ending and not member.leaving:
            member.listed = True
            self._room.append(member)

    def delist(self, member: Member[Any]) -> None:
        """Notes that it takes none, for now."""
        if member.listed:
            member.listed = False
            self._room.remove(member)

    # --- what workers tell (see ``Owner``)

    def ready(self, member: Member[Any]) -> None:
        """See ``Owner``."""
        self._starting.discard(member)
        if self.operations is not None and self.operations != member.operations:
            text = f"`{self._place.target}` handles other requests than when the pool was opened"
            self._note_failed_start(WorkerStartFailed("contract", text))
            member.end()
            return
        self._breaker.started()
        self.operations = member.operations
        self._first.set()
        if self._killing or (self._closing and not self.queue):
            member.retire()
        elif self._active >= self._settings.size:
            self._spares.append(member)
        else:
            self._employ(member)

    def start_failed(self, member: Member[Any], failure: WorkerStartFailed) -> None:
        """See ``Owner``."""
        self._starting.discard(member)
        self._note_failed_start(failure)
        self._look_for_the_end()

    def answered(self, member: Member[Any]) -> None:
        """See ``Owner``."""
        member.worn = member.worn or self._wear.is_worn(member)
        if not member.worn:
            self.enlist(member)
        else:
            self.delist(member)
            if not member.inflight:
                self._recycle(member)
        if self.queue:
            self._dispatch()
        elif self._closing:
            self._look_for_the_end()
        if self._settings.idle_timeout is not None and not member.inflight:
            self.due(member.idle_since + self._settings.idle_timeout)

    def ended(self, member: Member[Any], usage: Usage | None) -> None:
        """See ``Owner``."""
        self._members.discard(member)
        self.delist(member)
        if member in self._spares:
            self._spares.remove(member)
        if not member.ending and (not member.leaving or member.quits) and not self._closing:
            self._note_crash()
        held = list(member.inflight)
        member.inflight.clear()
        if held and (not member.quits or member.ending or held[0].unwanted):
            self._settle_lost(member, held.pop(0), usage)
        for ticket in held:  # no handler has seen them
            if not ticket.unwanted:
                ticket.attempt -= 1
                self.queue.push(ticket)
        if self._killing:
            self._refuse_queued()
        self._fill()
        self._dispatch()
        self._look_for_the_end()

    def due(self, at: float) -> None:
        """See ``Owner``."""
        if at < self._alarm_at:
            self._alarm.set()

    # --- the dead

    def _settle_lost(self, member: Member[Any], turn: Turn, usage: Usage | None) -> None:
        """What becomes of the request that was in work."""
        policy = self._settings.crash_policy
        end = Ended(usage, stack=member.stack, stderr=member.stderr, closing=self._killing, policy=policy)
        fate = turn.lost(end)
        if fate == AGAIN:
            self.queue.push(turn)
        elif fate:
            self.counts[fate] += 1

    def _note_crash(self) -> None:
        self.counts["crashes"] += 1
        failure = self._breaker.crashed(trio.current_time())
        if failure is not None:
            self._break(failure)

    def _note_failed_start(self, failure: WorkerStartFailed) -> None:
        pause = self._breaker.start_failed(trio.current_time())
        # The first one's failure is everyone's, unless the machine was short of something for a moment.
        if pause is None or (self.operations is None and failure.kind != "spawn"):
            self._break(failure)
        elif not self._killing:
            self._nursery.start_soon(self._start_later, pause)

    @enable_ki_protection
    async def _start_later(self, pause: float) -> None:
        await trio.sleep(pause)
        self._fill()

    def _break(self, failure: WorkerStartFailed) -> None:
        """No worker is started any more; those that live finish what they have."""
        if self._broken is None:
            self._broken = failure
        self._first.set()
        if not self._active:
            self._refuse_queued()

    def _refuse_queued(self) -> None:
        for ticket in self.queue.close():
            failure = self._broken
            if failure is not None and not self._closing:
                ticket.fail(WorkerStartFailed(failure.kind, str(failure), failure.traceback))
            else:
                ticket.fail(PoolClosed("the pool was closed before it was carried out"))

    # --- how many there are

    @property
    def _active(self) -> int:
        """Workers that get requests, without those on their way out."""
        return sum(not member.ending and not member.leaving for member in self._members)

    @property
    def _busy(self) -> int:
        """Of these, with a request in hand."""
        return sum(bool(member.inflight) for member in self._members if not member.ending and not member.leaving)

    @property
    def _is_lazy(self) -> bool:
        return self._settings.on_demand or self._settings.idle_timeout is not None

    def _fill(self) -> None:
        """Starts what is missing."""
        while self._spares and self._active < self._settings.size:
            self._employ(self._spares.popleft())
        if self._broken is not None:
            if not self._active:
                self._refuse_queued()
            return
        if self._killing or (self._closing and not self.queue) or self._breaker.pauses(trio.current_time()):
            return
        wanted = self._settings.size + (0 if self._closing else self._settings.spares)
        if self._is_lazy:
            at_least = 0 if self._settings.on_demand else 1
            wanted = min(wanted, max(at_least, len(self.queue) + self._busy))
        while self._active + len(self._starting) + len(self._spares) < wanted:
            self._start_one()

    def _start_one(self) -> None:
        member = self._engage(self, self._place, self._nursery, grace=self._settings.grace)
        self._starting.add(member)
        self.counts["started"] += 1
        self.most = max(self.most, self._active + len(self._starting))
        self._nursery.start_soon(member.live)

    def _employ(self, member: Member[Any]) -> None:
        self._members.add(member)
        self.enlist(member)
        self._dispatch()
        if self._settings.idle_timeout is not None and not member.inflight:
            self.due(trio.current_time() + self._settings.idle_timeout)

    def _recycle(self, member: Member[Any]) -> None:
        """It is worn, or has been idle for long; what is missing then is started."""
        self.delist(member)
        self.counts["recycled"] += 1
        member.retire()
        self._fill()

    # --- clocks

    @enable_ki_protection
    async def _keep_time(self) -> None:
        """Ends what takes too long, and lets go of who has been idle for long."""
        while True:
            self._alarm = trio.Event()
            self._alarm_at = min((self._next_look(member) for member in self._members), default=NEVER)
            with trio.move_on_at(self._alarm_at):
                await self._alarm.wait()
            now = trio.current_time()
            for member in list(self._members):
                if member.deadline <= now and member.inflight:
                    if not member.inflight[0].unwanted:
                        member.inflight[0].timeout = member.inflight[0].limit
                    self.delist(member)
                    member.end()
                    self._fill()
                elif self._next_look(member) <= now:
                    self._recycle(member)

    def _next_look(self, member: Member[Any]) -> float:
        idle = self._settings.idle_timeout
        if idle is None or member.inflight or member.ending or member.leaving or self._active <= 1:
            return member.deadline
        return member.idle_since + idle

    # --- begin and end

    async def start(self) -> None:
        """Starts the workers; returns when the first is ready. For ``open_pool``.

        Raises:
            WorkerStartFailed: None ever will be.
        """
        self.begin()
        await self._first.wait()
        if self.operations is None and self._broken is not None:
            raise self._broken

    def begin(self) -> None:
        """Starts the workers."""
        self._nursery.start_soon(self.post.deliver)
        self._nursery.start_soon(self._keep_time)
        if self._settings.on_demand:
            return
        for _ in range(self._settings.size + self._settings.spares):
            self._start_one()

    @enable_ki_protection
    async def close(self, finish: float | None = None) -> None:
        """See ``Pool.close``."""
        self._closing = True
        self.queue.release()
        now = True
        try:
            self._look_for_the_end()
            if finish != 0:
                with trio.move_on_after(NEVER if finish is None else finish):
                    await self._nothing_left.wait()
                now = False
        finally:
            with trio.CancelScope(shield=True):
                await self._end_all(now=now)

    def everyone(self) -> list[Member[Any]]:
        """All who live, or are about to."""
        return [*self._members, *self._starting, *self._spares]

    async def _end_all(self, *, now: bool) -> None:
        self._killing = True
        self._refuse_queued()
        everyone = self.everyone()
        for member in everyone:
            if now or member in self._starting:
                member.end(now=True)
            elif member.inflight:
                member.end()
            else:
                member.retire()
        for member in everyone:
            await member.gone.wait()
        self._place.arena.close()

    def _look_for_the_end(self) -> None:
        if self._closing and not self.queue and not any(member.inflight for member in self._members):
            self._nothing_left.set()

    # --- what it tells

    @property
    def statistics(self) -> Statistics:
        """The pool as it is now."""
        return Statistics(
            workers=self._active,
            busy=self._busy,
            starting=len(self._starting),
            queued=len(self.queue),
            arena=self._place.arena.size,
            **self.counts,
        )
