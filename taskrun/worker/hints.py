"""Type hints of task functions: which can be checked, how plain values become what they say, and words for messages.

Built on msgspec; what it does not know (a class of the user's own that no rule covers) is left unchecked.
"""

from __future__ import annotations

import collections.abc
import enum
import inspect
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from taskrun.worker.targets import Target

NONE = type(None)


def signature_of(target: Target) -> inspect.Signature:
    """Its parameters, whatever their annotations are.

    Raises:
        ValueError: It does not tell, as some builtins.
        TypeError: Likewise.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(target, annotation_format=Format.FORWARDREF)
    return inspect.signature(target)


def hints_of(target: Target, names: list[str]) -> dict[str, Any]:
    """The parameters' types; what cannot be evaluated (names imported for typing only) is left out."""
    function: Any = target
    while hasattr(function, "func") and hasattr(function, "keywords"):  # functools.partial
        function = function.func
    function = inspect.unwrap(function)
    if inspect.isclass(function):
        function = function.__init__
    elif not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - any name in any annotation
        return _hints_one_by_one(getattr(function, "__func__", function), names)


def _hints_one_by_one(function: Any, names: list[str]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    if sys.version_info >= (3, 14):  # evaluated only now; what is unknown comes as a ForwardRef
        from annotationlib import Format, get_annotations

        annotations = get_annotations(function, format=Format.FORWARDREF)
    else:
        annotations = getattr(function, "__annotations__", {})
    scope = getattr(function, "__globals__", {})
    for name in names:
        if name in annotations:
            try:
                single = types.SimpleNamespace(__annotations__={name: annotations[name]})
                hints |= typing.get_type_hints(single, scope, include_extras=True)
            except Exception:  # noqa: BLE001, S112 - this one stays unchecked
                continue
    return hints


def supported(hint: Any) -> list[Any]:
    """What to try, in order, for a value of type ``hint``; empty: anything goes."""
    if hint is Any or hint is inspect.Parameter.empty:
        return []
    if isinstance(hint, typing.TypeVar) or hint is object:
        return []
    if _is_known(hint):
        return [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [supported(member) for member in typing.get_args(hint)]
        return [kind for member in members for kind in member] if all(members) else []
    if typing.get_origin(hint) is collections.abc.Iterable:
        return supported(list[typing.get_args(hint)])  # type: ignore[misc]  # built at run time
    return []


def _is_known(hint: Any) -> bool:
    """Whether msgspec takes the type, and our hook every class in it."""
    try:
        msgspec.json.schema(hint, schema_hook=schema_of)
    except Exception:  # noqa: BLE001 - TypeError for what it does not know, others for hints that are no types
        return _has_only_known(hint)
    return True


def _has_only_known(hint: Any) -> bool:
    """The same, whatever the defaults of fields are: a schema fails for one that is a path, say, and decoding works."""
    import msgspec.inspect

    try:
        todo: list[Any] = [msgspec.inspect.type_info(hint)]
        seen: set[int] = set()
        while todo:
            info = todo.pop()
            if id(info) in seen:
                continue
            seen.add(id(info))
            if isinstance(info, msgspec.inspect.CustomType):
                schema_of(info.cls)
            elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
                todo += [getattr(info, name) for name in info.__struct_fields__ if not name.startswith("default")]
            elif isinstance(info, (tuple, list)):
                todo += info
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON Schema of the classes that ``from_plain`` makes."""
    if _is_path(kind):
        return {"type": "string", "format": "path"}
    if _is_pattern(kind):
        return {"type": "string", "format": "regex"}
    if _is_model(kind):
        return dict(kind.model_json_schema())
    raise NotImplementedError


def from_plain(kind: Any, value: Any) -> Any:
    """Makes an instance of a class that msgspec does not know. What it raises becomes a ``ValidationError``."""
    if _is_model(kind):
        return kind.model_validate(value)
    if not isinstance(value, str):
        raise TypeError(f"Expected `{type_name(kind)}`, got {shown(value)}")
    if _is_pattern(kind):
        import re

        try:
            return re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
    if "\0" in value:
        raise ValueError("Expected a path, got text with a NUL byte")
    return kind(value)


def _is_path(kind: Any) -> bool:
    pathlib = sys.modules.get("pathlib")  # a hint that is one has imported it
    return pathlib is not None and isinstance(kind, type) and issubclass(kind, pathlib.PurePath)


def _is_pattern(kind: Any) -> bool:
    import re

    return kind is re.Pattern or typing.get_origin(kind) is re.Pattern


def _is_model(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


# --- texts ------------------------------------------------------------------------------------------------------------


def choices(hint: Any) -> list[str]:
    """What a ``Literal`` or an enum allows."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not NONE]
        hint = members[0] if len(members) == 1 else hint
    if typing.get_origin(hint) is typing.Literal:
        return [str(value) for value in typing.get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [str(member.value) for member in hint]
    return []


def fields(hint: Any) -> list[str]:
    """The keys of a dataclass or Struct; none for other types."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return list(hint.__struct_encode_fields__)
    return list(getattr(hint, "__dataclass_fields__", ())) if isinstance(hint, type) else []


def misfits(hint: Any) -> list[str]:
    """The fields of a dataclass or Struct whose types cannot be checked, and so cannot be made."""
    try:
        types_of = typing.get_type_hints(hint, include_extras=True)
    except Exception:  # noqa: BLE001 - any name in any annotation
        return []
    return [name for name in fields(hint) if name in types_of and not _is_known(types_of[name])]


def schema(kind: Any) -> dict[str, Any]:
    """JSON Schema of a supported type; empty where a default cannot be written in one."""
    try:
        return msgspec.json.schema(kind, schema_hook=schema_of)
    except TypeError:
        return {}


def path_of(text: str) -> tuple[str | int, ...]:
    """``.level[2]`` as ``("level", 2)``; ``[...]``, some value of a mapping, as ``"..."``."""
    import re

    found = re.findall(r"\.([^.\[]+)|\[(\d+)\]|\[(\.\.\.)\]", text)
    return tuple(int(index) if index else name or some for name, index, some in found)


def type_name(kind: Any) -> str:
    """A type in a message."""
    return "null" if kind is NONE else str(getattr(kind, "__name__", None) or kind)


def shown(value: Any) -> str:
    """A value in a message: short ones as they are in TOML or JSON, others by their kind."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = msgspec.json.encode(value).decode()
        if len(text) <= 60:
            return f"`{text}`"
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else f"`{type(value).__name__}`"
