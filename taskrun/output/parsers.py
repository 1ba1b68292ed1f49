"""Progress that programs print for people, read line by line: one row of ``PARSERS`` for each way of printing it.

A parser sees lines without their ends and control sequences, and yields samples; it never guesses from a line that
may as well be something else, since a fraction once shown never falls again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from taskrun.output.patience import OutOfPatience, Patience
from taskrun.output.samples import Line, Message, Movement, Phase, Sample, Status
from taskrun.output.text import for_people

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.model import ProgressSource


class Parser(Protocol):
    """Reads one attempt's output; keeps what it must remember between lines.

    Attributes:
        hints: Every line that says something about progress has one of these in it; empty: any line may.
        reads_channel: It also wants lines of the FIFO that are none of the protocol's (ffmpeg's ``-progress``).
    """

    hints: tuple[bytes, ...]
    reads_channel: bool

    def feed(self, line: str, now: float) -> Line | None:
        """Takes a line and the moment at which it came; returns what it says about progress, if anything."""
        ...


def make_parser(source: ProgressSource) -> Parser:
    """The parser that a task asks for.

    Raises:
        ValueError: There is none of that name, or the regex is none (the project's check has refused both).
    """
    make = PARSERS.get(source.parser)
    if make is None:
        raise ValueError(f"no progress parser is called `{source.parser}`")
    return make(source)


# --- numbers ----------------------------------------------------------------------------------------------------------

_DECIMAL_COMMA = r"^(\s*\d+),(\d{1,2}(?!\d))"
_SCALES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24}


def number(text: str) -> float | None:
    """A number as programs print it: ``1,234``, ``12,5``, ``1.5M`` (thousands), ``57MiB`` (1024s), ``3kB``.

    ``None``: it is none.
    """
    text = re.sub(_DECIMAL_COMMA, r"\1.\2", text)
    match = re.fullmatch(r"\s*(\d[\d,_ ]*(?:\.\d*)?|\.\d+)\s*([kKMGTPEZYmgtpezy]?)(i?)[Bb]?\s*", text, re.ASCII)
    if match is None:
        return None
    digits = match[1].replace(",", "").replace("_", "").replace(" ", "")
    power = "kmgtpezy".find(match[2].lower()) + 1 if match[2] else 0
    return float(digits) * (1024.0**power if match[3] else _SCALES[match[2].lower()])


# --- percent ----------------------------------------------------------------------------------------------------------


class PercentParser:
    """``42% ...`` or ``[ 42%] ...`` at a line's start, ``... [ 42%]`` or ``... 42%`` at its end.

    Only the last form needs a second line, of the same words and with a higher value, to be believed: a summary such
    as ``muxing overhead: 3.7%`` has the same shape.
    """

    hints: tuple[bytes, ...] = (b"%",)
    reads_channel = False

    def __init__(self) -> None:
        percent = r"(\d{1,3}(?:\.\d{1,2})?)\s?%"
        self._start = re.compile(rf"\s*(?:\[\s*{percent}\s*\]|{percent}(?=\s|$))\s*", re.ASCII)
        self._bracketed_end = re.compile(rf"\s*[\[(]\s*{percent}\s*[\])]\s*$", re.ASCII)
        self._end = re.compile(rf"(?:^|[\s:])\s*{percent}\s*$", re.ASCII)
        self._seen: dict[str, float] = {}  # words of a line -> its value

    def feed(self, line: str, now: float) -> Movement | None:  # noqa: ARG002 - the protocol's
        """See ``Parser``."""
        match = self._start.match(line)
        if match is not None:
            return _percent_sample(match[1] or match[2], line[match.end() :])
        match = self._bracketed_end.search(line)
        if match is not None:
            return _percent_sample(match[1], line[: match.start()])
        match = self._end.search(line)
        if match is None or line.count("%") > 1 or not self._rises(line, float(match[1])):
            return None
        return _percent_sample(match[1], line[: match.start()].rstrip(" :"))

    def _rises(self, line: str, percent: float) -> bool:
        words = re.sub(r"[\W\d_]+", " ", line)
        before = self._seen.get(words)
        if before is None:
            if len(self._seen) >= 64:  # no bar has so many names; forget the oldest
                del self._seen[next(iter(self._seen))]
            self._seen[words] = percent
        return before is not None and percent > before


def _percent_sample(percent: str, message: str) -> Sample | None:
    value = float(percent)
    if value > 100:
        return None
    words = for_people(message)
    return Sample(fraction=value / 100, message=words if any(map(str.isalnum, words)) else None)


# --- fraction ---------------------------------------------------------------------------------------------------------


class FractionParser:
    """``[3/10] ...`` (ninja), ``(3/10) ...`` or ``3/10 ...`` at a line's start, ``... [ 3/10]`` at its end (pytest).

    ``of`` may stand for the slash; then no brackets are needed at the end either: ``Frame 3 of 10``.
    """

    hints: tuple[bytes, ...] = (b"/", b" of ")
    reads_channel = False

    def __init__(self) -> None:
        pair = r"(\d+)(?:\s*/\s*|\s+of\s+)(\d+)"
        # Not a date (`11/21 20:30:01`, `3/4/2026`), nor a path (`1/2/x`): digits may not go on, nor a time follow.
        bare = rf"{pair}(?=[\s:]|$)(?!\s+\d\d?:\d\d)"
        self._start = re.compile(rf"\s*(?:\[\s*{pair}\s*\]|\(\s*{pair}\s*\)|{bare})[\s:]*", re.ASCII)
        self._end = re.compile(rf"(?:\s*[\[(]\s*{pair}\s*[\])]|(?:^|\s)(\d+)\s+of\s+(\d+)[.:]*)\s*$", re.ASCII)

    def feed(self, line: str, now: float) -> Movement | None:  # noqa: ARG002 - the protocol's
        """See ``Parser``."""
        match = self._start.match(line)
        message = line[match.end() :] if match is not None else ""
        if match is None:
            match = self._end.search(line)
            if match is None:
                return None
            message = line[: match.start()]
        current, total = (float(group) for group in match.groups() if group is not None)
        if not current <= total < float("inf") or total == 0:
            return None
        return Sample(current=current, total=total, message=for_people(message) or None)


# --- tqdm -------------------------------------------------------------------------------------------------------------


class TqdmParser:
    """tqdm's bars. It follows one bar at a time; the next one is a new phase.

    Of nested bars the first seen, which is the outermost, is followed. Another one takes over when it is full, or has
    been given up: not seen for ``_GIVEN_UP`` seconds in which two others became full.
    """

    hints: tuple[bytes, ...] = (b"%|",)
    reads_channel = False
    _GIVEN_UP = 5.0

    def __init__(self) -> None:
        self._bar = re.compile(
            r"^\s*(?:(?P<message>.*?): *)?(?P<percent>\d{1,3})%\|[^|]*\| *(?P<current>[\d.]+[kMGTPEZY]?)"
            r"/(?P<total>[\d.]+[kMGTPEZY]?)[^\[]{0,8} \[[\d:]+<(?P<eta>[\d:?]+)",
            re.ASCII,
        )
        self._followed: tuple[str, float] | None = None  # words of the description, total
        self._current = 0.0
        self._seen_at = 0.0
        self._others_full = 0
        self._phase = 0

    def feed(self, line: str, now: float) -> Movement | None:
        """See ``Parser``."""
        match = self._bar.match(line)
        if match is None:
            return None
        current, total = number(match["current"]), number(match["total"])
        if current is None or total is None or total <= 0:
            return None
        label = for_people(match["message"] or "")
        if not self._is_followed(label, current, total):
            if not self._takes_over(now):
                self._others_full += current >= total
                return None
            self._phase += 1
            self._followed = (_words(label), total)
        self._current, self._seen_at, self._others_full = current, now, 0
        return Sample(current=current, total=total, message=label, phase=self._phase if self._phase > 1 else None)

    def _is_followed(self, label: str, current: float, total: float) -> bool:
        """A bar is known by its total and by its description or, since that may change, by going on where it was."""
        if self._followed is None or total != self._followed[1]:
            return False
        if self._current >= total:  # full: drawn once more, or the next one of the same size
            return current >= total
        return _words(label) == self._followed[0] or current >= self._current

    def _takes_over(self, now: float) -> bool:
        if self._followed is None or self._current >= self._followed[1]:
            return True
        return self._others_full >= 2 and now - self._seen_at >= self._GIVEN_UP


def _words(label: str) -> str:
    return re.sub(r"[\W\d_]+", " ", label)


# --- a user's regex ---------------------------------------------------------------------------------------------------


LONGEST_SEARCH = 0.2
"""Seconds of CPU time that a user's pattern may take for one line: some take for ever, and nothing else could run."""


class RegexParser:
    """A user's pattern; where it matches a line more than once, the last match counts.

    Its groups are ``percent``, ``fraction`` or ``current`` (with ``total``, or a fixed total), and ``message``,
    ``phase`` and ``phases``.
    """

    hints: tuple[bytes, ...] = ()
    reads_channel = False

    def __init__(self, pattern: str, total: float | None = None) -> None:
        self._pattern: re.Pattern[str] | None = re.compile(pattern)
        self._patience = Patience(LONGEST_SEARCH)
        self._total = total

    def feed(self, line: str, now: float) -> Line | None:  # noqa: ARG002 - the protocol's
        """See ``Parser``."""
        if self._pattern is None:
            return None
        match = None
        try:
            with self._patience:
                for match in self._pattern.finditer(line):  # noqa: B007 - the last one is wanted
                    pass
        except OutOfPatience:
            self._pattern = None
            text = f"`progress.regex` has searched one line for {LONGEST_SEARCH:g} s, and is given up: {line[:80]!r}"
            return Message(level="warning", text=text)
        return None if match is None else self._said(match)

    def _said(self, match: re.Match[str]) -> Movement | None:
        groups = {name: text for name, text in match.groupdict().items() if text is not None}
        numbers = {name: number(groups[name].rstrip("% ")) for name in _NUMBERS & groups.keys()}
        message = for_people(groups["message"]) if "message" in groups else None
        phase, phases = _whole(numbers.get("phase")), _whole(numbers.get("phases"))
        percent, fraction, current = (numbers.get(name) for name in ("percent", "fraction", "current"))
        if percent is not None:
            fraction = percent / 100
        if fraction is not None or current is not None:
            total = numbers.get("total") or self._total
            return Sample(fraction=fraction, current=current, total=total, message=message, phase=phase, phases=phases)
        if phase is not None:
            return Phase(number=phase, count=phases, name=message)
        return None if message is None else Status(text=message)


def _whole(value: float | None) -> int | None:
    return None if value is None or value == float("inf") else int(value)


_NUMBERS = {"percent", "fraction", "current", "total", "phase", "phases"}


def _make_regex(source: ProgressSource) -> Parser:
    if source.regex is None:
        raise ValueError("a regex parser without its pattern")
    return RegexParser(source.regex, source.total)


def _make_ffmpeg(source: ProgressSource) -> Parser:
    from taskrun.output.ffmpeg_progress import FfmpegParser

    return FfmpegParser(source.total)


PARSERS: dict[str, Callable[[ProgressSource], Parser]] = {
    "ffmpeg": _make_ffmpeg,
    "fraction": lambda _source: FractionParser(),
    "percent": lambda _source: PercentParser(),
    "regex": _make_regex,
    "tqdm": lambda _source: TqdmParser(),
}
"""Every parser by the name that `progress` takes in tasks.toml (``regex``: by `progress.regex`)."""
