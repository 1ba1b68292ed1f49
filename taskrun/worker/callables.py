"""The handlers behind ``taskrun.workers.Executor``: one request, which carries a pickled call of any function.

What is unpickled here comes from the program, whose own process this is. Nothing else in taskrun unpickles.
"""

from __future__ import annotations

import contextlib
import pickle
from multiprocessing import process
from typing import TYPE_CHECKING, Any

from taskrun.model import Value
from taskrun.worker import failures, framing, main_module, session, wire
from taskrun.worker.contract import Handlers, Request
from taskrun.worker.stopping import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

TARGET = f"{__name__}:handlers"
LIMIT = framing.RESULT_LIMIT - 64 * 1024
"""Bytes of a pickled call, or of what it returned."""


class Outcome(Value, frozen=True, kw_only=True, array_like=True):
    """What came of a call.

    Attributes:
        value: What it returned, pickled.
        failure: What it raised, as text; ``None``: it returned.
        raised: The same, pickled; empty where it cannot be.
    """

    value: bytes = b""
    failure: wire.Failure | None = None
    raised: bytes = b""


class Call(Value, Request[Outcome], frozen=True, kw_only=True, array_like=True):
    """A call: function, arguments and named arguments, pickled as one."""

    payload: bytes


def setup_of(main: dict[str, Any], initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> bytes:
    """What each worker gets first.

    Raises:
        Exception: The initializer or its arguments cannot be pickled.
    """
    # Two pickles: the inner one may name the main module, which the outer one makes known. The key is for proxies of
    # multiprocessing's managers.
    inner = b"" if initializer is None else pickle.dumps((initializer, initargs), pickle.HIGHEST_PROTOCOL)
    key = bytes(process.current_process().authkey)
    return pickle.dumps((main, key, inner), pickle.HIGHEST_PROTOCOL)


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Makes the program's main module known, and calls the initializer."""
    main, key, inner = pickle.loads(session.setup)  # noqa: S301 - from the program
    process.current_process().authkey = key
    main_module.stand_in(main)
    if inner:
        initializer, initargs = pickle.loads(inner)  # noqa: S301 - likewise
        initializer(*initargs)
    yield


handlers = Handlers(state=_prepared)


@handlers.on(Call)
def call(request: Call, _state: None) -> Outcome:
    """Carries out a call. Raises nothing but a stop that was asked for."""
    try:
        function, args, kwargs = pickle.loads(request.payload)  # noqa: S301 - likewise
        value = pickled("what it returned", function(*args, **kwargs))
    except Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
        return Outcome(failure=failures.describe(error), raised=_pickled_error(error))
    return Outcome(value=value)


def pickled(what: str, value: object) -> bytes:
    """A value as it is sent.

    Raises:
        ValueError: It is too large.
        BaseException: It cannot be pickled.
    """
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    if len(data) > LIMIT:
        text = f"{what} takes {len(data):,} bytes pickled, more than the {LIMIT:,} that can be sent at once"
        raise ValueError(f"{text}: pass a path, or shared memory")
    return data


def _pickled_error(error: BaseException) -> bytes:
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
    except BaseException:  # noqa: BLE001 - a class of the user's: its text serves
        return b""
    return data if len(data) <= LIMIT else b""


def call_each(function: Callable[..., Any], chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Calls a function once for each tuple of arguments: a chunk of ``Executor.map``."""
    return [function(*args) for args in chunk]
