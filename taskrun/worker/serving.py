"""A worker of a pool: makes its state, and answers requests until nothing more comes.

One request after the other, in the order in which they came. It never raises because of a request.
"""

from __future__ import annotations

import contextlib
import functools
import os
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.worker import contract, failures, requests, session, wire
from taskrun.worker.beside import Beside
from taskrun.worker.session import Speaker
from taskrun.worker.stopping import Cancelled, interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.worker.contract import Declared
    from taskrun.worker.session import Session


def serve(channel: Session, handlers: Declared) -> int:
    """Serves to the end of the channel, or until a stop was asked for; returns the exit status."""
    with contextlib.ExitStack() as stack:
        try:
            arguments = () if handlers.state is None else (stack.enter_context(handlers.state()),)
        except BaseException as error:  # noqa: BLE001 - the user's, whatever it is
            channel.send_frame(requests.encode(requests.Hello(failure=failures.describe(error))))
            return 1
        channel.send_frame(requests.encode(hello(handlers)))
        speaker = RequestSpeaker(channel)
        session.begin(speaker)
        try:
            status = Server(channel, speaker, handlers, arguments).run()
        finally:
            session.begin(None)
        if status is not None:
            _kept.append(stack.pop_all())  # the state is its parent's to leave
            return status
        say_bye(channel)
    return 0


_kept: list[object] = []


def say_bye(channel: Session) -> None:
    """Where a stop was asked for, the program hears that nothing more is begun here."""
    if interruption.signal:
        channel.send_frame(requests.encode(requests.Bye()))


def hello(handlers: Declared, *, runs_trio: bool = False) -> requests.Hello:
    """What a worker says once it is ready."""
    operations = {name: each.operation.digest for name, each in handlers.by_name.items()}
    return requests.Hello(operations=operations, runs_trio=runs_trio)


class RequestSpeaker(Speaker):
    """What the handler of the request in hand says."""

    def __init__(self, channel: Session) -> None:
        super().__init__()
        self._channel = channel
        self._request = 0
        self._deadline: float | None = None

    def turn_to(self, ask: requests.Ask) -> None:
        """Another request is in hand."""
        super().__init__()
        self._request = ask.id
        self._deadline = None if ask.time_left is None else monotonic() + ask.time_left

    def time_left(self) -> float | None:
        """See ``Speaker``."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def checkpoint(self, value: bytes) -> None:
        """Requests have none: nothing would ever ask for it."""

    def _say_progress(self, done: float, total: float | None, message: str) -> None:
        self._channel.send_frame(requests.encode(self._moved(done, total, message)))

    def _say_status(self, text: str) -> None:
        self._channel.send_frame(requests.encode(self._moved(None, None, text)))

    def _moved(self, done: float | None, total: float | None, message: str) -> requests.Moved:
        return requests.Moved(id=self._request, done=done, total=total, message=message)


class Server:
    """The loop over requests."""

    def __init__(
        self, channel: Session, speaker: RequestSpeaker, handlers: Declared, arguments: tuple[Any, ...]
    ) -> None:
        self.channel = channel
        self.speaker = speaker
        self._calls = {
            name: (handled, self.wrapped(handled.function, handlers.middleware, arguments))
            for name, handled in handlers.by_name.items()
        }
        large = any(handled.operation.large for handled in handlers.by_name.values())
        self.beside = Beside(channel) if large else None
        self.borrowed = None if self.beside is None else self.beside.borrowed

    @staticmethod
    def wrapped(
        function: Callable[..., Any], middleware: tuple[Callable[..., Any], ...], arguments: tuple[Any, ...]
    ) -> Callable[[Any], Any]:
        """A handler as a function of the request alone, inside its middleware."""
        call: Callable[[Any], Any] = (lambda request: function(request, *arguments)) if arguments else function
        for layer in reversed(middleware):
            call = functools.partial(_through, layer, call)
        return call

    def run(self) -> int | None:
        """Until nothing more comes, or a stop was asked for; an exit status in a process that a handler has forked."""
        worker = os.getpid()
        frames = requests.Frames(requests.ToWorker)
        while data := self._receive(frames.appetite):
            for message in frames.feed(data):
                if isinstance(message, requests.Leave):
                    return None
                if not isinstance(message, requests.Ask):
                    self.learn(message)
                    continue
                answer = self._carry_out(message)
                if os.getpid() != worker:
                    return end_of_fork(answer)
                if not self.reply(message, answer) or interruption.signal:
                    return None
        return None

    def learn(self, message: requests.Lent | requests.Forget | requests.Taken) -> None:
        """What the program says of memory.

        Raises:
            OSError: There is no room for it here.
        """
        assert self.beside is not None
        self.beside.learn(message)

    def answer(self, ask: requests.Ask, value: object) -> requests.Answer:
        """What a handler returned, as it is sent.

        Raises:
            TypeError: It cannot be.
            MemoryError: There is no memory for it.
        """
        try:
            if self.beside is not None and self._calls[ask.operation][0].operation.large:
                body, segment = self.beside.encode(value)
            else:
                body, segment = contract.encode(value), 0
        except contract.ContractMistake as mistake:
            text = f"its result cannot be sent back: {mistake}"
            raise TypeError(text) from None
        return requests.Answer(id=ask.id, body=msgspec.Raw(body), segment=segment)

    def reply(self, ask: requests.Ask, answer: requests.Answer | requests.Refusal) -> bool:
        """Sends what is left of progress and then the answer; whether it could be sent."""
        self.speaker.flush()
        if ask.segment and self.borrowed is not None and self.borrowed.keeps(ask.segment):
            answer = msgspec.structs.replace(answer, kept=True)
        return self.channel.send_frame(requests.encode(answer))

    def _receive(self, appetite: int) -> bytes:
        """Waits for more; empty: there is none, or a stop was asked for, which no handler is concerned by."""
        interruption.asked = False  # the next handler may be another one
        return interruption.while_idle(lambda: self.channel.receive_bytes(appetite, self.borrowed)) or b""

    def _carry_out(self, ask: requests.Ask) -> requests.Answer | requests.Refusal:
        prepared = self.prepare(ask)
        if isinstance(prepared, requests.Refusal):
            return prepared
        call, request = prepared
        try:
            return self.answer(ask, interruptible(call, request))
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            interruption.forbid()
            return refusal(ask, error)

    def prepare(self, ask: requests.Ask) -> tuple[Callable[[Any], Any], Any] | requests.Refusal:
        """The handler, the request, and its clock started; or why there is none."""
        known = self._calls.get(ask.operation)
        if known is None:
            names = ", ".join(f"`{name}`" for name in self._calls) or "nothing"
            text = f"there is no handler of `{ask.operation}`: this worker handles {names}"
            return requests.Refusal(id=ask.id, failure=wire.Failure(kind="arguments", message=text))
        handled, call = known
        try:
            beside = self.beside if handled.operation.large else None
            request = handled.operation.decode_request(
                ask.body, None if beside is None else beside.incoming(ask.segment)
            )
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return requests.Refusal(id=ask.id, failure=wire.Failure(kind="arguments", message=str(error)))
        self.speaker.turn_to(ask)
        return call, request


def interruptible(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of the user's, in which a stop is raised; after it none is."""
    interruption.allow()
    try:
        return function(*arguments)
    finally:
        interruption.forbid()


def refusal(ask: requests.Ask, error: BaseException) -> requests.Refusal:
    """The handler of ``ask`` has raised."""
    kind = "cancelled" if isinstance(error, Cancelled) else "exception"
    return requests.Refusal(id=ask.id, failure=failures.describe(error, kind))


def end_of_fork(answer: requests.Answer | requests.Refusal) -> int:
    """A process that a handler forked has come out of it: it answers for nobody, and ends as any Python program."""
    if isinstance(answer, requests.Answer):
        return 0
    session.show(answer.failure.traceback)  # as Python does
    return 1


def _through(layer: Callable[..., Any], call: Callable[[Any], Any], request: Any) -> Any:
    return layer(request, call)
