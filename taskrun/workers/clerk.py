"""A worker that answers requests: what it is told, and what becomes of what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.worker import requests, wire
from taskrun.workers.beside import Beside
from taskrun.workers.member import NEVER, Member
from taskrun.workers.settings import Moved
from taskrun.workers.ticket import Ticket

if TYPE_CHECKING:
    import socket

    import trio

    from taskrun.workers.birthplace import Birthplace
    from taskrun.workers.member import Owner


class Clerk(Member[Ticket]):
    """A worker of ``open_pool``; the channel is as in ``requests``."""

    def __init__(self, owner: Owner, place: Birthplace, nursery: trio.Nursery, *, grace: float) -> None:
        super().__init__(owner, place, nursery, requests.Frames(requests.FromWorker), grace=grace)
        self._beside: Beside | None = None  # from the first request on that may have large values

    def _first_words(self) -> bytes:
        place = self._place
        wanted = tuple(name for name in place.template.preload if not name.startswith("taskrun."))
        return wire.encode(wire.Serve(target=place.target, setup=place.setup, preload=wanted))

    def _say_leave(self) -> None:
        self._send(requests.encode(requests.Leave()))

    async def _hello(self) -> requests.Hello | None:
        while messages := await self._receive():
            for message in messages:
                if isinstance(message, requests.Hello):
                    return message
        return None

    def _take(self, message: requests.FromWorker) -> None:
        match message:
            case requests.Answer():
                ticket = self._answered(message.id, kept=message.kept)
                if ticket is not None:
                    ticket.answer(
                        message.body, None if self._beside is None else self._beside.incoming(message.segment)
                    )
                    self._owner.answered(self)
                if message.segment:
                    self._send(requests.encode(requests.Taken(segment=message.segment)))
            case requests.Refusal():
                ticket = self._answered(message.id, kept=message.kept)
                if ticket is not None:
                    self.worn = self.worn or message.failure.kind == "cancelled"  # by somebody else: it is leaving
                    ticket.refuse(message.failure)
                    self._owner.answered(self)
            case requests.Bye():
                self.quits = True
                self.retire()
                self.deadline = NEVER
            case requests.Moved():
                ticket = self.inflight[0] if self.inflight else None
                if ticket is not None and ticket.id == message.id and not ticket.unwanted:
                    self._pass_on(ticket, Moved(done=message.done, total=message.total, message=message.message))
            case requests.Lent():
                self._learn(message)
            case requests.Forget():
                if self._beside is not None:
                    self._beside.borrowed.forget(message.number)

    def _answered(self, number: int, *, kept: bool) -> Ticket | None:
        """The request in work, which has been answered; ``None``: it is being ended, and its end settles it."""
        if self.ending or not self.inflight or self.inflight[0].id != number:
            return None
        ticket = self._finished()
        if self._beside is not None:
            self._beside.take_back(ticket, kept=kept)
        return ticket

    def _pass_on(self, ticket: Ticket, moved: Moved) -> None:
        if ticket.on_progress is None or self.ending:
            return
        try:
            ticket.on_progress(moved)
        except Exception as error:  # noqa: BLE001 - it is raised again in the sender's task
            ticket.spoiled = error
            self.end()

    # --- what goes beside

    def give(self, turn: Ticket) -> None:
        """See ``Member``. What there is no memory for fails."""
        if turn.outgoing is not None and self._outbox is not None:
            if self._beside is None:
                self._beside = Beside(self._place.arena, self)
            try:
                turn.segment = self._beside.lend(turn, self._outbox)
            except (MemoryError, TypeError, ValueError) as error:
                turn.fail(error)
                return
        super().give(turn)

    def forget(self, number: int) -> None:
        """See ``Borrower``."""
        if self._beside is not None and self._beside.forget(number):
            self._send(requests.encode(requests.Forget(number=number)))

    def _read(self, sock: socket.socket) -> bytes:
        if self._beside is None:
            return super()._read(sock)
        return self._beside.borrowed.receive(sock, self._frames.appetite)

    def _learn(self, lent: requests.Lent) -> None:
        """Its result lies in memory that is new here."""
        assert self._beside is not None
        try:
            self._beside.borrowed.learn(lent.number, lent.size, lent.way)
        except OSError as error:
            if self.inflight:
                why = f"a result of up to {lent.size:,} bytes cannot be taken from its worker: {error.strerror}"
                self.inflight[0].spoiled = MemoryError(why)
            self.end()

    def _let_go(self, *, dead: bool) -> None:
        if self._beside is not None:
            self._beside.close(dead=dead)
