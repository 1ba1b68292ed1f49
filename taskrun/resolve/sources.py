"""Reads `[vars]` and the values of `foreach`: lazily, each source once per run, mistakes to the collector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.config.project import (
    EnvSource,
    GlobSource,
    LinesSource,
    Literal,
    Parameter,
    Project,
    RangeSource,
    ShellSource,
    Source,
)
from taskrun.config.wording import suggestion
from taskrun.model import NothingMatched
from taskrun.resolve import globs
from taskrun.resolve.lookups import LookUp, is_exact, parse
from taskrun.resolve.mistakes import Mistake, Mistakes, Place, listed, unfit
from taskrun.resolve.paths import FilePath, normalised
from taskrun.resolve.values import UNKNOWN, Loose, Request, ShellFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from taskrun.resolve.rendering import Rendering

MOST_VALUES = 100_000
"""More values than this in one `foreach` are a slip of the pen, and would take the memory."""

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false"}


class Sources:
    """The values of `[vars]` and of `foreach`.

    Args:
        read_shell: Runs a command line with an environment and returns its stdout; raises ``ShellFailed``.
        rendering: Makes a ``Rendering`` for strings of the file's level: other variables, `env` and `run` only.
        lenient: A required parameter without a value is unknown, and no mistake.
    """

    def __init__(
        self,
        project: Project,
        request: Request,
        read_shell: Callable[[str, dict[str, str]], str],
        mistakes: Mistakes,
        rendering: Callable[[], Rendering],
        *,
        lenient: bool = False,
    ) -> None:
        self._project = project
        self._request = request
        self._read_shell = read_shell
        self._mistakes = mistakes
        self._rendering = rendering
        self._lenient = lenient
        self._vars: dict[str, Any] = {}
        self._reading: list[str] = []
        self._read: dict[Source, Any] = {}
        self.assigned: dict[str, str] = {}

    @property
    def names(self) -> Iterable[str]:
        """The entries of `[vars]`."""
        return self._project.vars

    # --- [vars]

    def var(self, name: str) -> Any:
        """Return the value of an entry of `[vars]`; ``UNKNOWN`` where its mistake has been reported.

        Raises:
            Mistake: There is no such entry.
        """
        if name in self._vars:
            return self._vars[name]
        source = self._project.vars.get(name)
        if source is None:
            raise Mistake("unknown-name", f"there is no `{name}` in [vars]", label=suggestion(name, self._project.vars))
        if name in self._reading:
            circle = [*self._reading[self._reading.index(name) :], name]
            message = f"these variables need each other: {' -> '.join(circle)}"
            self._mistakes.add(Mistake("circular-vars", message), ("vars", self._reading[-1]))
            return UNKNOWN
        self._reading.append(name)
        try:
            value = self._assigned(name, source) if name in self.assigned else self._value(name, source)
        finally:
            self._reading.pop()
        self._vars[name] = value
        return value

    def _value(self, name: str, source: Source) -> Any:
        if isinstance(source, Parameter):
            return self._parameter(name, source)
        return self._read_source(source, ("vars", name))

    def _parameter(self, name: str, source: Parameter) -> Any:
        if source.required:
            if not self._lenient:
                help_ = f" ({source.help})" if source.help else ""
                self._mistakes.add_usage(f"`{name}` needs a value: give {name}=VALUE{help_}")
            return UNKNOWN
        value = self._rendering().value(source.default, ("vars", name, "default"))
        if source.type == "path" and isinstance(value, str):
            return FilePath(normalised(value, self._project.root, self._project.root))
        return value

    # --- KEY=VALUE

    def check_assignments(self) -> None:
        """Convert every assigned value, so that mistakes in those that nothing uses are found too."""
        for name in self.assigned:
            self.var(name)

    def _assigned(self, name: str, source: Source) -> Any:
        text = self.assigned[name]
        problem = unfit(text)
        if problem:
            self._mistakes.add_usage(f"the value of `{name}` {problem}")
            return UNKNOWN
        try:
            return self._converted(name, source, text)
        except ValueError as error:
            self._mistakes.add_usage(f"`{name}={text}`: {error}")
            return UNKNOWN

    def _converted(self, name: str, source: Source, text: str) -> Any:
        match source:
            case Parameter():
                return self._converted_parameter(source, text)
            case GlobSource():
                found = self._glob_from_here(text)
                if not found and not self._request.dry:
                    raise NothingMatched(f"`{name}={text}` matches no file")
                return found
            case RangeSource():
                return [_convert(line, "int") for line in _listed(text)]
            case LinesSource():
                return _listed(text)
            case Literal(value=bool()):
                return _convert(text, "bool")
            case Literal(value=int()):
                return _convert(text, "int")
            case Literal(value=float()):
                return _convert(text, "float")
            case Literal(value=list() | tuple()):
                return _listed(text)
            case _:
                return Loose(text)

    def _converted_parameter(self, source: Parameter, text: str) -> Any:
        if source.type == "path":
            value: Any = FilePath(normalised(text, self._request.cwd, self._project.root))
            fits = not source.choices or value.text in {os.path.normpath(str(choice)) for choice in source.choices}
        else:
            value = _convert(text, source.type)
            fits = not source.choices or value in source.choices
        if not fits:
            near = suggestion(text, [str(choice) for choice in source.choices])
            choices = listed(str(choice) for choice in source.choices)
            raise ValueError(f"must be one of {choices}" + (f"; {near}" if near else ""))
        return value

    def _glob_from_here(self, pattern: str) -> list[FilePath]:
        start, root = self._request.cwd, self._project.root
        return [FilePath(normalised(found.text, start, root), found.match) for found in globs.expand(pattern, start)]

    # --- sources

    def each(self, source: Source, place: Place) -> list[Any] | None:
        """Return the values of a `foreach` key; ``None`` where a mistake has been reported or they are not known."""
        value = self._read_source(source, place)
        if value is UNKNOWN:
            return None
        if isinstance(value, str):
            value = [Loose(line) for line in _lines(value)]
        if not isinstance(value, (list, tuple)):
            self._mistakes.add(
                Mistake("foreach", "`foreach` needs a list", label="a list, a source or a look-up"), place
            )
            return None
        values = list(_flat(value))
        if any(item is UNKNOWN for item in values):
            return None
        if len(values) > MOST_VALUES:
            message = f"these are {len(values)} values, and {MOST_VALUES} at most can be run"
            self._mistakes.add(Mistake("foreach", message), place)
            return None
        return values

    def unmatched(self, source: Source, place: Place) -> tuple[str, ...]:
        """Return the patterns of a `foreach` key, as written, if it is a glob that matches nothing; else none."""
        if isinstance(source, Literal) and isinstance(source.value, str):
            template = parse(source.value)
            name = template[0].parts if is_exact(template) and isinstance(template[0], LookUp) else ()
            if len(name) == 2 and name[0] == "vars" and name[1] not in self.assigned:
                source = self._project.vars.get(name[1], source)
        return source.glob if isinstance(source, GlobSource) and self.each(source, place) == [] else ()

    def _read_source(self, source: Source, place: Place) -> Any:
        """Read a source, once per run; two tasks that ask for the same files see the same files."""
        if isinstance(source, Literal):
            value = self._rendering().value(source.value, place)
            return UNKNOWN if self._holds_unfit(value, place) else value
        if source not in self._read:
            self._read[source] = self._fetch_once(source, place)
        return self._read[source]

    def _fetch_once(self, source: Source, place: Place) -> Any:
        try:
            value = self._fetch(source, place)
        except Mistake as mistake:
            self._mistakes.add(mistake, place)
            return UNKNOWN
        return UNKNOWN if self._holds_unfit(value, place) else value

    def _fetch(self, source: Source, place: Place) -> Any:
        match source:
            case GlobSource():
                return self._files(source, place)
            case LinesSource():
                name = self._rendering().text(source.lines, (*place, "lines"))
                return UNKNOWN if name is UNKNOWN else self._file_lines(str(name))
            case RangeSource():
                if source.last - source.first >= MOST_VALUES:
                    raise Mistake("range", f"this range has more than {MOST_VALUES} values")
                return list(range(source.first, source.last + 1))
            case ShellSource():
                return self._shell(source, place)
            case EnvSource():
                return self._environment(source, place)
            case _:
                raise Mistake("foreach", "a parameter stands in [vars]", label="look it up: `{{ vars.NAME }}`")

    def _files(self, source: GlobSource, place: Place) -> Any:
        found: dict[str, FilePath] = {}
        for index, written in enumerate(source.glob):
            pattern = self._rendering().text(written, (*place, "glob", index))
            if pattern is UNKNOWN:
                return UNKNOWN
            for path in globs.expand(str(pattern), self._project.root):
                found.setdefault(path.text, path)
        return [found[text] for text in sorted(found)]

    def _file_lines(self, name: str) -> Any:
        path = os.path.join(self._project.root, name)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                text = file.read()
        except OSError as error:
            if self._request.later:
                return UNKNOWN
            raise Mistake("lines", f"`{name}` cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise Mistake("lines", f"`{name}` is not UTF-8: byte {error.start}, line {line}") from None
        return [Loose(line) for line in _lines(text)]

    def _shell(self, source: ShellSource, place: Place) -> Any:
        command = self._rendering().command_line(source.shell, ("sh",), (*place, "shell"))
        if command is None or self._request.later:
            return UNKNOWN
        if self._request.dry:
            return Loose(f"$({command.shown})")
        try:
            output = self._read_shell(command.text, {**self._request.environ, **command.words})
        except ShellFailed as error:
            raise Mistake("shell-source", f"this command failed: {error}") from None
        return Loose(output.removesuffix("\n").removesuffix("\r"))

    def _environment(self, source: EnvSource, place: Place) -> Any:
        if self._request.later:
            return UNKNOWN
        value = self._request.environ.get(source.env)
        if value is not None:
            return Loose(value)
        if source.default is None:
            message = f"the environment has no variable `{source.env}`"
            raise Mistake("environment", message, label="set it, or give a `default` here")
        default = self._rendering().text(source.default, (*place, "default"))
        return default if default is UNKNOWN else Loose(default)

    def _holds_unfit(self, value: Any, place: Place) -> bool:
        """Report a text that no process can be given: NUL, or bytes that are no UTF-8 (as in names of files)."""
        for text in _texts(value):
            problem = unfit(text)
            if problem:
                shown = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
                self._mistakes.add(Mistake("bad-text", f"the value `{shown}` {problem}"), place)
                return True
        return False


def _convert(text: str, type_: str) -> Any:
    try:
        return msgspec.convert(text, _TYPES[type_], strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"must be {_EXPECTED.get(type_, type_)}") from None


def _listed(text: str) -> list[Any]:
    """Read a list from the command line: a JSON array, or one value per line."""
    if text.startswith("["):
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = None
        if isinstance(value, list):
            return value
    return [Loose(line) for line in _lines(text)]


def _lines(text: str) -> list[str]:
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line]


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, FilePath):
        yield value.text
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
