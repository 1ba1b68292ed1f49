"""What a program and its typed workers agree on: request classes with their result types, and who handles them.

Both ends import this module; it loads neither trio nor anything of a run. The two ends compare ``Operation.digest``,
so that a difference is found at the first hello and not by a value that does not fit.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import typing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin, overload

import msgspec

from taskrun.worker import hints

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Request(Generic[R_co]):
    """The base of request classes; its parameter is the type of the result.

    A request is a dataclass or a ``msgspec.Struct`` whose fields msgspec can carry, paths included::

        @dataclass(frozen=True)
        class Resize(Request[Resized]):
            path: Path
            width: int
    """

    __slots__ = ()


class Stateless:
    """The parameter of ``Handlers`` whose workers have no state; there are no values of it."""


Q = TypeVar("Q", bound=Request[Any])
Q_co = TypeVar("Q_co", bound=Request[Any], covariant=True)
S_co = TypeVar("S_co", covariant=True)

if TYPE_CHECKING:

    class _Declare(Generic[Q_co]):
        """Takes the handler of a request class; the result's type is read off the class by ``self``."""

        def __call__(self: _Declare[Request[R]], function: Callable[[Q_co], R], /) -> Callable[[Q_co], R]: ...

    class _DeclareWithState(Generic[Q_co, S_co]):
        def __call__(
            self: _DeclareWithState[Request[R], T], function: Callable[[Q_co, S_co], R], /
        ) -> Callable[[Q_co, S_co], R]: ...


class ContractMistake(TypeError):  # noqa: N818 - what it is
    """A class is no request class, or a handler handles none."""


class Operation:
    """One request class: its name on the wire, and how requests and results become bytes and back.

    Attributes:
        kind: The class.
        name: The class's name; both ends call it so, from whichever module they import it.
        digest: Of the JSON Schemas of request and result: equal where the two ends agree.
    """

    __slots__ = ("_decode_request", "_decode_result", "digest", "kind", "name")

    def __init__(self, kind: type[Request[Any]]) -> None:
        self.kind = kind
        self.name = kind.__qualname__
        result = _result_type(kind)
        self.digest = _digest(kind, result)
        self._decode_request = msgspec.msgpack.Decoder(kind, dec_hook=hints.from_plain).decode
        self._decode_result = msgspec.msgpack.Decoder(result, dec_hook=hints.from_plain).decode

    def decode_request(self, data: bytes | msgspec.Raw) -> Any:
        """The request.

        Raises:
            msgspec.ValidationError: It does not fit its type.
        """
        return self._decode_request(data)

    def decode_result(self, data: bytes | msgspec.Raw) -> Any:
        """The result.

        Raises:
            msgspec.ValidationError: It does not fit its type.
        """
        return self._decode_result(data)


_operations: dict[type[Request[Any]], Operation] = {}


def operation_of(kind: type[Request[Any]]) -> Operation:
    """The operation of a request class; made once.

    Raises:
        ContractMistake: It is none, or a field cannot be carried.
    """
    found = _operations.get(kind)
    if found is None:
        found = _operations[kind] = Operation(kind)
    return found


def encode(value: object) -> bytes:
    """A request or a result as bytes.

    Raises:
        TypeError: Something in it cannot be carried.
        ValueError: Likewise (text with a lone surrogate, nested too deeply).
        OverflowError: Likewise (a whole number beyond 64 bits).
    """
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply, or contains itself") from None


def _plain(value: Any) -> object:
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        return str(value)
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    for plain in (bool, int, float, str):
        if isinstance(value, plain):  # a subclass, such as numpy.float64
            return plain.__call__(value) if plain is not str else str.__str__(value)
    raise TypeError(f"`{type(value).__qualname__}` cannot be carried between processes")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


def _result_type(kind: Any) -> Any:
    """The parameter of ``Request`` among the bases of a class.

    Raises:
        ContractMistake: There is none.
    """
    if not (isinstance(kind, type) and issubclass(kind, Request)):
        raise ContractMistake(f"{kind!r} is no request class: derive it from `Request[TheResult]`")
    for base in kind.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            if get_origin(generic) is Request:
                return _evaluated(get_args(generic)[0], base)
    raise ContractMistake(f"`{kind.__qualname__}` does not say its result's type: derive it from `Request[TheResult]`")


def _evaluated(hint: Any, base: type) -> Any:
    if hint is None:
        return type(None)
    if isinstance(hint, typing.TypeVar):
        raise ContractMistake(f"`{base.__qualname__}` leaves its result's type open")
    if isinstance(hint, (str, typing.ForwardRef)):
        names = vars(sys.modules[base.__module__])
        holder = type("holder", (), {"__annotations__": {"result": hint}, "__module__": base.__module__})
        return typing.get_type_hints(holder, names, include_extras=True)["result"]
    return hint


def _digest(kind: Any, result: Any) -> str:
    schemas = []
    for what, part in ((f"`{kind.__qualname__}`", kind), (f"the result of `{kind.__qualname__}`", result)):
        try:
            schemas.append(msgspec.json.schema(part, schema_hook=hints.schema_of))
        except Exception as error:  # noqa: BLE001 - TypeError for what it does not know, others for bad hints
            raise ContractMistake(f"{what} cannot be carried between processes: {error}") from None
    return hashlib.sha256(msgspec.json.encode(schemas, order="sorted")).hexdigest()[:16]


class Handled:
    """One handler: its operation, and the function."""

    __slots__ = ("function", "is_async", "operation")

    def __init__(self, operation: Operation, function: Callable[..., Any]) -> None:
        self.operation = operation
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)


class Handlers(Generic[S]):
    """What a worker can do; a module of the user's has one, and a pool is opened by its name.

    Args:
        state: Called once per worker, before its first request: a context manager whose value is handed to every
            handler as its second argument, and which is left when the worker ends. ``None``: handlers take the
            request alone.
        middleware: Wraps every handler, the first outermost: called with the request and a function that goes on to
            the next, it returns the result.
    """

    @overload
    def __init__(
        self: Handlers[Stateless],
        state: None = None,
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Any]], Any], ...] = (),
    ) -> None: ...

    @overload
    def __init__(
        self,
        state: Callable[[], AbstractContextManager[S]],
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Any]], Any], ...] = (),
    ) -> None: ...

    def __init__(
        self,
        state: Callable[[], AbstractContextManager[S]] | None = None,
        *,
        middleware: tuple[Callable[[Any, Callable[[Any], Any]], Any], ...] = (),
    ) -> None:
        self.state = state
        self.middleware = middleware
        self.by_name: dict[str, Handled] = {}

    @overload
    def on(  # type: ignore[overload-overlap]  # nobody's state is a Stateless
        self: Handlers[Stateless], kind: type[Q]
    ) -> _Declare[Q]: ...

    @overload
    def on(self, kind: type[Q]) -> _DeclareWithState[Q, S]: ...

    def on(self, kind: type[Request[Any]]) -> Any:
        """Declares the decorated function the handler of a request class.

        Raises:
            ContractMistake: It is no request class, it has a handler already, or the function cannot take a request.
        """
        operation = operation_of(kind)
        if operation.name in self.by_name:
            raise ContractMistake(f"`{operation.name}` has two handlers")

        def declare(function: Callable[..., T]) -> Callable[..., T]:
            wanted = 1 if self.state is None else 2
            try:
                inspect.signature(function).bind(*range(wanted))
            except TypeError:
                words = "the request" if wanted == 1 else "the request and the state"
                raise ContractMistake(f"the handler of `{operation.name}` must take {words}, by position") from None
            except ValueError:
                pass  # it does not tell
            self.by_name[operation.name] = Handled(operation, function)
            return function

        return declare
