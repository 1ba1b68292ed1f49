"""Collects every mistake of one file, and says where it stands in the words of the file: "`timeout` in task `encode`".

Used by all stages of checking; decides nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskrun.config.source import Path, SourceFile
    from taskrun.config.units import BadValue
    from taskrun.model import Diagnostic


class Mistakes:
    """The mistakes found so far in one file.

    Attributes:
        source: Where they are.
        broken: Names of tasks whose own table has mistakes: rules about a task as a whole are not applied to them,
            since what they would find is often only a consequence.
    """

    __slots__ = ("_found", "broken", "source")

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.broken: set[str] = set()
        self._found: list[Diagnostic] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        part: str = "value",
        within: str | None = None,
        label: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        """Notes a mistake at ``path``; see ``SourceFile.diagnostic``."""
        if len(path) > 1 and path[0] == "tasks":
            self.broken.add(str(path[1]))
        found = self.source.diagnostic(code, message, path=path, part=part, within=within, label=label, notes=notes)
        self._found.append(found)

    def add_value(self, bad: BadValue, path: Path) -> None:
        """Notes a value that its reader refused."""
        for each in (bad, *bad.more):
            place = (*path, *each.at)
            message = f"{describe(place)} {each.problem}"
            self.add(each.code, message, place, part=each.part, within=each.within, label=each.label)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All of them in the order of the file, each once."""
        unique = dict.fromkeys(self._found)
        return tuple(sorted(unique, key=_position))


def _position(diagnostic: Diagnostic) -> tuple[int, int]:
    span = diagnostic.span
    return (0, 0) if span is None else (span.line, span.column)


def describe(path: Path) -> str:
    """A place in the words of the file: "`retry.delay[0]` in task `encode`"."""
    if not path:
        return "the file"
    table = str(path[0])
    if len(path) == 1:
        return f"`{table}`"
    if table == "tasks":
        task = f"task `{_cut(path[1])}`"
        return task if len(path) == 2 else f"`{_dotted(path[2:])}` in {task}"
    if table == "pools":
        pool = f"pool `{_cut(path[1])}`"
        return pool if len(path) == 2 else f"`{_dotted(path[2:])}` in {pool}"
    return f"`{_dotted(path[1:])}` in [{table}]"


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" if text else _cut(part)
    return text


def _cut(name: str | int) -> str:
    """A name that is too long to be right must not fill the screen."""
    text = str(name)
    return text if len(text) <= 100 else f"{text[:60]}..."
