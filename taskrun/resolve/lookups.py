"""The syntax of look-ups, ``{{ name }}``, and how values become text. Knows no names."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from taskrun.resolve.mistakes import Mistake
from taskrun.resolve.paths import FilePath, Folder

if TYPE_CHECKING:
    from collections.abc import Iterator


class LookUp(msgspec.Struct, frozen=True, gc=False):
    """One ``{{ name }}``.

    Attributes:
        text: As written.
        parts: Of its name, between the dots.
        string: The string that it stands in.
        start: Where in it.
    """

    text: str
    parts: tuple[str, ...]
    string: str
    start: int

    @property
    def name(self) -> str:
        """The name without its braces."""
        return ".".join(self.parts)

    @property
    def before(self) -> str:
        """What stands before it, as much as tells it from the same look-up further left; for messages."""
        end = self.start + len(self.text)
        for begin in range(self.start, max(self.start - _MOST_BEFORE, -1), -1):
            if self.string.find(self.string[begin:end]) == begin:
                return self.string[begin : self.start]
        return ""


def at(look_up: LookUp, mistake: Mistake) -> Mistake:
    """Return a mistake that is now one of this look-up."""
    return mistake.at(look_up.text, look_up.before)


Template: TypeAlias = tuple[str | LookUp, ...]

_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_MOST_BEFORE = 200  # characters; a message that points a little too far left is not worth more
_LITERAL = "write `{{{{` for a literal `{{`"


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Split a string of the file into its literal parts and its look-ups.

    Raises:
        Mistake: A look-up is not closed, or is not a name.
    """
    parts: list[str | LookUp] = []
    literal = ""
    at = 0
    while (start := text.find("{{", at)) >= 0:
        if text.startswith("{{{{", start):
            literal += text[at:start] + "{{"
            at = start + 4
            continue
        if text.startswith("{{{", start):
            start += 1  # of three braces the first is a literal one
        literal += text[at:start]
        look_up = _read_look_up(text, start)
        if literal:
            parts.append(literal)
        parts.append(look_up)
        literal = ""
        at = start + len(look_up.text)
    literal += text[at:]
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def _read_look_up(text: str, start: int) -> LookUp:
    end = text.find("}}", start + 2)
    if end < 0:
        raise Mistake("look-up", "this look-up is not closed", label=f"add `}}}}`, or {_LITERAL}", within=text[start:])
    written = text[start : end + 2]
    name = written[2:-2].strip()
    if not _NAME.fullmatch(name):
        message = f"`{name}` is not a name that can be looked up" if name else "this look-up is empty"
        raise Mistake("look-up", message, label=f"a look-up is one name; {_LITERAL}", within=written)
    return LookUp(written, tuple(name.split(".")), text, start)


def is_exact(template: Template) -> bool:
    """Whether the string is one look-up and nothing else, and so keeps its value's type."""
    return len(template) == 1 and isinstance(template[0], LookUp)


def has_look_up(text: str, name: str) -> bool:
    """Whether a string looks up ``name``; one that cannot be read does not."""
    if "{{" not in text:
        return False
    try:
        return any(isinstance(part, LookUp) and part.name == name for part in parse(text))
    except Mistake:
        return False


def strings(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield every string within a value of the file, with its place."""
    if isinstance(value, str):
        yield value, place
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*place, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from strings(item, (*place, index))


def as_text(value: Any, folder: Folder | None) -> str:
    """Return a value as text: as TOML and JSON print it, paths relative to ``folder`` (``None``: to the file's)."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, FilePath):
        return folder.relative(value) if folder is not None else value.text
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return msgspec.json.encode(as_plain(value, folder)).decode()


def as_plain(value: Any, folder: Folder | None) -> Any:
    """Return a value as JSON has it, for a Python call: paths become text, the rest keeps its type."""
    if isinstance(value, dict):
        return {key: as_plain(item, folder) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item, folder) for item in value]
    if isinstance(value, (str, FilePath)):
        return as_text(value, folder)
    return value


def describe(value: Any) -> str:
    """Name the kind of a value for a message."""
    match value:
        case FilePath():
            return "a path"
        case str():
            return "a text"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "null"
