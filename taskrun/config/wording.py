"""Names, lists, times, signals and widths in the words of messages. It knows no file and no mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_COMPARED = 60
"""Names that are compared letter by letter for one suggestion: it takes 50 microseconds each."""


def suggestion(word: str, words: Iterable[str]) -> str:
    """``did you mean `timeout`?``, or nothing where no word is near."""
    near = nearest(word, words)
    return f"did you mean `{near}`?" if near else ""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The most similar of ``words``, if it is similar at all."""
    import difflib

    known = list(words)
    found = difflib.get_close_matches(word, _likely(word, known), 1, 0.6)
    if found:
        return found[0]
    by_fold = {each.casefold().replace("_", "-"): each for each in known}
    return by_fold.get(word.casefold().replace("_", "-"))


def _likely(word: str, known: list[str]) -> list[str]:
    """The names that share most pairs of letters, where there are too many for a closer look at each."""
    if len(known) <= MOST_COMPARED:
        return known
    pairs = {word[index : index + 2] for index in range(len(word) - 1)} or {word}
    return sorted(known, key=lambda each: sum(pair in each for pair in pairs), reverse=True)[:MOST_COMPARED]


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a`, `b` or `c`."""
    *rest, final = [f"`{word}`" for word in words]
    return f"{', '.join(rest)} {last} {final}" if rest else final


def spoken(seconds: float) -> str:
    """A duration in a sentence: ``250ms``, ``1.5s``, ``2m30s``, ``1h05m``; the columns of reports have other forms."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m" + (f"{rest:02d}s" if rest else "")
    return f"{minutes}m" + (f"{rest:02d}s" if rest else "")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9, ``SIGRTMIN+3``; ``signal 99`` for what has no name here."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"


def width_of(text: str) -> int:
    """Columns of a terminal that a line takes: none for combining characters and joiners, two for wide ones."""
    if text.isascii():
        return len(text)
    import unicodedata

    width = 0
    for char in text:
        if unicodedata.combining(char) or char in "\u200d\ufe0e\ufe0f":
            continue
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return width


def printed(who: str, data: bytes, most: int = 5) -> list[str]:
    """What somebody wrote who belongs to no task, a message for each of the first lines."""
    lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    more = [f"{who} printed more than that"] if len(lines) > most else []
    return [*(f"{who} printed: {line}" for line in lines[:most]), *more]
