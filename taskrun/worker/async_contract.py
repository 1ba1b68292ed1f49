"""Handlers that wait: a worker of theirs runs trio. It must not be loaded where handlers are plain functions."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from taskrun.worker import async_serving  # noqa: F401 - so that the template has it, with trio, and not each of its forks
from taskrun.worker.contract import ContractMistake, Declared, Q, Q_co, Request, S, S_co, Stateless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

R = TypeVar("R")
T = TypeVar("T")

if TYPE_CHECKING:

    class _Declare(Generic[Q_co]):
        """As in ``contract``, for a function of either sort."""

        @overload
        def __call__(
            self: _Declare[Request[R]], function: Callable[[Q_co], Coroutine[Any, Any, R]], /
        ) -> Callable[[Q_co], Coroutine[Any, Any, R]]: ...

        @overload
        def __call__(self: _Declare[Request[R]], function: Callable[[Q_co], R], /) -> Callable[[Q_co], R]: ...

        def __call__(self, function: Any, /) -> Any: ...

    class _DeclareWithState(Generic[Q_co, S_co]):
        @overload
        def __call__(
            self: _DeclareWithState[Request[R], T], function: Callable[[Q_co, S_co], Coroutine[Any, Any, R]], /
        ) -> Callable[[Q_co, S_co], Coroutine[Any, Any, R]]: ...

        @overload
        def __call__(
            self: _DeclareWithState[Request[R], T], function: Callable[[Q_co, S_co], R], /
        ) -> Callable[[Q_co, S_co], R]: ...

        def __call__(self, function: Any, /) -> Any: ...


class AsyncHandlers(Declared, Generic[S]):
    """What a worker can do that runs trio: as ``Handlers``, but that handlers, state and middleware may be async.

    Args:
        state: Called once per worker, before its first request: a context manager, async or not, whose value is handed
            to every handler as its second argument, and which is left when the worker ends. What it starts in a nursery
            runs beside the handlers. ``None``: handlers take the request alone.
        middleware: Wraps every handler, the first outermost: called with the request and an async function that goes on
            to the next; async or not, it returns the result.
    """

    @overload
    def __init__(
        self: AsyncHandlers[Stateless],
        state: None = None,
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Awaitable[Any]]], Any], ...] = (),
    ) -> None: ...

    @overload
    def __init__(
        self,
        state: Callable[[], AbstractAsyncContextManager[S] | AbstractContextManager[S]],
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Awaitable[Any]]], Any], ...] = (),
    ) -> None: ...

    def __init__(
        self,
        state: Callable[[], AbstractAsyncContextManager[S] | AbstractContextManager[S]] | None = None,
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Awaitable[Any]]], Any], ...] = (),
    ) -> None:
        super().__init__(state, middleware)

    @overload
    def on(  # type: ignore[overload-overlap]  # nobody's state is a Stateless
        self: AsyncHandlers[Stateless], kind: type[Q]
    ) -> _Declare[Q]: ...

    @overload
    def on(self, kind: type[Q]) -> _DeclareWithState[Q, S]: ...

    def on(self, kind: type[Request[Any]]) -> Any:
        """Declares the decorated function, async or not, the handler of a request class.

        Raises:
            ContractMistake: It is no request class, it has a handler already, or the function cannot take a request.
        """
        operation = self.free(kind)

        def declare(function: Callable[..., T]) -> Callable[..., T]:
            if inspect.isasyncgenfunction(function):
                raise ContractMistake(f"the handler of `{operation.name}` yields: a request has one result")
            self.declare(kind, function)
            return function

        return declare
