"""A worker that answers requests: what it is told, and what becomes of what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.worker import requests, wire
from taskrun.workers.member import NEVER, Member
from taskrun.workers.settings import Moved
from taskrun.workers.ticket import Ticket

if TYPE_CHECKING:
    import trio

    from taskrun.workers.member import Birthplace, Owner


class Clerk(Member[Ticket]):
    """A worker of ``open_pool``; the channel is as in ``requests``."""

    def __init__(self, owner: Owner, place: Birthplace, nursery: trio.Nursery, *, grace: float) -> None:
        super().__init__(owner, place, nursery, requests.Frames(requests.FromWorker), grace=grace)

    def _first_words(self) -> bytes:
        return wire.encode(wire.Serve(target=self._place.target, setup=self._place.setup))

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
                ticket = self._answered(message.id)
                if ticket is not None:
                    ticket.answer(message.body)
                    self._owner.answered(self)
            case requests.Refusal():
                ticket = self._answered(message.id)
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

    def _answered(self, number: int) -> Ticket | None:
        """The request in work, which has been answered; ``None``: it is being ended, and its end settles it."""
        if self.ending or not self.inflight or self.inflight[0].id != number:
            return None
        return self._finished()

    def _pass_on(self, ticket: Ticket, moved: Moved) -> None:
        if ticket.on_progress is None or self.ending:
            return
        try:
            ticket.on_progress(moved)
        except Exception as error:  # noqa: BLE001 - it is raised again in the sender's task
            ticket.spoiled = error
            self.end()
