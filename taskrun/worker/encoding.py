"""Results and checkpoints to JSON, and where in a value it does not work."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class NotJson(Exception):  # noqa: N818 - what the value is
    """A value cannot be written as JSON; the message says what and where."""


def to_json(value: object) -> bytes:
    """JSON of anything that msgspec knows, and of paths, mappings, numpy's scalars and arrays, and pydantic's models.

    Raises:
        NotJson: It cannot be written.
    """
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise NotJson(_locate(value) or "it is nested too deeply, or contains itself") from None
    except Exception as error:  # noqa: BLE001 - whatever a user's class does when it is read
        raise NotJson(_locate(value) or _first_line(error)) from None


def simple(value: Any) -> object:
    """A number, a text, a model or a path of a class that msgspec does not know by itself, as something that it knows.

    Raises:
        NotImplementedError: It is of another kind.
    """
    for plain in (bool, int, float, str):
        if isinstance(value, plain):  # a subclass, such as numpy.float64
            return plain.__call__(value) if plain is not str else str.__str__(value)
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        return str(value)
    raise NotImplementedError


def _plain(value: Any) -> object:
    """What msgspec does not know by itself, as something that it knows."""
    module = type(value).__module__
    if module == "numpy" or module.startswith("numpy."):
        return value.item() if getattr(value, "ndim", None) == 0 else value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, range):
        return list(value)
    return simple(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def _locate(value: object) -> str:
    """Says which part of ``value`` cannot be written, and why; empty where it cannot be told."""
    try:
        return _search(value, "", 0)
    except Exception:  # noqa: BLE001 - a user's class; the general message serves
        return ""


def _search(value: object, path: str, depth: int) -> str:
    if depth > 100:
        return "it is nested too deeply, or contains itself"
    for key, part in _parts(value):
        if isinstance(key, tuple):
            return f"{_place(path)} has a key of type `{type(key[0]).__qualname__}`; JSON has strings for keys"
        try:
            _encoder.encode(part)
        except Exception:  # noqa: BLE001 - it is here
            return _search(part, path + key, depth + 1)
    return _why(value, path)


def _parts(value: object) -> Iterator[tuple[str | tuple[object], object]]:
    """The parts of a container, each with how it is reached; a key that JSON cannot have comes as a tuple."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            try:
                _encoder.encode({key: None})
            except Exception:  # noqa: BLE001 - the key is what is wrong
                yield (key,), None
            yield f".{key}", part
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name)
    else:
        for name in getattr(type(value), "__dataclass_fields__", ()):
            yield f".{name}", getattr(value, name)


def _why(value: object, path: str) -> str:
    kind = type(value)
    if kind.__name__ == "coroutine":
        return f"{_place(path)} is a coroutine: an async function was called and not awaited"
    if isinstance(value, str):
        return f"{_place(path)} is text with a lone surrogate, which UTF-8 cannot hold"
    return f"{_place(path)} is of type `{kind.__qualname__}`, which JSON cannot hold"


def _place(path: str) -> str:
    return f"`result{path}`" if path else "it"


def _first_line(error: BaseException) -> str:
    try:
        return str(error).split("\n", 1)[0] or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's class
        return type(error).__name__
