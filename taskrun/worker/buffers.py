"""`Buffer` and numpy's arrays in messages: small ones inside, large ones beside, in memory that both ends see.

Nothing is unpickled: an array is its bytes, and its dtype, shape and order as plain values. numpy is never imported for
a message that has no array.
"""

from __future__ import annotations

import sys
from _thread import _local
from typing import TYPE_CHECKING, Any, Protocol, get_args, get_origin

import msgspec

from taskrun.model import Value
from taskrun.worker.shared import SharedBuffer

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    import numpy as np

INLINE = 64 * 1024
"""Bytes up to which a value travels inside its message."""
_ALIGNED = 64  # bytes: what vector instructions like best
_CODE = 84  # of the msgpack extension


class Readable(Protocol):
    """Anything with the buffer protocol; `collections.abc.Buffer` since Python 3.12."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """What ``memoryview`` asks for."""


class Arraylike(Protocol):
    """What numpy's arrays are to type checkers before Python 3.12."""

    @property
    def data(self) -> memoryview:
        """Likewise."""


class Buffer:
    """Bytes that travel without being encoded; made of anything with the buffer protocol.

    Args:
        data: Bytes, a bytearray, a memoryview, an mmap, an array, ...; it must not change until ``send`` has returned.

    Attributes:
        view: The bytes, one-dimensional and of format ``B``. Of a request, in a worker, they are read-only.
    """

    __slots__ = ("view",)

    def __init__(self, data: Readable | Arraylike) -> None:
        readable: Any = data
        self.view = _flat(memoryview(readable))

    def __len__(self) -> int:
        return self.view.nbytes

    def __bytes__(self) -> bytes:
        return self.view.tobytes()

    def __buffer__(self, flags: int, /) -> memoryview:
        return self.view  # asked for since Python 3.12

    def __repr__(self) -> str:
        return f"<Buffer of {len(self):,} bytes>"


def _flat(view: memoryview) -> memoryview:
    if not view.nbytes:
        return memoryview(b"")
    try:
        return view.cast("B")
    except (TypeError, NotImplementedError, ValueError):  # not contiguous, or of a format that memoryview cannot read
        return memoryview(view.tobytes())


class _Carried(Value, frozen=True, kw_only=True, array_like=True):
    """One value in a message.

    Attributes:
        kind: ``"b"``: a ``Buffer``; ``"a"``: an array; ``"s"``: a ``SharedBuffer``.
        at: Offset in the message's segment; -1: it is in ``data``. Of a ``SharedBuffer``, its number.
        size: Bytes.
        dtype: As numpy's file format describes it.
        order: ``"C"`` or ``"F"``.
    """

    kind: str
    at: int
    size: int = 0
    dtype: Any = None
    shape: tuple[int, ...] = ()
    order: str = "C"
    data: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Carried).decode


class Outgoing:
    """What goes beside a message that is being encoded.

    Args:
        back: It goes to the program, which knows its shared buffers by its own numbers.

    Attributes:
        size: Bytes that its segment must have; 0: it needs none.
        shared: The shared buffers that it names.
    """

    __slots__ = ("_parts", "back", "shared", "size")

    def __init__(self, *, back: bool = False) -> None:
        self.back = back
        self.size = 0
        self.shared: list[SharedBuffer] = []
        self._parts: list[tuple[int, memoryview | np.ndarray[Any, Any], str]] = []

    def add(self, part: memoryview | np.ndarray[Any, Any], order: str = "C") -> int:
        """Another part; its offset."""
        at = self.size
        self._parts.append((at, part, order))
        self.size = at + -(-part.nbytes // _ALIGNED) * _ALIGNED
        return at

    def write(self, target: mmap.mmap) -> None:
        """Copies all parts to where they belong."""
        for at, part, order in self._parts:
            if isinstance(part, memoryview):
                with memoryview(target) as whole, whole[at : at + part.nbytes] as place:
                    place[:] = part
            else:
                _array(target, at, part.dtype, part.shape, order)[...] = part


class Incoming:
    """What came beside a message that is being decoded.

    Args:
        mapping: Its segment, if it has one.
        shared: Finds a shared buffer.
        copied: Whether values get memory of their own, to be written to and kept; else they look at the segment.
    """

    __slots__ = ("copied", "mapping", "shared")

    def __init__(self, mapping: mmap.mmap | None, shared: Callable[[int], SharedBuffer], *, copied: bool) -> None:
        self.mapping = mapping
        self.shared = shared
        self.copied = copied


class _Now(_local):
    """What the message that this thread is at has beside it."""

    outgoing: Outgoing | None = None
    incoming: Incoming | None = None


now = _Now()


# --- out --------------------------------------------------------------------------------------------------------------


def carried(value: object) -> msgspec.msgpack.Ext | None:
    """How a message holds one of our values; ``None``: it is none, or this message may have none.

    Raises:
        TypeError: It is an array that cannot be carried.
    """
    outgoing = now.outgoing
    if outgoing is None:
        return None
    if isinstance(value, Buffer):
        return _ext(_bytes_of(value.view, outgoing))
    if isinstance(value, SharedBuffer):
        outgoing.shared.append(value)
        return _ext(_Carried(kind="s", at=value.name(back=outgoing.back)))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _ext(_array_of(value, outgoing, numpy))
    return None


def _ext(value: _Carried) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(_CODE, _encode(value))


def _bytes_of(view: memoryview, outgoing: Outgoing) -> _Carried:
    if view.nbytes > INLINE:
        return _Carried(kind="b", at=outgoing.add(view), size=view.nbytes)
    return _Carried(kind="b", at=-1, size=view.nbytes, data=view.tobytes())


def _array_of(array: np.ndarray[Any, Any], outgoing: Outgoing, numpy: Any) -> _Carried:
    if type(array) not in {numpy.ndarray, numpy.memmap}:
        raise TypeError(f"`{type(array).__qualname__}` is no plain array: what it has beside its values would be lost")
    dtype = _described(array.dtype, numpy)
    order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    beside = array.nbytes > INLINE
    return _Carried(
        kind="a",
        at=outgoing.add(array, order) if beside else -1,
        size=array.nbytes,
        dtype=dtype,
        shape=array.shape,
        order=order,
        data=b"" if beside else array.tobytes(order),
    )


def _described(dtype: np.dtype[Any], numpy: Any) -> object:
    """A dtype as plain values.

    Raises:
        TypeError: Its values are no plain bytes, or nobody could tell what it was.
    """
    if dtype.hasobject:
        raise TypeError(f"an array of `{dtype}` holds Python objects, which are not carried")
    if dtype.isbuiltin == 1:  # most are
        return dtype.str
    described = numpy.lib.format.dtype_to_descr(dtype) if dtype.isbuiltin == 0 else None
    if described is None or numpy.lib.format.descr_to_dtype(described) != dtype:
        raise TypeError(f"an array of `{dtype}` cannot be carried: numpy cannot describe its type")
    return described


# --- in ---------------------------------------------------------------------------------------------------------------


def beside(incoming: Incoming, decode: Callable[[bytes | msgspec.Raw], Any], data: bytes | msgspec.Raw) -> Any:
    """Decodes a message that something came beside."""
    now.incoming = incoming
    try:
        return decode(data)
    finally:
        now.incoming = None


def arrived(code: int, data: memoryview) -> object:
    """A value of a message, for msgspec.

    Raises:
        ValidationError: It is none.
    """
    incoming = now.incoming
    if code != _CODE or incoming is None:
        return msgspec.msgpack.Ext(code, bytes(data))
    try:
        value = _decode(data)
        return _shared(value, incoming) if value.kind == "s" else _looked_at(value, incoming)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise msgspec.ValidationError(f"what came beside the message does not fit: {error}") from None


def _shared(value: _Carried, incoming: Incoming) -> SharedBuffer:
    try:
        return incoming.shared(value.at)
    except KeyError:
        raise msgspec.ValidationError("the `SharedBuffer` has been closed meanwhile") from None


def _looked_at(value: _Carried, incoming: Incoming) -> object:
    """A buffer or an array."""
    source: Any = value.data
    at = 0
    if value.at >= 0:
        source, at = incoming.mapping, value.at
    elif incoming.copied:
        source = bytearray(source)
    if value.kind == "b":
        with memoryview(source) as whole:
            part = whole[at : at + value.size]
            return Buffer(bytearray(part) if incoming.copied and value.at >= 0 else part)
    import numpy as np

    array = _array(source, at, np.lib.format.descr_to_dtype(_with_tuples(value.dtype)), value.shape, value.order)
    return array.copy("K") if incoming.copied and value.at >= 0 else array


def _array(source: Any, at: int, dtype: Any, shape: tuple[int, ...], order: Any) -> np.ndarray[Any, Any]:
    """An array that looks at these bytes."""
    import numpy as np

    if not dtype.itemsize or 0 in shape:
        return np.empty(shape, dtype, order)
    # By way of another array: that one keeps its buffer, by which it is seen that somebody still looks at the source.
    return np.ndarray(shape, dtype, np.frombuffer(source, np.uint8), at, order=order)


def _with_tuples(described: Any) -> Any:
    """The description of a dtype as it was before msgpack, which knows no tuples: fields of name, type, and shape."""
    if isinstance(described, str):
        return described
    return [
        tuple(
            (_with_tuples(part) if index == 1 else tuple(part)) if isinstance(part, list) else part
            for index, part in enumerate(field)
        )
        for field in described
    ]


# --- types ------------------------------------------------------------------------------------------------------------


def shape_of(kind: Any) -> object:
    """What a digest says of a type of ours; ``None``: it is none."""
    kind = get_origin(kind) or kind
    return f"{MARK}{kind.__name__}" if _is_ours(kind) else None


MARK = "taskrun:"
"""How ``shape_of`` begins."""


def _is_ours(kind: Any) -> bool:
    if kind is Buffer or kind is SharedBuffer:
        return True
    numpy = sys.modules.get("numpy")  # a hint that is its array has imported it
    return numpy is not None and kind is numpy.ndarray


def fits(kind: Any, value: object) -> bool:
    """Whether a value that has arrived is of a type of ours; for another type it is not.

    Raises:
        TypeError: The type is ours, and the value is not of it.
    """
    plain = get_origin(kind) or kind
    if not _is_ours(plain):
        return False
    if not isinstance(value, plain):
        raise TypeError(f"Expected `{plain.__name__}`, got `{type(value).__name__}`")
    of = get_args(kind)[1:]
    scalar = get_args(of[0])[:1] if of else ()
    if scalar and isinstance(scalar[0], type) and not issubclass(value.dtype.type, scalar[0]):
        raise TypeError(f"Expected an array of `{scalar[0].__name__}`, got one of `{value.dtype}`")
    return True
