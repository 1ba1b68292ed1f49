"""The arguments of a call against a function's type hints: all mistakes at once, and the converted values.

Built on msgspec. What it cannot express (a class of the user's own that no rule covers, say) is handed on unchecked.
"""

from __future__ import annotations

import collections.abc
import enum
import inspect
import sys
import types
import typing
from typing import Any

import msgspec

from taskrun.worker import wire
from taskrun.worker.targets import Target, load, nearest

_Kind = inspect.Parameter
_NONE = type(None)


class Slot:
    """One parameter: its name, whether it must be given, its type, and how values become that type."""

    def __init__(self, name: str, kind: int, hint: Any, *, required: bool) -> None:
        self.name = name
        self.kind = kind
        self.required = required and kind not in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)
        self._choices = _choices(hint)
        self._types = _supported(hint)
        self._fields = _fields(hint)
        self._cannot = _type_name(hint) if self._fields and not self._types else ""

    def convert(self, value: Any, *, lax: bool) -> Any:
        """``value`` as the parameter's type.

        Raises:
            msgspec.ValidationError: It does not fit.
        """
        if self._cannot:
            raise msgspec.ValidationError(f"`{self._cannot}` has fields of types that a file cannot hold")
        if self._fields and isinstance(value, dict):
            for name in value:
                if name not in self._fields:
                    hint = nearest(str(name), self._fields)
                    raise msgspec.ValidationError(f"unknown key `{name}`{hint and f' ({hint})'} - at `$`")
        try:
            return self._convert(value, lax=lax)
        except msgspec.ValidationError:
            if not (lax and isinstance(value, str) and value[:1] in ("[", "{")):
                raise
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise msgspec.ValidationError(f"not valid JSON: {error}") from None
        return self.convert(value, lax=False)

    def _convert(self, value: Any, *, lax: bool) -> Any:
        first: msgspec.ValidationError | None = None
        for kind in self._types:
            try:
                return msgspec.convert(value, kind, strict=not lax, dec_hook=_from_plain)
            except msgspec.ValidationError as error:
                first = first or error
        if first is None:
            return value
        if len(self._types) > 1:
            names = " | ".join(_type_name(kind) for kind in self._types)
            raise msgspec.ValidationError(f"Expected `{names}`, got {_shown(value)}")
        raise first

    def explain(self, error: msgspec.ValidationError, value: Any) -> tuple[str, tuple[str | int, ...], str]:
        """Message, path into the value, and hint."""
        text, _, tail = str(error).partition(" - at `$")
        path = _path(tail.rstrip("`"))
        text = text[:1].lower() + text[1:]
        if self._choices and text.startswith("invalid enum value") and not path:
            shown = ", ".join(f"`{choice}`" for choice in self._choices)
            return f"expected one of {shown}, got {_shown(value)}", path, nearest(str(value), self._choices)
        if text.startswith(("expected", "invalid")) and ", got " not in text and not path:
            text += f", got {_shown(value)}"
        return text, path, ""

    def schema(self) -> dict[str, Any]:
        """JSON Schema; empty where anything goes."""
        schemas = [msgspec.json.schema(kind, schema_hook=_schema_of) for kind in self._types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas} if schemas else {}


class Signature:
    """What a target takes.

    Attributes:
        known: ``False`` for the builtins that do not tell; then everything is handed on unchecked.
    """

    def __init__(self, target: Target) -> None:
        self.known = True
        try:
            parameters = list(_signature(target).parameters.values())
        except (ValueError, TypeError):
            self.known = False
            parameters = []
        hints = _hints(target, [parameter.name for parameter in parameters])
        slots = [Slot(p.name, p.kind, hints.get(p.name, Any), required=p.default is p.empty) for p in parameters]
        self.by_position = [s for s in slots if s.kind in (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)]
        self.named = {s.name: s for s in slots if s.kind not in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)}
        self.rest = next((s for s in slots if s.kind == _Kind.VAR_POSITIONAL), None)
        self.rest_by_name = next((s for s in slots if s.kind == _Kind.VAR_KEYWORD), None)

    @property
    def open(self) -> bool:
        """Whether any further names are taken."""
        return not self.known or self.rest_by_name is not None

    def parameters(self) -> tuple[wire.Parameter, ...]:
        """The named ones, for people and for the command line."""
        return tuple(
            wire.Parameter(name=slot.name, required=slot.required, schema=slot.schema()) for slot in self.named.values()
        )


_prepared: dict[str, tuple[Target, Signature]] = {}


def prepare(target: str) -> tuple[Target, Signature]:
    """The function, its module imported, and what it takes; kept, so that a template's forks need not find out again.

    Raises:
        TargetMistake: There is no such function, or it cannot be called as one.
    """
    found = _prepared.get(target)
    if found is None:
        function = load(target)
        found = _prepared[target] = function, Signature(function)
    return found


class Bound:
    """A call's arguments, converted, and what was wrong with them."""

    def __init__(self, signature: Signature, site: int) -> None:
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.problems: list[wire.CallProblem] = []
        self._signature = signature
        self._site = site
        self._given: dict[str, Any] = {}
        self._by_position = 0

    def problem(self, code: str, argument: str, message: str, **more: Any) -> None:
        """Notes one."""
        self.problems.append(wire.CallProblem(site=self._site, code=code, argument=argument, message=message, **more))

    def take(self, slot: Slot, argument: str, value: Any, *, lax: bool, unknown: bool) -> Any:
        """The converted value, or the value as it is where it is wrong or not known yet."""
        if unknown:
            return value
        try:
            return slot.convert(value, lax=lax)
        except msgspec.ValidationError as error:
            message, path, hint = slot.explain(error, value)
            self.problem("wrong-type", argument, message, path=path, hint=hint)
            return value

    def positional(self, index: int, value: Any, *, lax: bool, unknown: bool) -> None:
        """One argument by position."""
        slots = self._signature.by_position
        if index < len(slots):
            self._by_position = index + 1
            self._given[slots[index].name] = self.take(slots[index], str(index), value, lax=lax, unknown=unknown)
        elif self._signature.rest is not None:
            self.args.append(self.take(self._signature.rest, str(index), value, lax=lax, unknown=unknown))

    def by_name(self, name: str, value: Any, *, lax: bool, unknown: bool) -> None:
        """One argument by name."""
        signature = self._signature
        if name in self._given:
            self.problem("duplicate-argument", name, "given by position and by name")
        elif name in signature.named:
            self._given[name] = self.take(signature.named[name], name, value, lax=lax, unknown=unknown)
        elif signature.rest_by_name is not None:
            self.kwargs[name] = self.take(signature.rest_by_name, name, value, lax=lax, unknown=unknown)
        else:
            free = [other for other in signature.named if other not in self._given]
            self.problem("unknown-argument", name, "unknown argument", hint=nearest(name, free) or _takes(signature))

    def complete(self) -> None:
        """All have been given: says which are missing, and puts the others where the call wants them."""
        signature = self._signature
        for name, slot in signature.named.items():
            if slot.required and name not in self._given:
                self.problem("missing-argument", name, "missing argument")
        positions: list[Any] = []
        for index, slot in enumerate(signature.by_position):
            if slot.name not in self._given or (index >= self._by_position and slot.kind != _Kind.POSITIONAL_ONLY):
                break
            positions.append(self._given.pop(slot.name))
        self.args[:0] = positions
        for name in [name for name in self._given if signature.named[name].kind == _Kind.POSITIONAL_ONLY]:
            self.problem("missing-argument", name, "can only be given together with those before it")
            del self._given[name]
        self.kwargs |= self._given


def bind(
    signature: Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    lax: tuple[str, ...] = (),
    unknown: tuple[str, ...] = (),
    site: int = 0,
) -> Bound:
    """Checks and converts a call's arguments.

    ``lax`` are names, or positions as text, of strings from the command line ("4" will do for an ``int``); ``unknown``,
    likewise, of arguments whose values are not known yet, and which count as given; ``site`` is for the problems.
    """
    bound = Bound(signature, site)
    if not signature.known:
        bound.args, bound.kwargs = list(args), dict(kwargs)
        return bound
    most = len(signature.by_position)
    if len(args) > most and signature.rest is None:
        takes = f"takes {most} argument{'s' * (most != 1)} by position, got {len(args)}"
        bound.problem("too-many-arguments", str(most), takes)
    for index, value in enumerate(args):
        bound.positional(index, value, lax=str(index) in lax, unknown=str(index) in unknown)
    for name in dict.fromkeys([*kwargs, *(name for name in unknown if not name.isdigit())]):
        bound.by_name(name, kwargs.get(name), lax=name in lax, unknown=name in unknown)
    bound.complete()
    return bound


# --- hints ------------------------------------------------------------------------------------------------------------


def _signature(target: Target) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(target, annotation_format=Format.FORWARDREF)
    return inspect.signature(target)


def _hints(target: Target, names: list[str]) -> dict[str, Any]:
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
    try:
        annotations = getattr(function, "__annotations__", {})
    except Exception:  # noqa: BLE001 - 3.14 evaluates them here
        return hints
    scope = getattr(function, "__globals__", {})
    for name in names:
        if name in annotations:
            try:
                single = types.SimpleNamespace(__annotations__={name: annotations[name]})
                hints |= typing.get_type_hints(single, scope, include_extras=True)
            except Exception:  # noqa: BLE001, S112 - this one stays unchecked
                continue
    return hints


def _supported(hint: Any) -> list[Any]:
    """What to try, in order, for a value of type ``hint``; empty: anything goes."""
    if hint is Any or hint is inspect.Parameter.empty:
        return []
    if isinstance(hint, typing.TypeVar) or hint is object:
        return []
    if _is_known(hint):
        return [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [_supported(member) for member in typing.get_args(hint)]
        return [kind for member in members for kind in member] if all(members) else []
    if typing.get_origin(hint) is collections.abc.Iterable:
        return _supported(list[typing.get_args(hint)])  # type: ignore[misc]  # built at run time
    return []


def _is_known(hint: Any) -> bool:
    """Whether msgspec takes the type, and our hook every class in it."""
    try:
        msgspec.json.schema(hint, schema_hook=_schema_of)
    except Exception:  # noqa: BLE001 - TypeError for what it does not know, others for hints that are no types
        return False
    return True


def _schema_of(kind: Any) -> dict[str, Any]:
    """JSON Schema of the classes that ``_from_plain`` makes."""
    if _is_path(kind):
        return {"type": "string", "format": "path"}
    if _is_pattern(kind):
        return {"type": "string", "format": "regex"}
    if _is_model(kind):
        return dict(kind.model_json_schema())
    raise NotImplementedError


def _from_plain(kind: Any, value: Any) -> Any:
    """Makes an instance of a class that msgspec does not know. What it raises becomes a ``ValidationError``."""
    if _is_model(kind):
        return kind.model_validate(value)
    if not isinstance(value, str):
        raise TypeError(f"Expected `{_type_name(kind)}`, got {_shown(value)}")
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


def _choices(hint: Any) -> list[str]:
    """What a ``Literal`` or an enum allows."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not _NONE]
        hint = members[0] if len(members) == 1 else hint
    if typing.get_origin(hint) is typing.Literal:
        return [str(value) for value in typing.get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [str(member.value) for member in hint]
    return []


def _fields(hint: Any) -> list[str]:
    """The keys of a dataclass or Struct; none for other types."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return list(hint.__struct_encode_fields__)
    return list(getattr(hint, "__dataclass_fields__", ())) if isinstance(hint, type) else []


def _path(text: str) -> tuple[str | int, ...]:
    """``.level[2]`` as ``("level", 2)``; ``[...]``, some value of a mapping, as ``"..."``."""
    import re

    found = re.findall(r"\.([^.\[]+)|\[(\d+)\]|\[(\.\.\.)\]", text)
    return tuple(int(index) if index else name or some for name, index, some in found)


def _type_name(kind: Any) -> str:
    return "null" if kind is _NONE else str(getattr(kind, "__name__", None) or kind)


def _shown(value: Any) -> str:
    """A value in a message: short ones as they are in TOML or JSON, others by their kind."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = msgspec.json.encode(value).decode()
        if len(text) <= 60:
            return f"`{text}`"
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else f"`{type(value).__name__}`"


def _takes(signature: Signature) -> str:
    names = ", ".join(f"`{name}`" for name in signature.named)
    return f"it takes {names}" if names else "it takes none"
