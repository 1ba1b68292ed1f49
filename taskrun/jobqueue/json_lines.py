"""Reads jobs from JSON lines, and says which line is wrong. It knows nothing of tasks."""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec

from taskrun.jobqueue.values import NewJob
from taskrun.model import UsageError

MOST_SHOWN = 20  # mistakes


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job as a line says it; the names are those of the options, and null says nothing."""

    task: str
    args: dict[str, str | int | float | bool] = {}
    delay: float | str | None = None
    at: str | float | None = None
    priority: int | None = None
    unique: str | None = None
    max_attempts: int | None = None
    after: int | None = None


def read_jobs(data: bytes, given: dict[str, Any]) -> tuple[list[int], list[NewJob]]:
    """Reads jobs, one a line; empty lines are left out.

    Args:
        data: The lines.
        given: What holds for jobs that do not say it themselves, by the names of ``NewJob``.

    Returns:
        The numbers of the lines, from 1, and the jobs.

    Raises:
        UsageError: Some line is no job; the first of them are named.
    """
    decoder = msgspec.json.Decoder(Line)
    numbers: list[int] = []
    jobs: list[NewJob] = []
    wrong: list[str] = []
    for number, text in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            jobs.append(_job(decoder.decode(text), given))
            numbers.append(number)
        except ValueError as error:  # msgspec's are
            wrong.append(f"line {number}: {_words(error)}")
    if wrong:
        more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        raise UsageError("\n".join([*wrong[:MOST_SHOWN], *more]))
    return numbers, jobs


def _job(line: Line, given: dict[str, Any]) -> NewJob:
    said: dict[str, Any] = {}
    for key in ("priority", "max_attempts", "after"):
        value = getattr(line, key)
        if value is not None:
            said[key] = value
    if said.get("max_attempts", 1) < 1:
        raise ValueError("`max_attempts` must be 1 or more")
    if line.delay is not None:
        said["delay"] = _seconds(line.delay)
    if line.at is not None:
        said["at"] = _moment(line.at)
    return NewJob(task=line.task, args=dict(line.args), unique=line.unique, **{**given, **said})


def _seconds(value: Any) -> float:
    from taskrun.config.units import DURATION, BadValue, seconds

    if isinstance(value, str) and not re.fullmatch(DURATION, value):
        raise ValueError(f'`delay` is "{value}", which is no time: a number of seconds, or as in "1h30m", "250ms"')
    try:
        result = seconds(value)
    except BadValue as bad:
        raise ValueError(f"`delay` {bad.problem}") from None
    if result < 0:
        raise ValueError("`delay` is less than nothing")
    return result


def _moment(value: Any) -> float:
    if not isinstance(value, str):
        return float(value)
    from taskrun.jobqueue.moments import read_moment

    try:
        return read_moment(value)
    except ValueError as error:
        raise ValueError(f"`at`: {error}") from None


def _words(error: ValueError) -> str:
    """What msgspec says, less its own way of naming places."""
    text = str(error)
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"no JSON: {text}"
    return re.sub(r" - at `\$\.?(.*)`$", r" (at `\1`)", text).replace("(at ``)", "").strip()
