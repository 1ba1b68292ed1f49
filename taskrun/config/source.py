"""One file of the user's and where everything stands in it: the origin of every place that a diagnostic names.

Nothing is located until a diagnostic asks for it, so that a file without mistakes costs nothing here.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from taskrun.model import Diagnostic, Span

if TYPE_CHECKING:
    from taskrun.config.locate import Places

Path = tuple[str | int, ...]
"""Keys and list indexes that lead to a value: ``("tasks", "encode", "needs", 0)``."""


class SourceFile:
    """The text of one project file, and the places in it.

    Attributes:
        path: As the user knows it: relative to the working directory where that is shorter.
        text: Decoded, without a byte order mark, line ends as single newlines.
        table: Keys of the table that is the project: empty, or ``("tool", "taskrun")`` in a pyproject.toml. All paths
            that the methods take start below it.
    """

    __slots__ = ("_line_starts", "_places", "path", "table", "text")

    def __init__(self, path: str, text: str, table: tuple[str, ...] = ()) -> None:
        self.path = path
        self.text = text
        self.table = table
        self._places: Places | None = None
        self._line_starts: list[int] | None = None

    def __repr__(self) -> str:
        return f"SourceFile({self.path!r})"

    def span(self, path: Path, part: str = "value", within: str | None = None) -> Span | None:
        """The place of a key or a value.

        Args:
            path: Below the project's table.
            part: ``"value"`` or ``"key"``. A table written with a header has its header as value; an element of a
                list has no key: its value is taken.
            within: Narrows to the first place in the value's text where this stands; the whole value where it does
                not stand there literally (escapes).

        Returns:
            ``None`` where the file does not have that path.
        """
        place = self._locate(path, part)
        if place is None:
            return None
        start, end = place
        if within:
            found = self.text.find(within, start, end)
            if found >= 0:
                start, end = found, found + len(within)
        return self.span_at(start, end)

    def span_at(self, start: int, end: int) -> Span:
        """The place of ``text[start:end]``."""
        line, column = self._line_and_column(start)
        end_line, end_column = self._line_and_column(max(start, end))
        return Span(line=line, column=column, end_line=end_line, end_column=end_column)

    def line(self, number: int) -> str:
        """A line by its number from 1, without its end."""
        starts = self._starts()
        start = starts[number - 1]
        end = starts[number] - 1 if number < len(starts) else len(self.text)
        return self.text[start:end]

    def diagnostic(
        self,
        code: str,
        message: str,
        *,
        path: Path,
        part: str = "value",
        within: str | None = None,
        label: str = "",
        notes: tuple[str, ...] = (),
        level: str = "error",
    ) -> Diagnostic:
        """A diagnostic at a path; where the file lacks it, at the nearest table or list around it."""
        span = self.span(path, part, within)
        outer = path
        while span is None and outer:
            outer = outer[:-1]
            span = self.span(outer)
        return self.diagnostic_at(code, message, span, label=label, notes=notes, level=level)

    def diagnostic_at(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        label: str = "",
        notes: tuple[str, ...] = (),
        level: str = "error",
    ) -> Diagnostic:
        """A diagnostic at a place; ``None`` means the file as a whole."""
        return Diagnostic(
            code=code,
            message=message,
            label=label,
            file=self.path,
            span=span,
            source=None if span is None else self.line(span.line),
            notes=notes,
            level=level,
        )

    def _locate(self, path: Path, part: str) -> tuple[int, int] | None:
        if self._places is None:
            from taskrun.config.locate import locate

            self._places = locate(self.text)
        whole = self.table + tuple(path)
        if part == "key":
            place = self._places.keys.get(whole)
            if place is not None:
                return place
        return self._places.values.get(whole)

    def _line_and_column(self, offset: int) -> tuple[int, int]:
        starts = self._starts()
        index = bisect_right(starts, offset) - 1
        return index + 1, offset - starts[index] + 1

    def _starts(self) -> list[int]:
        if self._line_starts is None:
            starts = [0]
            position = self.text.find("\n")
            while position >= 0:
                starts.append(position + 1)
                position = self.text.find("\n", position + 1)
            self._line_starts = starts
        return self._line_starts
