"""Collects the mistakes of one resolution so that all are shown at once, each at its place in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from taskrun.model import Diagnostic, ProjectError, Span, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskrun.config.source import SourceFile

Place: TypeAlias = tuple[str | int, ...]


class Mistake(Exception):  # noqa: N818 - it is a user's mistake on its way to a Diagnostic, not an error of ours
    """What is wrong with one string, raised by whoever finds it, placed by whoever knows where the string stands.

    Attributes:
        code: Stable code of the diagnostic.
        message: A fragment that can stand alone.
        label: What to do.
        notes: Further lines.
        within: The part of the string that is meant, such as a look-up; ``None``: all of it.
        before: What stands before that part, where the same stands further left as well.
    """

    def __init__(
        self, code: str, message: str, *, label: str = "", notes: tuple[str, ...] = (), within: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.label = label
        self.notes = notes
        self.within = within
        self.before = ""

    def at(self, within: str, before: str) -> Mistake:
        """Say which part of the string is meant."""
        self.within = within
        self.before = before
        return self


class Mistakes:
    """The mistakes found so far: those of the file, and those of the command line."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._seen: set[tuple[str, Place, str, str | None]] = set()
        self._diagnostics: dict[Diagnostic, None] = {}
        self._usage: dict[str, None] = {}

    def add(self, mistake: Mistake, place: Place, part: str = "value") -> None:
        """Keep ``mistake``; the same one at the same place, from another instance, is kept once."""
        key = (mistake.message, place, mistake.before, mistake.within)
        if key not in self._seen:
            self._seen.add(key)
            self.add_ready(diagnose(self._source, mistake, place, part))

    def add_ready(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic that has its place already."""
        self._diagnostics[diagnostic] = None

    def add_usage(self, message: str) -> None:
        """Keep a mistake of the command line."""
        self._usage[message] = None

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """The mistakes of the file, in its order."""
        return sorted(self._diagnostics, key=_position)

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            UsageError: Only the command line is wrong; one line per mistake.
            ProjectError: The file is wrong, and perhaps the command line too.
        """
        if self._diagnostics:
            usage = (Diagnostic(code="usage", message=text) for text in self._usage)
            raise ProjectError((*self.diagnostics, *usage))
        if self._usage:
            raise UsageError("\n".join(self._usage))


def _position(diagnostic: Diagnostic) -> tuple[int, int]:
    span = diagnostic.span
    return (0, 0) if span is None else (span.line, span.column)


def diagnose(source: SourceFile, mistake: Mistake, place: Place, part: str = "value") -> Diagnostic:
    """Return ``mistake`` as a diagnostic at the nearest place to ``place`` that the file has."""
    path = _nearest_place(source, place)
    found = source.diagnostic(
        mistake.code,
        mistake.message,
        path=path,
        part=part,
        within=mistake.within,
        label=mistake.label,
        notes=mistake.notes,
    )
    if not mistake.before or mistake.within is None:
        return found
    span = source.span(path, part, mistake.before + mistake.within)
    if span is None or span == source.span(path, part):
        return found
    end = span.end_column
    narrow = Span(line=span.end_line, column=end - len(mistake.within), end_line=span.end_line, end_column=end)
    return msgspec.structs.replace(found, span=narrow, source=source.line(span.end_line))


def _nearest_place(source: SourceFile, place: Place) -> Place:
    """Find where a value stands that may come from `[defaults]`, or be written without its list or table."""
    forms = [place]
    if place[0] == "tasks":
        forms.append(("defaults", *place[2:]))
    for form in forms:
        for candidate in (form, tuple(part for part in form if isinstance(part, str))):
            if len(candidate) > 1 and source.span(candidate) is not None:
                return candidate
    return place[:2]


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names in backticks, comma-separated, the first ``most`` of them."""
    every = list(names)
    shown = ", ".join(f"`{name}`" for name in every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def unfit(text: str) -> str | None:
    """Say why a text cannot be an argument or a variable of a process, or return ``None``."""
    if "\0" in text:
        return "contains a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "is not valid UTF-8"
    return None
