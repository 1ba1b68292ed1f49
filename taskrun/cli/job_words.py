"""How jobs are shown: in a line, in full, as JSON. Text that came from outside cannot harm a terminal."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.cli.answers import cut, printable
from taskrun.config.wording import width_of
from taskrun.jobqueue.values import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.jobqueue.values import JobRecord, QueueStats

_UNITS = ((86_400.0 * 365, "year"), (86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_MOST_BYTES = 2000  # of arguments or a result that are no JSON
_LABELS = 11  # columns
_PADDED = 60  # columns up to which tasks with their arguments are of one width there
_LONGEST = 200  # columns of a task with its arguments, and of a reason, where no terminal is narrower


def span(seconds: float) -> str:
    """A time in words, in its largest unit: ``2 hours``."""
    for size, unit in _UNITS:
        count = int(seconds / size)
        if count:
            return f"{count} {unit}{'s' * (count != 1)}"
    return "a moment"


def when(job: JobRecord, now: float) -> str:
    """Since when a job stands where it stands, or when it moves on."""
    match job.state:
        case JobState.DELAYED:
            return f"in {span(job.due_at - now)}" if job.due_at > now else "due now"
        case JobState.RUNNING if job.claimed_at is not None:
            return f"for {span(now - job.claimed_at)}"
        case JobState.READY:
            return f"for {span(now - job.due_at)}"
        case JobState.BLOCKED:
            return f"for {span(now - job.enqueued_at)}"
    return f"{span(now - (job.settled_at or now))} ago"


def arguments(job: JobRecord) -> str:
    """What a job is given, as it would be typed; bytes that are no arguments as Python would write them."""
    given = _decoded(job.payload)
    if not isinstance(given, dict):
        return f"no arguments, but the bytes {_bytes(job.payload)}"
    return printable(shlex.join(f"{key}={_word(value)}" for key, value in given.items()))


def lines(jobs: Sequence[JobRecord], stuck: Sequence[str], width: int | None, now: float) -> list[str]:
    """One line for each: id, state, task with arguments, attempts, age, and why it stands there."""
    rows = [
        (
            str(job.id),
            job.state.value,
            cut(printable(f"{job.task} {arguments(job)}".rstrip()), _LONGEST),
            f"{job.attempt}/{job.max_attempts}",
            when(job, now),
            cut(printable(why and f"stuck: {why}") or printable(job.why[: 4 * _LONGEST]), _LONGEST),
        )
        for job, why in zip(jobs, stuck, strict=True)
    ]
    return _in_columns(rows, width)


def _in_columns(rows: Sequence[tuple[str, ...]], width: int | None) -> list[str]:
    """Aligned; on a terminal a long task gives way, so that the reason can be seen, and lines are cut to its width."""
    widths = [max(width_of(cell) for cell in column) for column in zip(*rows, strict=True)]
    if width is not None:
        others = sum(widths) - widths[2] - widths[-1] + 2 * (len(widths) - 1)
        room = width - others
        widths[2] = max(10, min(widths[2], room - min(widths[-1], max(20, room // 2))))
    else:
        widths[2] = min(widths[2], _PADDED)
    found = []
    for row in rows:
        cells = list(row)
        if width is not None:
            cells[2] = cut(cells[2], widths[2])
        padded = [cell + " " * (size - width_of(cell)) for cell, size in zip(cells, widths, strict=True)]
        padded[0] = " " * (widths[0] - width_of(cells[0])) + cells[0]
        line = "  ".join(padded).rstrip()
        found.append(line if width is None else cut(line, width))
    return found


def full(job: JobRecord, stuck: str, now: float) -> str:
    """All that is known of a job, with a newline at the end."""
    rows = [
        ("state", f"{job.state}{', asked to stop' if job.cancelling else ''}"),
        ("stuck", printable(stuck)),
        ("why", "" if job.error else printable(job.why)),
        ("arguments", arguments(job)),
        ("attempts", f"{job.attempt} of {job.max_attempts}"),
        ("priority", str(job.priority) if job.priority else ""),
        ("unique", printable(job.unique or "")),
        ("after", f"job {job.after}" if job.after is not None else ""),
        ("stored", _moment(job.enqueued_at, now)),
        ("due", _moment(job.due_at, now) if job.due_at > job.enqueued_at else ""),
        ("begun", _moment(job.claimed_at, now)),
        ("settled", _moment(job.settled_at, now)),
        ("worker", printable(job.worker or "")),
        ("run", f"{printable(job.run)} (taskrun logs --run {printable(job.run)})" if job.run else ""),
    ]
    text = [f"job {job.id}: {printable(job.task)}"]
    text += [f"  {label:{_LABELS}}{value}" for label, value in rows if value]
    text += _block("error", job.error)
    text += _block("result", None if job.result is None else _pretty(job.result))
    return "".join(f"{line}\n" for line in text)


def described(job: JobRecord, stuck: str) -> dict[str, Any]:
    """One object of ``--json``."""
    given = _decoded(job.payload)
    is_table = isinstance(given, dict)
    return {
        "id": job.id,
        "task": job.task,
        "args": given if is_table else None,
        "payload": None if is_table else job.payload.decode("utf-8", "backslashreplace"),
        "state": job.state.value,
        "why": job.why,
        "stuck": stuck or None,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "unique": job.unique,
        "after": job.after,
        "cancelling": job.cancelling,
        "enqueued": _stamp(job.enqueued_at),
        "due": _stamp(job.due_at),
        "claimed": _stamp(job.claimed_at),
        "settled": _stamp(job.settled_at),
        "worker": job.worker,
        "run": job.run,
        "error": job.error,
        "result": None if job.result is None else _decoded(job.result),
    }


def counts(stats: QueueStats) -> list[str]:
    """How the queue stands, in lines."""
    found = [f"{state.value:{_LABELS}}{stats.counts.get(state, 0)}" for state in JobState]
    if stats.oldest_ready is not None:
        found.append(f"the oldest that is ready has waited for {span(stats.oldest_ready)}")
    if stats.next_due is not None:
        found.append(f"the next that is delayed is due in {span(stats.next_due)}")
    found.append("no worker lives" if not stats.workers else f"{stats.workers} worker{'s' * (stats.workers != 1)} live")
    return found


def as_json(value: Any) -> str:
    """Indented JSON; control characters that JSON itself lets through are escaped too."""
    from taskrun.cli.list import to_json

    text = to_json(value)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(each if each == "\n" or each.isprintable() else _escaped(each) for each in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _stamp(seconds: float | None) -> str | None:
    """As in all JSON of ours; seconds since 1970 where the year has five digits."""
    from taskrun.events import timestamp

    if seconds is None:
        return None
    try:
        return timestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"


def _moment(seconds: float | None, now: float) -> str:
    if seconds is None:
        return ""
    try:
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):  # somebody has asked for a far future
        written = f"{seconds:.0f} s after 1970"
    return f"{written} ({f'{span(now - seconds)} ago' if seconds <= now else f'in {span(seconds - now)}'})"


def _block(label: str, text: str | None) -> list[str]:
    """A text of several lines, each made harmless, its indentation kept."""
    if not text:
        return []
    return [f"  {label}", *(f"    {_harmless(line)}".rstrip() for line in text.rstrip().split("\n"))]


def _harmless(line: str) -> str:
    line = line.rstrip("\r").expandtabs(4)
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None


def _pretty(data: bytes) -> str:
    try:
        return msgspec.json.format(data, indent=2).decode()
    except (ValueError, RecursionError):
        return _bytes(data)


def _bytes(data: bytes) -> str:
    more = len(data) - _MOST_BYTES
    return repr(data[:_MOST_BYTES]) + (f" and {more} more" if more > 0 else "")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
