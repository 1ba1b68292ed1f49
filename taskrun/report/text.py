"""Words, numbers, names and colours as people read them on a terminal or in a log. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.report.protocol import AboutTask
    from taskrun.report.settings import Settings

WORD = 8  # columns of a status word
RESET = "\x1b[0m"
_STYLES = {
    "good": "\x1b[32m",
    "bad": "\x1b[1;31m",
    "warn": "\x1b[33m",
    "info": "\x1b[36m",
    "faint": "\x1b[2m",
    "strong": "\x1b[1m",
}


class Ink:
    """Colours and drawing characters of one descriptor: the text is the same with and without."""

    __slots__ = ("bar", "between", "colour", "dots", "rule", "space")

    def __init__(self, *, colour: bool, unicode: bool) -> None:
        self.colour = colour
        self.bar, self.space, self.rule = ("━", "─", "─") if unicode else ("#", "-", "-")
        self.dots, self.between = ("…", " · ") if unicode else ("...", ", ")

    def paint(self, style: str, text: str) -> str:
        """``text`` in a style, where colours are wanted."""
        return f"{_STYLES[style]}{text}{RESET}" if self.colour and text else text

    def word(self, style: str, text: str) -> str:
        """A status word in a style, right-aligned in its column."""
        return " " * (WORD - len(text)) + self.paint(style, text)


def ink_for(settings: Settings, fd: int) -> Ink:
    """The ink of a descriptor."""
    return Ink(colour=settings.colour(fd), unicode=settings.unicode)


def stopwatch(seconds: float) -> str:
    """A task's time in the column of plain lines: milliseconds below a minute."""
    return f"[{f'{seconds:.3f}s' if seconds < 60 else short_time(seconds):>9}]"


def short_time(seconds: float) -> str:
    """``3.0s``, ``1m02.4s``, ``2h03m04s``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    tenths = round(seconds * 10)
    if tenths < 36_000:
        return f"{tenths // 600}m{tenths % 600 / 10:04.1f}s"
    whole = round(seconds)
    return f"{whole // 3600}h{whole // 60 % 60:02}m{whole % 60:02}s"


def rough_time(seconds: float) -> str:
    """``12s``, ``2m00s``, ``1h05m``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole // 60 % 60:02}m"


def clock_time(seconds: float) -> str:
    """What is left: ``0:21``, ``1:02:03``."""
    whole = max(0, round(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def percent(fraction: float) -> str:
    """Rounded down, so that 100% means that nothing is left."""
    # The margin takes back what binary fractions lose: 0.29 * 100 is below 29.
    return f"{int(fraction * 100 + 1e-9)}%"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 task``, ``2 tasks``, ``10,000 tasks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def visible(text: str) -> str:
    """One line without anything that a terminal would obey: names may hold any character that file names may."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return repr(char)[1:-1] if char != " " else char


def shell_words(argv: Sequence[str]) -> str:
    """A command as one would type it."""
    import shlex

    return visible(shlex.join(argv))


def shorten(text: str, longest: int, dots: str = "…") -> str:
    """``text`` within so many cells of a terminal, cut at its end where it has to be."""
    if len(text) * 2 <= longest or cells(text) <= longest:
        return text
    room = longest - len(dots)
    if room <= 0:
        return dots[: max(0, longest)]
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > room:
            return text[:index] + dots
    return text


def shorten_label(text: str, longest: int, dots: str = "…") -> str:
    """As ``shorten``, for a task that may be of a job: what tells jobs of one task apart is at the end, and stays."""
    task, sign, job = text.rpartition("#")
    room = longest - len(sign + job)
    if not sign or not job.isdigit() or room <= len(dots):
        return shorten(text, longest, dots)
    return shorten(task, room, dots) + sign + job


def cells(text: str) -> int:
    """How many columns a text without control characters takes: East Asian characters take two, marks none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # its tables follow Unicode's versions; most text never needs them

    return cell_len(text)


def rerun_command(task: str, about: AboutTask | None = None) -> str:
    """The command line that runs a task again: an instance is picked by its ``foreach`` keys."""
    known = None if about is None else about(task).rerun
    if known is not None:
        return known()
    import shlex

    name, bracket, keys = task.partition("[")
    if not bracket or not keys.endswith("]"):
        return f"taskrun run {shlex.quote(task)}"
    pairs = keys[:-1].split(",")
    if any("=" not in pair for pair in pairs):
        # A value with a comma in it: only the whole name is unambiguous.
        return f"taskrun run {shlex.quote(task)}"
    return visible(f"taskrun run {shlex.quote(name)} " + " ".join(map(_picked, pairs)))


def _picked(pair: str) -> str:
    import shlex

    key, _, value = pair.partition("=")
    literal = "".join(f"[{char}]" if char in "*?[" else char for char in value)
    return f"{key}={shlex.quote(literal)}"
