"""One call of an ``Executor``: its future, its way through the pool, and its failures as those of futures.

What is unpickled here was pickled by the program's own workers, of values that its own functions returned or raised.
"""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from taskrun.worker.callables import Call, Outcome, call_each, pickled
from taskrun.worker.contract import encode, operation_of
from taskrun.workers.errors import HandlerFailed, RequestTimedOut, WorkerCrashed, WorkersError
from taskrun.workers.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.link import Usage
    from taskrun.worker.wire import Failure

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_OPERATION = operation_of(Call)


class WorkerDied(WorkerCrashed, BrokenProcessPool):
    """The worker died in this call: the others go on, in a pool that is not broken. Attributes as ``WorkerCrashed``."""


class CallTimedOut(RequestTimedOut, TimeoutError):  # noqa: N818 - reads as what happened
    """The call took longer than its ``timeout``; its work has been ended. Attributes as ``RequestTimedOut``."""


class Unreadable(HandlerFailed, BrokenProcessPool):
    """What the call returned or raised cannot be unpickled here; why is its ``__cause__``. The pool is not broken."""


class Owner(Protocol):
    """The engine, as its calls see it.

    Attributes:
        kill_on_cancel: A future that is cancelled while it runs is ended.
    """

    kill_on_cancel: bool

    def settled(self, order: Order) -> None:
        """It has come to its end."""

    def end_work(self, future: CallFuture[Any]) -> None:
        """It was cancelled while it ran."""


class CallFuture(Future[T]):
    """A future whose running work can be ended.

    Attributes:
        engine: Whose it is.
        order: Its way through the pool, while it is under way there.
    """

    def __init__(self, engine: Owner) -> None:
        super().__init__()
        self.engine = engine
        self.order: Order | None = None

    def cancel(self) -> bool:
        """As any future's; while it runs it is ended, if the executor was told ``kill_on_cancel=True``."""
        return super().cancel() or (self.engine.kill_on_cancel and self.kill())

    def kill(self) -> bool:
        """Cancels it, running or not; ``False``: it is done."""
        if super().cancel():
            return True
        with self._condition:
            if not self.running():
                return self.cancelled()
            self._state = "CANCELLED"
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # as `cancel` does
        self.set_running_or_notify_cancel()
        self.engine.end_work(self)
        return True


class Wanted:
    """A call that no worker has got."""

    __slots__ = ("args", "body", "function", "future", "kwargs", "timeout")

    def __init__(
        self,
        future: CallFuture[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> None:
        self.future = future
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.timeout = timeout
        self.body = b""

    def encode(self) -> None:
        """Makes the request, unless it is made.

        Raises:
            BaseException: It cannot be pickled, or is too large.
        """
        self.body = self.body or encode(Call(payload=pickled("the call", (self.function, self.args, self.kwargs))))

    @property
    def called(self) -> Any:
        """The user's function."""
        return self.args[0] if self.function is call_each else self.function

    @property
    def name(self) -> str:
        """The function's, for messages."""
        called = self.called
        return str(getattr(called, "__qualname__", type(called).__qualname__))


class Order(Ticket):
    """A call under way in the pool. Nobody waits for it: when it is settled it tells the engine."""

    __slots__ = ("engine", "future", "name")

    def __init__(self, number: int, wanted: Wanted, engine: Owner) -> None:
        super().__init__(number, _OPERATION, wanted.body, priority=0, limit=wanted.timeout, on_progress=None)
        self.engine = engine
        self.future = wanted.future
        self.name = wanted.name
        self.future.order = self

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self.future.order = None
            self.engine.settled(self)

    def crash(self, usage: Usage | None, stderr: str) -> WorkerCrashed:
        """See ``Ticket``."""
        crash = super().crash(usage, stderr)
        return died(
            self.name,
            exit_code=crash.exit_code,
            signal=crash.signal,
            cpu=crash.cpu,
            max_rss=crash.max_rss,
            stderr=stderr,
        )

    def outcome(self) -> tuple[Any, BaseException | None]:
        """What the call returned, and what it raised instead. Does not raise, so that no frame holds on to it."""
        if self._failure is not None:
            return None, self._as_futures_have_it(self._failure)
        assert self._answer is not None
        try:
            outcome: Outcome = _OPERATION.decode_result(self._answer)
        except msgspec.MsgspecError as error:
            return None, HandlerFailed(self.name, type(error).__name__, str(error))
        if outcome.failure is not None:
            return None, self._raised(outcome.failure, outcome.raised)
        try:
            return pickle.loads(outcome.value), None  # noqa: S301 - see above
        except BaseException as error:  # noqa: BLE001 - a class of the user's; it fails this call and nothing else
            text = f"what it returned cannot be unpickled here: {error}"
            return None, _because(Unreadable(self.name, type(error).__name__, text), error)

    def _raised(self, failure: Failure, raised: bytes) -> BaseException:
        told = (failure.type_names[0] if failure.type_names else "BaseException", failure.message, failure.traceback)
        if not raised:
            return HandlerFailed(self.name, *told, failure.notes)
        try:
            error = pickle.loads(raised)  # noqa: S301 - see above
        except BaseException as mistake:  # noqa: BLE001 - likewise
            return _because(Unreadable(self.name, *told, failure.notes), mistake)
        if not isinstance(error, BaseException):
            return Unreadable(self.name, *told, failure.notes)
        text: Any = f'\n"""\n{failure.traceback}"""'  # as CPython's own has it
        return _because(error, _RemoteTraceback(text))

    def _as_futures_have_it(self, failure: Exception) -> BaseException:
        match failure:
            case WorkerDied():
                return failure
            case RequestTimedOut():
                return CallTimedOut(self.name, failure.after, failure.stack)
            case HandlerFailed(type_name="Cancelled"):  # somebody else has sent it a SIGTERM
                return died(self.name, exit_code=None, signal=SIGTERM)
            case HandlerFailed():
                return HandlerFailed(self.name, failure.type_name, failure.message, failure.traceback, failure.notes)
            case WorkersError():
                return broken(failure)
        return failure


def died(name: str, **how: Any) -> WorkerDied:
    """A worker's death in a call."""
    return WorkerDied(name, attempt=1, **how)


def broken(failure: BaseException) -> BrokenProcessPool:
    """The pool cannot go on, or was ended: what futures get that are not done."""
    error = BrokenProcessPool(str(failure) or type(failure).__name__)
    return _because(error, failure)


def again(failure: BrokenProcessPool) -> BrokenProcessPool:
    """The same for another: an exception that many raise would collect all of their tracebacks."""
    return broken(failure.__cause__ or failure)


def _because(error: E, cause: BaseException) -> E:
    error.__cause__ = cause
    return error


def settle(future: CallFuture[Any], value: object, failure: BaseException | None) -> None:
    """Gives a future its end, unless it has one. Raises nothing, whatever its callbacks do."""
    try:
        if failure is None:
            future.set_result(value)
        else:
            future.set_exception(failure)
    except InvalidStateError:
        pass  # it was cancelled meanwhile, or somebody else has set it
    except BaseException as error:  # noqa: BLE001 - a callback's SystemExit, say: `Future` catches the others
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


def refuse(future: CallFuture[Any], failure: BaseException) -> None:
    """Fails a future that no worker has got."""
    try:
        waits = future.set_running_or_notify_cancel()
    except (InvalidStateError, RuntimeError):
        return
    if waits:
        settle(future, None, failure)
