"""The lines by which a task reports through its FIFO, or in its output after ``::taskrun ``.

It turns lines to values and finds them in a stream of bytes; what follows from them is the tracker's affair.
``docs/reference/progress.md`` is the users' side of it.
"""

from __future__ import annotations

import functools
import re
import sys
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.output.samples import Message, Output, Phase, Sample, Status, Step, Total, Unknown
from taskrun.output.splitter import LONGEST, Splitter
from taskrun.output.text import for_people

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.output.samples import Line

MARK = b"::taskrun "
"""What a line of the output starts with that is meant for taskrun."""

_LEVELS = {"warn": "warning", "warning": "warning", "error": "error", "notice": "notice"}


class LineError(ValueError):
    """A known word with something after it that makes no sense; the text is a clause for people."""


# --- one line ---------------------------------------------------------------------------------------------------------


def parse(line: str) -> tuple[Line, ...]:
    """What one line says; a JSON object may say several things at once. Never raises: see ``Unknown``."""
    line = line.strip()
    if not line:
        return ()
    try:
        if line.startswith("{"):
            return _parse_object(line)
        word, _, rest = line.partition(" ")
        return (_WORDS.get(word, _unknown)(word, rest.strip()),)
    except LineError as mistake:
        return (Unknown(line=for_people(line), why=str(mistake)),)


@functools.cache
def _amount() -> re.Pattern[str]:
    number = r"\d+(?:\.\d*)?|\.\d+"
    return re.compile(rf"(?P<percent>{number})%|(?P<current>{number})/(?P<total>{number})|(?P<bare>{number})", re.ASCII)


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise LineError("a number out of range")
    return value


def amount(text: str) -> Sample:
    """``42%``, ``3/10``, a fraction from 0 to 1, or ``-``.

    Raises:
        LineError: It is none of them.
    """
    if text == "-":
        return Sample()
    match = _amount().fullmatch(text)
    if match is None:
        raise LineError("write `42%`, `3/10`, a fraction such as `0.42`, or `-`")
    if match["percent"] is not None:
        return Sample(fraction=_number(match["percent"]) / 100)
    if match["current"] is not None:
        return Sample(current=_number(match["current"]), total=_number(match["total"]))
    return Sample(fraction=_fraction(_number(match["bare"])))


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise LineError("a bare number is a fraction from 0 to 1: write `42%` or `42/100`")
    return value


def _progress(_word: str, rest: str) -> Sample:
    how_far, _, message = rest.partition(" ")
    sample = amount(how_far)
    message = for_people(message)
    return msgspec.structs.replace(sample, message=message) if message else sample


def _status(_word: str, rest: str) -> Status:
    return Status(text=for_people(rest))


@functools.cache
def _phase_numbers() -> re.Pattern[str]:
    return re.compile(r"(\d{1,6})(?:/(\d{1,6}))?", re.ASCII)


def _phase(_word: str, rest: str) -> Phase:
    which, _, name = rest.partition(" ")
    match = _phase_numbers().fullmatch(which)
    if match is None:
        raise LineError("write `phase 2/3 name`")
    return Phase(number=int(match[1]), count=int(match[2]) if match[2] else None, name=for_people(name) or None)


def _plain_number(word: str, text: str) -> float:
    try:
        value = _number(text)
    except ValueError:
        raise LineError(f"write `{word} NUMBER`") from None
    if value < 0:
        raise LineError("a number below zero")
    return value


def _total(word: str, rest: str) -> Total:
    return Total(total=_plain_number(word, rest))


def _step(word: str, rest: str) -> Step:
    return Step(amount=_plain_number(word, rest) if rest else 1.0)


@functools.cache
def _place() -> re.Pattern[str]:
    return re.compile(
        r"\[file=(?P<file>[^\]]*?)(?:,line=(?P<line>\d{1,9}))?\](?:\s+|$)"
        r"|file=(?P<bare_file>[^\s,]+)(?:,line=(?P<bare_line>\d{1,9}))?(?:\s+|$)",
        re.ASCII,
    )


def _message(word: str, rest: str) -> Message:
    file = line = None
    match = _place().match(rest)
    if match is not None:
        rest = rest[match.end() :]
        file = match["file"] or match["bare_file"]
        line = match["line"] or match["bare_line"]
    return Message(level=_LEVELS[word], text=for_people(rest), file=file or None, line=int(line) if line else None)


def _output(_word: str, rest: str) -> Output:
    key, equals, value = rest.partition("=")
    if not equals or not key or not key.replace("-", "_").replace(".", "_").isidentifier():
        raise LineError("write `output KEY=VALUE`; a key is letters, digits, `_`, `-` and `.`")
    return Output(key=key, value=value)


def _unknown(word: str, _rest: str) -> Line:
    raise LineError(f"`{for_people(word, 40)}` is no word of the protocol")


_WORDS: dict[str, Callable[[str, str], Line]] = {
    "progress": _progress,
    "status": _status,
    "phase": _phase,
    "total": _total,
    "step": _step,
    "output": _output,
    **dict.fromkeys(_LEVELS, _message),
}


# --- a JSON object ----------------------------------------------------------------------------------------------------


def _parse_object(line: str) -> tuple[Line, ...]:
    try:
        said = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise LineError("no JSON object") from None
    lines = [*_object_phase(said), *_object_progress(said), *_object_messages(said), *_object_outputs(said)]
    if not lines:
        raise LineError("a JSON object without a known key")
    return tuple(lines)


def _object_phase(said: dict[str, Any]) -> list[Line]:
    number = _field(said, "phase", int)
    if number is None:
        return []
    count = _field(said, "phases", int)
    if number < 0 or (count is not None and count < 0):
        raise LineError("a number below zero")
    return [Phase(number=number, count=count, name=_text(said, "name"))]


def _object_progress(said: dict[str, Any]) -> list[Line]:
    message = _text(said, "message")
    if message is None:
        message = _text(said, "status")
    current, total = _measure(said, "current"), _measure(said, "total")
    if "progress" in said:
        sample = _object_amount(said["progress"])
        if current is not None or total is not None:
            sample = msgspec.structs.replace(sample, current=current, total=total)
        return [msgspec.structs.replace(sample, message=message)]
    if current is not None:
        return [Sample(current=current, total=total, message=message)]
    lines: list[Line] = []
    if total is not None:
        lines.append(Total(total=total))
    step = _measure(said, "step")
    if step is not None:
        lines.append(Step(amount=step))
    if message is not None:
        lines.append(Status(text=message))
    return lines


def _object_amount(value: Any) -> Sample:
    if value is None:
        return Sample()
    if isinstance(value, str):
        return amount(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Sample(fraction=float(_fraction(value)))
    raise LineError("`progress` is a number from 0 to 1, a text such as `42%`, or null")


def _object_messages(said: dict[str, Any]) -> list[Line]:
    file, line = _field(said, "file", str), _field(said, "line", int)
    return [
        Message(level=level, text=text, file=file, line=line)
        for word, level in _LEVELS.items()
        if (text := _text(said, word)) is not None
    ]


def _object_outputs(said: dict[str, Any]) -> list[Line]:
    entries = _field(said, "output", dict)
    return [Output(key=key, value=value) for key, value in (entries or {}).items()]


def _field(said: dict[str, Any], key: str, kind: type) -> Any:
    """The entry, if it is there and not null.

    Raises:
        LineError: It is of another type.
    """
    value = said.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise LineError(f"`{key}` is not {_KINDS[kind]}")


_KINDS = {int: "a whole number", str: "a text", dict: "an object"}


def _text(said: dict[str, Any], key: str) -> str | None:
    value: str | None = _field(said, key, str)
    return None if value is None else for_people(value)


_LARGEST = sys.float_info.max


def _measure(said: dict[str, Any], key: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise LineError(f"`{key}` is not a number from zero up")
    return float(value)


# --- lines in a stream ------------------------------------------------------------------------------------------------


class Channel:
    """Cuts what comes out of the FIFO into lines. Several programs may write to it; each writes whole lines."""

    def __init__(self) -> None:
        self._splitter = Splitter()

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete, without their ends; empty ones are left out."""
        return _texts(self._splitter.feed(data))

    def flush(self) -> list[str]:
        """A last line without an end."""
        return _texts(self._splitter.flush())


def _texts(segments: list[bytes]) -> list[str]:
    return [text for segment in segments if (text := segment.decode("utf-8", "replace").strip())]


class Scanner:
    """Finds the lines of one output stream that start with ``::taskrun ``, without splitting the rest of it.

    A piece without one costs a single search. A line counts from its start, also after a carriage return, and may be
    split over pieces; what goes beyond ``LONGEST`` of it is left out.
    """

    def __init__(self) -> None:
        # What has come of the current line as long as it is, or may become, one of ours; None: it is another's.
        self._line: bytes | None = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now, without the mark and their ends."""
        found: list[str] = []
        fresh = self._line is not None  # data starts where a line starts
        if self._line:
            data = self._line + data
        at = data.find(MARK) if b":" in data else -1  # a byte is found twenty times as fast as a word
        while at >= 0:
            end = _end_of_line(data, at)
            starts_line = fresh if at == 0 else data[at - 1] in b"\r\n"
            if starts_line and end >= 0:
                found.append(_body(data[at:end]))
            elif end < 0:
                break
            at = data.find(MARK, end)
        self._line = _start_of_ours(data, fresh=fresh)
        if self._line is not None and len(self._line) > LONGEST:
            found.append(_body(self._line[:LONGEST]))
            self._line = None
        return found

    def flush(self) -> list[str]:
        """A last line without an end."""
        line, self._line = self._line, b""
        return [_body(line)] if line and line.startswith(MARK) else []


def _start_of_ours(data: bytes, *, fresh: bool) -> bytes | None:
    """The unfinished last line of ``data``, if it is or may become one of ours; ``fresh``: it starts with a line."""
    start = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if start == 0 and not fresh:
        return None
    line = data[start:]
    return line if line.startswith(MARK) or MARK.startswith(line) else None


def _end_of_line(data: bytes, start: int) -> int:
    """Where the line ends that holds ``start``, or -1."""
    end = data.find(b"\n", start)
    earlier = data.find(b"\r", start, end if end >= 0 else len(data))
    return earlier if earlier >= 0 else end


def _body(line: bytes) -> str:
    return line[len(MARK) :].decode("utf-8", "replace").strip()
