"""A worker of a pool: loads the handlers, makes its state, and answers requests until nothing more comes.

One request after the other, in the order in which they came. It never raises because of a request.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.worker import contract, failures, requests, session, targets, wire
from taskrun.worker.session import Speaker
from taskrun.worker.stopping import Cancelled, interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.worker.contract import Handled, Handlers
    from taskrun.worker.session import Session


def serve(channel: Session, target: str) -> int:
    """Serves to the end of the channel, or until a stop was asked for; returns the exit status."""
    try:
        handlers = _load(target)
    except targets.TargetMistake as mistake:
        channel.send_frame(requests.encode(requests.Hello(mistake=mistake.mistake)))
        return 1
    with contextlib.ExitStack() as stack:
        try:
            arguments = () if handlers.state is None else (stack.enter_context(handlers.state()),)
        except BaseException as error:  # noqa: BLE001 - the user's, whatever it is
            channel.send_frame(requests.encode(requests.Hello(failure=failures.describe(error))))
            return 1
        operations = {name: handled.operation.digest for name, handled in handlers.by_name.items()}
        channel.send_frame(requests.encode(requests.Hello(operations=operations)))
        speaker = _RequestSpeaker(channel)
        session.begin(speaker)
        try:
            status = _Server(channel, speaker, handlers, arguments).run()
        finally:
            session.begin(None)
        if status is not None:
            _kept.append(stack.pop_all())  # the state is its parent's to leave
            return status
    return 0


_kept: list[object] = []


def _load(target: str) -> Handlers[Any]:
    """The handlers of that name.

    Raises:
        TargetMistake: The import failed, or there are no handlers of that name.
    """
    module, name = targets.split(target)
    targets.import_module(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        if not hasattr(found, part):
            hint = targets.nearest(part, [each for each in vars(found) if not each.startswith("_")])
            text = f"module `{module}` has no `{name}`"
            raise targets.TargetMistake(wire.Mistake(type="not-found", message=text, hint=hint))
        found = getattr(found, part)
    if not isinstance(found, contract.Handlers):
        text = f"`{target}` is a `{type(found).__qualname__}` and no `taskrun.workers.Handlers`"
        raise targets.TargetMistake(wire.Mistake(type="not-handlers", message=text))
    return found


class _RequestSpeaker(Speaker):
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


class _Server:
    """The loop over requests."""

    def __init__(
        self, channel: Session, speaker: _RequestSpeaker, handlers: Handlers[Any], arguments: tuple[Any, ...]
    ) -> None:
        self._channel = channel
        self._speaker = speaker
        self._calls = {
            name: (handled, _wrapped(handled, handlers.middleware, arguments))
            for name, handled in handlers.by_name.items()
        }

    def run(self) -> int | None:
        """Until nothing more comes, or a stop was asked for; an exit status in a process that a handler has forked."""
        worker = os.getpid()
        frames = requests.Frames(requests.ToWorker)
        while data := self._receive(frames.appetite):
            for message in frames.feed(data):
                if isinstance(message, requests.Leave):
                    return None
                answer = self._carry_out(message)
                if os.getpid() != worker:
                    return _end_of_fork(answer)
                self._speaker.flush()
                if not self._channel.send_frame(requests.encode(answer)) or interruption.signal:
                    return None
        return None

    def _receive(self, appetite: int) -> bytes:
        """Waits for more; empty: there is none, or a stop was asked for, which no handler is concerned by."""
        interruption.asked = False  # the next handler may be another one
        try:
            interruption.allow()
            try:
                return self._channel.receive_bytes(appetite)
            finally:
                interruption.forbid()
        except Cancelled:
            interruption.forbid()
            return b""

    def _carry_out(self, ask: requests.Ask) -> requests.Answer | requests.Refusal:
        known = self._calls.get(ask.operation)
        if known is None:
            names = ", ".join(f"`{name}`" for name in self._calls) or "nothing"
            text = f"there is no handler of `{ask.operation}`: this worker handles {names}"
            return requests.Refusal(id=ask.id, failure=wire.Failure(kind="arguments", message=text))
        handled, call = known
        try:
            request = handled.operation.decode_request(ask.body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return requests.Refusal(id=ask.id, failure=wire.Failure(kind="arguments", message=str(error)))
        self._speaker.turn_to(ask)
        try:
            interruption.allow()
            try:
                value = call(request)
            finally:
                interruption.forbid()
            return requests.Answer(id=ask.id, body=_body(value))
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            interruption.forbid()
            kind = "cancelled" if isinstance(error, Cancelled) else "exception"
            return requests.Refusal(id=ask.id, failure=failures.describe(error, kind))


def _end_of_fork(answer: requests.Answer | requests.Refusal) -> int:
    """A process that a handler forked has come out of it: it answers for nobody, and ends as any Python program."""
    if isinstance(answer, requests.Answer):
        return 0
    session.show(answer.failure.traceback)  # as Python does
    return 1


def _body(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(contract.encode(value))
    except contract.ContractMistake as mistake:
        text = f"its result cannot be sent back: {mistake}"
        raise TypeError(text) from None


def _wrapped(
    handled: Handled, middleware: tuple[Callable[..., Any], ...], arguments: tuple[Any, ...]
) -> Callable[[Any], Any]:
    """The handler as a function of the request alone, inside its middleware."""
    function = handled.function
    call: Callable[[Any], Any] = (lambda request: function(request, *arguments)) if arguments else function
    for layer in reversed(middleware):
        call = functools.partial(_through, layer, call)
    return call


def _through(layer: Callable[..., Any], call: Callable[[Any], Any], request: Any) -> Any:
    return layer(request, call)
