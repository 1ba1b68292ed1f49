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
import msgspec.inspect

from taskrun.worker import buffers, encoding, hints
from taskrun.worker.framing import RESULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from taskrun.worker.buffers import Incoming, Outgoing

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
    """A class is no request class, a handler handles none, or a value cannot be carried between processes."""


class Operation:
    """One request class: its name on the wire, and how requests and results become bytes and back.

    Attributes:
        kind: The class.
        name: The class's name; both ends call it so, from whichever module they import it.
        digest: Of the types of request and result, field by field: equal where the two ends agree.
        large: Whether a request or its result may have a ``Buffer``, an array or a ``SharedBuffer``.
    """

    __slots__ = ("_decode_request", "_decode_result", "digest", "kind", "large", "name")

    def __init__(self, kind: type[Request[Any]]) -> None:
        result = _result_type(kind)
        self.kind = kind
        self.name = kind.__qualname__
        shapes = _shapes(kind, result)
        self.digest = hashlib.sha256(shapes).hexdigest()[:16]
        self.large = buffers.MARK.encode() in shapes or b'"AnyType"' in shapes
        self._decode_request = _decoder(kind)
        self._decode_result = _decoder(result)

    def decode_request(self, data: bytes | msgspec.Raw, incoming: Incoming | None = None) -> Any:
        """The request.

        Args:
            data: The message.
            incoming: What came beside it.

        Raises:
            msgspec.ValidationError: It does not fit its type.
        """
        return buffers.beside(incoming, self._decode_request, data) if incoming else self._decode_request(data)

    def decode_result(self, data: bytes | msgspec.Raw, incoming: Incoming | None = None) -> Any:
        """The result; as ``decode_request``."""
        return buffers.beside(incoming, self._decode_result, data) if incoming else self._decode_result(data)


def _decoder(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_from_plain, ext_hook=buffers.arrived).decode


def _from_plain(kind: Any, value: Any) -> Any:
    """What a field of a class that msgspec does not know holds."""
    return value if buffers.fits(kind, value) else hints.from_plain(kind, value)


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


def encode(value: object, outgoing: Outgoing | None = None) -> bytes:
    """A request or a result as bytes.

    Args:
        value: The request or result.
        outgoing: For what goes beside it; ``None``: nothing may.

    Raises:
        ContractMistake: Something in it cannot be carried, or it is too large; where and why.
    """
    if outgoing is not None:
        buffers.now.outgoing = outgoing
    try:
        data = _encoder.encode(value)
    except Exception as error:  # noqa: BLE001 - whatever a class of the user's does when it is read
        raise ContractMistake(_place(value) + _why(error)) from None
    finally:
        if outgoing is not None:
            buffers.now.outgoing = None
    if len(data) > RESULT_LIMIT:
        raise ContractMistake(f"it takes {len(data):,} bytes, more than the {RESULT_LIMIT:,} that may be sent at once")
    return data


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "text with a lone surrogate, which UTF-8 cannot hold"
    if isinstance(error, OverflowError):
        return "a whole number beyond 64 bits"
    if isinstance(error, RecursionError):
        return "nested too deeply, or contains itself"
    return str(error).split("\n", 1)[0] or type(error).__name__


def _place(value: object) -> str:
    """Which field of it cannot be carried; empty where there are none."""
    for name in hints.fields(type(value)):
        try:
            _encoder.encode(getattr(value, name, None))
        except Exception:  # noqa: BLE001 - it is this one
            return f"`{name}`: "
    return ""


def _plain(value: Any) -> object:
    """As in results of tasks, but no copy of an array or a mapping is made in silence."""
    ours = buffers.carried(value)
    if ours is not None:
        return ours
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):  # a scalar
        scalar: object = value.item()
        return scalar
    try:
        return encoding.simple(value)
    except NotImplementedError:
        raise TypeError(f"`{type(value).__qualname__}` is no type that can be carried") from None


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


def _shapes(kind: Any, result: Any) -> bytes:
    """The types of request and result, in writing.

    Raises:
        ContractMistake: One of them cannot be carried.
    """
    shapes = []
    for what, part in ((f"`{kind.__qualname__}`", kind), (f"the result of `{kind.__qualname__}`", result)):
        try:
            shapes.append(_shape(msgspec.inspect.type_info(part), set()))
        except Exception as error:  # noqa: BLE001 - TypeError for what it does not know, others for bad hints
            why = str(error).rsplit("\n", 1)[-1] or type(error).__name__
            raise ContractMistake(f"{what} cannot be carried between processes: {why}") from None
    return msgspec.json.encode(shapes, order="sorted")


def _shape(part: Any, seen: set[object]) -> object:
    """A type as plain values, without defaults: the sender says every field.

    Raises:
        TypeError: It cannot be carried.
    """
    if isinstance(part, (tuple, list)):
        return [_shape(each, seen) for each in part]
    if isinstance(part, msgspec.inspect.CustomType):
        return _shape_of_class(part.cls)
    if not isinstance(part, (msgspec.inspect.Type, msgspec.inspect.Field)):
        return part if isinstance(part, (bool, int, float, str)) or part is None else repr(part)
    cls: Any = getattr(part, "cls", None)
    if isinstance(part, msgspec.inspect.EnumType):
        return [part.cls.__name__, [[name, repr(member.value)] for name, member in part.cls.__members__.items()]]
    if cls in seen:
        return [cls.__name__]  # it contains itself
    names = [name for name in part.__struct_fields__ if name != "cls" and not name.startswith("default")]
    inner = seen if cls is None else {*seen, cls}
    name = type(part).__name__ if cls is None else cls.__name__
    return [name, {each: _shape(getattr(part, each), inner) for each in names}]


def _shape_of_class(cls: Any) -> object:
    ours = buffers.shape_of(cls)
    if ours is not None:
        return ours
    try:
        return hints.schema_of(cls)
    except NotImplementedError:
        hint = ": make it a dataclass or a `msgspec.Struct`" if Request in getattr(cls, "__mro__", ()) else ""
        raise TypeError(f"`{hints.type_name(cls)}` is no type that can be carried{hint}") from None


class Handled:
    """One handler: its operation, and the function."""

    __slots__ = ("function", "operation")

    def __init__(self, operation: Operation, function: Callable[..., Any]) -> None:
        self.operation = operation
        self.function = function


class Declared:
    """The handlers of a module, and what is around them: what the two sorts of ``Handlers`` have in common."""

    def __init__(self, state: Callable[[], Any] | None, middleware: tuple[Callable[..., Any], ...]) -> None:
        self.state = state
        self.middleware = middleware
        self.by_name: dict[str, Handled] = {}

    def declare(self, kind: type[Request[Any]], function: Callable[..., Any]) -> None:
        """Makes a function the handler of a request class.

        Raises:
            ContractMistake: It is no request class, it has a handler already, or the function cannot take a request.
        """
        operation = self.free(kind)
        wanted = 1 if self.state is None else 2
        try:
            inspect.signature(function).bind(*range(wanted))
        except TypeError:
            words = "the request" if wanted == 1 else "the request and the state"
            raise ContractMistake(f"the handler of `{operation.name}` must take {words}, by position") from None
        except ValueError:
            pass  # it does not tell
        self.by_name[operation.name] = Handled(operation, function)

    def free(self, kind: type[Request[Any]]) -> Operation:
        """The operation of a request class that has no handler.

        Raises:
            ContractMistake: It has one, or is no request class.
        """
        operation = operation_of(kind)
        if operation.name in self.by_name:
            raise ContractMistake(f"`{operation.name}` has two handlers")
        return operation


class Handlers(Declared, Generic[S]):
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
        super().__init__(state, middleware)

    @overload
    def on(  # type: ignore[overload-overlap]  # nobody's state is a Stateless
        self: Handlers[Stateless], kind: type[Q]
    ) -> _Declare[Q]: ...

    @overload
    def on(self, kind: type[Q]) -> _DeclareWithState[Q, S]: ...

    def on(self, kind: type[Request[Any]]) -> Any:
        """Declares the decorated function the handler of a request class.

        Raises:
            ContractMistake: It is no request class, it has a handler already, or the function cannot take a
                request, or is async.
        """
        operation = self.free(kind)

        def declare(function: Callable[..., T]) -> Callable[..., T]:
            if inspect.iscoroutinefunction(function):
                raise ContractMistake(f"the handler of `{operation.name}` is async: that takes `AsyncHandlers`")
            self.declare(kind, function)
            return function

        return declare
