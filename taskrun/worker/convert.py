"""The arguments of a call against a function's type hints: all mistakes at once, and the converted values.

What the hints mean is in ``hints``.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from taskrun.worker import hints, wire
from taskrun.worker.targets import Target, load, nearest

_Kind = inspect.Parameter


class Slot:
    """One parameter: its name, whether it must be given, its type, and how values become that type."""

    def __init__(self, name: str, kind: int, hint: Any, *, required: bool) -> None:
        self.name = name
        self.kind = kind
        self.required = required and kind not in (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)
        self._choices = hints.choices(hint)
        self._types = hints.supported(hint)
        self._fields = hints.fields(hint)
        self._cannot = ""
        if self._fields and not self._types:
            misfits = " and ".join(f"`{name}`" for name in hints.misfits(hint))
            which = f"the field {misfits}" if misfits else "fields"
            self._cannot = f"`{hints.type_name(hint)}` has {which} of a type that a file cannot hold"

    def convert(self, value: Any, *, lax: bool) -> Any:
        """``value`` as the parameter's type.

        Raises:
            msgspec.ValidationError: It does not fit.
        """
        if self._cannot:
            raise msgspec.ValidationError(self._cannot)
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
                return msgspec.convert(value, kind, strict=not lax, dec_hook=hints.from_plain)
            except msgspec.ValidationError as error:
                first = first or error
        if first is None:
            return value
        if len(self._types) > 1:
            names = " | ".join(hints.type_name(kind) for kind in self._types)
            raise msgspec.ValidationError(f"Expected `{names}`, got {hints.shown(value)}")
        raise first

    def explain(self, error: msgspec.ValidationError, value: Any) -> tuple[str, tuple[str | int, ...], str]:
        """Message, path into the value, and hint."""
        text, _, tail = str(error).partition(" - at `$")
        path = hints.path_of(tail.rstrip("`"))
        text = text[:1].lower() + text[1:]
        if self._choices and text.startswith("invalid enum value") and not path:
            allowed = ", ".join(f"`{choice}`" for choice in self._choices)
            return f"expected one of {allowed}, got {hints.shown(value)}", path, nearest(str(value), self._choices)
        if text.startswith(("expected", "invalid")) and ", got " not in text and not path:
            text += f", got {hints.shown(value)}"
        return text, path, ""

    def schema(self) -> dict[str, Any]:
        """JSON Schema; empty where anything goes."""
        schemas = [hints.schema(kind) for kind in self._types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas} if schemas else {}


class Signature:
    """What a target takes.

    Attributes:
        known: ``False`` for the builtins that do not tell; then everything is handed on unchecked.
    """

    def __init__(self, target: Target) -> None:
        self.known = True
        try:
            parameters = list(hints.signature_of(target).parameters.values())
        except (ValueError, TypeError):
            self.known = False
            parameters = []
        types = hints.hints_of(target, [parameter.name for parameter in parameters])
        slots = [Slot(p.name, p.kind, types.get(p.name, Any), required=p.default is p.empty) for p in parameters]
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


def _takes(signature: Signature) -> str:
    names = ", ".join(f"`{name}`" for name in signature.named)
    return f"it takes {names}" if names else "it takes none"
