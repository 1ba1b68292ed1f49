"""Expands `foreach`, names instances, and joins what depends on each other. Reads nothing itself."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any

from taskrun.resolve.globs import has_wildcard
from taskrun.resolve.lookups import as_text
from taskrun.resolve.mistakes import Mistake
from taskrun.resolve.values import Loose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taskrun.config.project import TaskSpec

MOST_INSTANCES = 100_000
"""A cross product above this is a slip of the pen."""


class Reference:
    """One entry of `needs` or `finally`, read: a task, and the values that its keys are pinned to.

    Attributes:
        task: Name of the task.
        pins: Texts, or patterns, by key; empty for all instances that match by shared keys.
        index: Of the entry in its list.
    """

    __slots__ = ("index", "pins", "task")

    def __init__(self, task: str, pins: dict[str, str], index: int) -> None:
        self.task = task
        self.pins = pins
        self.index = index

    @property
    def is_exact(self) -> bool:
        """Whether every pin is a value, and none a pattern."""
        return not any(has_wildcard(pin) for pin in self.pins.values())


class Expansion:
    """The instances of one task, in `foreach` order.

    Attributes:
        names: Of all instances; without a `foreach`, and for one without values, just the task's.
        keys: Their values by key.
        is_empty: The `foreach` has no values: the one entry is a group.
    """

    def __init__(self, spec: TaskSpec, rows: list[tuple[Any, ...]]) -> None:
        self.spec = spec
        self.is_empty = not rows
        key_names = tuple(spec.foreach)
        self._texts = [tuple(_text(value) for value in row) for row in rows]
        self.keys: list[dict[str, Any]] = [dict(zip(key_names, row, strict=True)) for row in rows] or [{}]
        self.names = [instance_name(spec.name, key_names, texts) for texts in self._texts] or [spec.name]
        self._key_names = key_names
        self._picked: frozenset[int] | None = None
        self._indexes: dict[tuple[str, ...], dict[tuple[str, ...], tuple[str, ...]]] = {}

    @property
    def picked(self) -> list[int]:
        """Indexes of the instances that the command line's picks leave."""
        every = range(len(self._texts))
        return list(every) if self._picked is None else [index for index in every if index in self._picked]

    def left(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some instances that the picks leave."""
        if self._picked is None:
            return tuple(names)
        picked = {self.names[index] for index in self._picked}
        return tuple(name for name in names if name in picked)

    def pick(self, key: str, pattern: str) -> bool:
        """Leave only instances whose value of ``key`` is ``pattern``, or else those whose value matches it.

        Returns:
            Whether there are any.
        """
        position = self._key_names.index(key)
        values = {index: self._texts[index][position] for index in self.picked}
        # A file may well be called `[1].mov`: who writes down a whole name means that one.
        chosen = {index for index, text in values.items() if text == pattern}
        chosen = chosen or {index for index, text in values.items() if fits(text, pattern)}
        self._picked = frozenset(chosen)
        self._indexes.clear()
        return bool(chosen)

    def values(self, key: str) -> list[str]:
        """Return the texts of one key's values, each once."""
        position = self._key_names.index(key)
        return list(dict.fromkeys(texts[position] for texts in self._texts))

    def duplicate(self) -> str | None:
        """Return a name that two instances have."""
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                return name
            seen.add(name)
        return None

    def partners(self, shared: Mapping[str, Any], pins: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the instances that have these values and these pins, in order.

        Picks leave instances out, but none that the file pins.
        """
        wanted = {key: _text(value) for key, value in shared.items() if key in self.spec.foreach and key not in pins}
        if pins:
            asked = {**wanted, **pins}
            return tuple(self.names[index] for index in range(len(self._texts)) if self._has(index, asked))
        return self._index(tuple(wanted)).get(tuple(wanted.values()), ())

    def _has(self, index: int, pins: Mapping[str, str]) -> bool:
        return all(fits(self._texts[index][self._key_names.index(key)], pin) for key, pin in pins.items())

    def _index(self, keys: tuple[str, ...]) -> dict[tuple[str, ...], tuple[str, ...]]:
        if keys not in self._indexes:
            positions = [self._key_names.index(key) for key in keys]
            groups: dict[tuple[str, ...], list[str]] = {}
            for index in self.picked:
                group = tuple(self._texts[index][position] for position in positions)
                groups.setdefault(group, []).append(self.names[index])
            self._indexes[keys] = {group: tuple(names) for group, names in groups.items()}
        return self._indexes[keys]


def product(values: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Return the cross product, the last key varying fastest.

    Raises:
        Mistake: It is too large.
    """
    count = 1
    for each in values:
        count *= len(each)
    if count > MOST_INSTANCES:
        raise Mistake("foreach", f"these are {count} instances, and {MOST_INSTANCES} at most can be run")
    rows: list[tuple[Any, ...]] = [()]
    for each in values:
        rows = [(*row, value) for row in rows for value in each]
    return rows


def instance_name(task: str, keys: Iterable[str], texts: Iterable[str]) -> str:
    """Return ``task[key=value,...]``, with what cannot be printed escaped."""
    pairs = ",".join(f"{key}={text}" for key, text in zip(keys, texts, strict=True))
    return f"{task}[{pairs if pairs.isprintable() else _printable(pairs)}]"


def fits(text: str, pattern: str) -> bool:
    """Whether a value's text is ``pattern``, or matches it as a pattern."""
    return text == pattern or (has_wildcard(pattern) and fnmatch.fnmatchcase(text, pattern))


def read_pins(text: str, keys: Iterable[str]) -> dict[str, str] | None:
    """Read ``key=value,key2=value2`` as in an instance's name; ``None`` where it does not begin with a key.

    Values may hold commas: one begins a new pair only where a key and ``=`` follow.
    """
    alternatives = "|".join(re.escape(key) for key in keys)
    if not alternatives:
        return None
    found = list(re.finditer(rf"(?:^|,)({alternatives})=", text))
    if not found or found[0].start() != 0:
        return None
    ends = [*(each.start() for each in found[1:]), len(text)]
    return {each[1]: text[each.end() : end] for each, end in zip(found, ends, strict=True)}


def split_reference(text: str) -> tuple[str, str] | None:
    """Split ``task[...]`` into the task and what is in the brackets."""
    if not text.endswith("]") or "[" not in text:
        return None
    task, _, inner = text[:-1].partition("[")
    return task, inner


def matching(pattern: str, tasks: Mapping[str, TaskSpec]) -> list[str]:
    """Return the tasks that a glob matches, hidden ones left out, in the order of the file."""
    fits_: Callable[[str], object] = re.compile(fnmatch.translate(pattern)).match
    return [name for name, spec in tasks.items() if not spec.hidden and fits_(name)]


def _text(value: Any) -> str:
    return as_text(value, None)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def kind(value: Any) -> object:
    """Return what look-ups of a value can depend on besides its text: instances of one kind have the same mistakes."""
    if isinstance(value, (dict, list)):
        return repr(value)
    match = getattr(value, "match", "")
    return (type(value), match is None) if not isinstance(value, Loose) else Loose
