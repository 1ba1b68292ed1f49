"""Turns strings of the file into values, arguments and shell words.

Values keep their types, and none ever enters a text that a shell reads. One ``Rendering`` serves one purpose: a string
of `[vars]`, the check of one instance, or one attempt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.model import Value
from taskrun.resolve import shelltext
from taskrun.resolve.lookups import LookUp, Template, as_plain, as_text, at, is_exact, parse
from taskrun.resolve.mistakes import Mistake, Place, unfit
from taskrun.resolve.paths import FilePath, Folder
from taskrun.resolve.values import UNKNOWN, Loose, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskrun.resolve.names import Names

WORD = "TASKRUN_V"
"""Variables of this name with a number carry look-ups into shells."""

_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


class CommandLine(Value, frozen=True, kw_only=True):
    """A shell's command line.

    Attributes:
        text: With ``"$TASKRUN_V1"`` where look-ups stood.
        words: The variables that it needs.
        shown: For people: with the values, quoted where they need it.
        has_extra: It says itself where ``{{ extra }}`` goes.
    """

    text: str
    shown: str
    words: dict[str, str] = msgspec.field(default_factory=dict)
    has_extra: bool = False


class Rendering:
    """Values for the look-ups of one place.

    Attributes:
        names: What can be looked up here.
        report: Takes each mistake with the place of its string; may raise. What it concerns is ``UNKNOWN`` then.
        folder: What paths are relative to; ``None``: the file's folder.
    """

    __slots__ = ("folder", "names", "report")

    def __init__(self, names: Names, report: Callable[[Mistake, Place], None], folder: Folder | None = None) -> None:
        self.names = names
        self.report = report
        self.folder = folder

    # --- strings of the file

    def value(self, raw: Any, place: Place) -> Any:
        """Return a value of the file with its look-ups carried out; exact look-ups keep their type.

        ``UNKNOWN``, also within tables and lists, stands for what depends on results, or has been reported.
        """
        if isinstance(raw, str):
            template = self._template(raw, place)
            if template is None:
                return UNKNOWN
            return self._find(template[0], place) if is_exact(template) else self._joined(template, place)
        if isinstance(raw, dict):
            return {key: self.value(item, (*place, key)) for key, item in raw.items()}
        if isinstance(raw, (list, tuple)):
            return [self.value(item, (*place, index)) for index, item in enumerate(raw)]
        return raw

    def text(self, raw: str, place: Place) -> str | Unknown:
        """Return a string of the file as text that a process can be given; ``UNKNOWN`` as in ``value``."""
        template = self._template(raw, place)
        return UNKNOWN if template is None else self._joined(template, place)

    def arguments(
        self, raw: Sequence[str], place: Place, *, start: int = 0, is_program: bool = False
    ) -> tuple[str, ...] | Unknown:
        """Return the arguments of a `run`: each element is one, but a list by itself as many as it has.

        Args:
            raw: The elements.
            place: Of their list.
            start: Index of the first of ``raw`` in the file.
            is_program: A path among them is a program to be found, and not searched for.
        """
        done: list[str] = []
        known = True
        for index, element in enumerate(raw, start):
            words = self._words(element, (*place, index), is_program=is_program)
            if isinstance(words, Unknown):
                known = False
            else:
                done += words
        return tuple(done) if known else UNKNOWN

    def _words(self, raw: str, place: Place, *, is_program: bool) -> list[str] | Unknown:
        template = self._template(raw, place)
        if template is None:
            return UNKNOWN
        if not is_exact(template):
            text = self._joined(template, place)
            return text if isinstance(text, Unknown) else [text]
        value = self._find(template[0], place)
        items = value if isinstance(value, (list, tuple)) else [value]
        if any(item is UNKNOWN for item in items):
            return UNKNOWN
        return self._fitting([self._argument(item, is_program=is_program) for item in items], template[0], place)

    def _argument(self, value: Any, *, is_program: bool = False) -> str:
        """A value as an argument of its own: a path must be read neither as an option nor as a command's name."""
        text = as_text(value, self.folder)
        if isinstance(value, FilePath) and (text.startswith("-") or (is_program and "/" not in text)):
            return f"./{text}"
        return text

    def command_line(self, raw: str, shell: tuple[str, ...], place: Place) -> CommandLine | None:
        """Return a command line with its look-ups as words; ``None`` where ``value`` would be ``UNKNOWN``."""
        template = self._template(raw, place)
        if template is None:
            return None
        if all(isinstance(part, str) for part in template):
            text = "".join(str(part) for part in template)
            return CommandLine(text=text, shown=text)
        misplaced = _misplaced_in(template, shell)
        for mistake in misplaced:
            self.report(mistake, place)
        line = self._command_line(template, place)
        return None if misplaced else line

    def _command_line(self, template: Template, place: Place) -> CommandLine | None:
        words: dict[str, str] = {}
        known: dict[str, list[str]] = {}
        text, shown, complete = [], [], True
        for index, part in enumerate(template):
            if isinstance(part, str):
                text.append(part)
                shown.append(part)
                continue
            values = self._shell_values(template, index, place)
            if isinstance(values, Unknown):
                complete = False
                continue
            if part.name not in known:
                known[part.name] = [f"{WORD}{len(words) + number}" for number in range(1, len(values) + 1)]
                words.update(zip(known[part.name], values, strict=True))
            text.append(" ".join(f'"${name}"' for name in known[part.name]))
            shown.append(" ".join(_quoted(value) for value in values))
        if not complete:
            return None
        has_extra = any(isinstance(part, LookUp) and part.parts == ("extra",) for part in template)
        return CommandLine(text="".join(text), words=words, shown="".join(shown), has_extra=has_extra)

    def _shell_values(self, template: Template, index: int, place: Place) -> list[str] | Unknown:
        look_up = template[index]
        assert isinstance(look_up, LookUp)
        value = self._find(look_up, place)
        if isinstance(value, Unknown):
            return UNKNOWN
        if not isinstance(value, (list, tuple)):
            return self._fitting([self._argument(value)], look_up, place)
        marked = _marked(template[:index]) + shelltext.MARK + _marked(template[index + 1 :])
        if not shelltext.stands_alone(marked, len(_marked(template[:index]))):
            self.report(_list_in_text(look_up), place)
            return UNKNOWN
        if any(item is UNKNOWN for item in value):
            return UNKNOWN
        return self._fitting([self._argument(item) for item in value], look_up, place)

    # --- pieces

    def _find(self, look_up: str | LookUp, place: Place) -> Any:
        assert isinstance(look_up, LookUp)
        try:
            return self.names.look_up(look_up)
        except Mistake as mistake:
            self.report(at(look_up, mistake), place)
            return UNKNOWN

    def _template(self, raw: str, place: Place) -> Template | None:
        if "{{" not in raw:
            return (raw,)
        try:
            return parse(raw)
        except Mistake as mistake:
            self.report(mistake, place)
            return None

    def _joined(self, template: Template, place: Place) -> str | Unknown:
        pieces: list[str] = []
        known = True
        for part in template:
            if isinstance(part, str):
                pieces.append(part)
                continue
            value = self._find(part, place)
            if isinstance(value, (list, tuple)):
                self.report(_list_in_text(part, alone=len(template) == 1), place)
                value = UNKNOWN
            if value is UNKNOWN:
                known = False
                continue
            fitting = self._fitting([as_text(value, self.folder)], part, place)
            if isinstance(fitting, Unknown):
                known = False
            else:
                pieces += fitting
        return "".join(pieces) if known else UNKNOWN

    def _fitting(self, texts: list[str], look_up: str | LookUp, place: Place) -> list[str] | Unknown:
        for text in texts:
            problem = unfit(text)
            if problem:
                assert isinstance(look_up, LookUp)
                self.report(at(look_up, Mistake("bad-text", f"the value of `{look_up.text}` {problem}")), place)
                return UNKNOWN
        return texts


def as_argument(value: Any, folder: Folder | None) -> tuple[Any, bool]:
    """Return a value for a Python call as JSON has it, and whether a text in it came from outside."""
    return as_plain(value, folder), _is_loose(value)


def _is_loose(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_loose(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_is_loose(item) for item in value)
    return isinstance(value, Loose)


def holds_unknown(value: Any) -> bool:
    """Whether something in a value is not known yet."""
    if isinstance(value, dict):
        return any(holds_unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_unknown(item) for item in value)
    return value is UNKNOWN


# --- shells


def _marked(template: Template) -> str:
    return "".join(part.replace(shelltext.MARK, "?") if isinstance(part, str) else shelltext.MARK for part in template)


def _misplaced_in(template: Template, shell: tuple[str, ...]) -> list[Mistake]:
    """Return a mistake for each look-up that would not be a word of its own."""
    look_ups = [part for part in template if isinstance(part, LookUp)]
    if not shelltext.is_known_shell(shell):
        message = f"`{look_ups[0].text}` cannot be handed to `{shell[0]}` as a word"
        label = "set it in `env` and read it there, or use `run`"
        return [at(look_ups[0], Mistake("shell-look-up", message, label=label))]
    places = shelltext.places(_marked(template))
    return [_misplaced(look_up, place) for look_up, place in zip(look_ups, places, strict=True) if place]


def _misplaced(look_up: LookUp, place: str) -> Mistake:
    quotes = {"double quotes": '"', "single quotes": "'"}
    if place in quotes:
        mark = quotes[place]
        label = f"end the quotes before it: {mark}...{mark}{look_up.text}{mark}...{mark}; it becomes one word by itself"
    elif place == "backquotes":
        label = "write $(...) in place of the backquotes"
    elif place == "a comment":
        label = "leave it out"
    else:
        label = "set it in `env`, and write the variable here"
    note = "note: a look-up becomes a word of its own, so that no value can run commands"
    return at(look_up, Mistake("shell-look-up", f"`{look_up.text}` stands in {place}", label=label, notes=(note,)))


def _list_in_text(look_up: LookUp, *, alone: bool = False) -> Mistake:
    if alone:
        message = f"`{look_up.text}` is a list, and this can only be a text"
        return at(look_up, Mistake("list-in-text", message, label="look up one of its values: `.0`, `.1`, ..."))
    message = f"`{look_up.text}` is a list and cannot be part of a text"
    return at(look_up, Mistake("list-in-text", message, label="let it stand alone"))


def _quoted(text: str) -> str:
    return text if _SAFE.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"
