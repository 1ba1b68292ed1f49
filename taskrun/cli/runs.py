"""``taskrun runs``: the recorded runs of a project, the newest first."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.answers import answer, cut, printable, terminal_width
from taskrun.cli.options import file_option
from taskrun.cli.records import state_folder
from taskrun.config.wording import signal_name, width_of

if TYPE_CHECKING:
    from taskrun.record.reading import RunRecord
    from taskrun.record.summary import RunSummary
    from taskrun.run.survivors import Survivor


@click.command(name="runs")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@click.option("--kill", is_flag=True, help="Kill what runs that were killed themselves have left running.")
@file_option
def command(file: str | None, *, as_json: bool, kill: bool) -> int:
    """List the recorded runs, the newest first, and what those that were killed have left running.

    `taskrun logs --run ID` shows what the tasks of one wrote; the last four letters of the ID will do.
    """
    from taskrun.record.reading import list_runs

    if kill and as_json:
        raise click.UsageError("--kill lists no runs: it goes without --json")
    state = state_folder(file)
    records = list_runs(state, os.environ)[::-1]
    if kill:
        every = [*records, *list_runs(state, os.environ, jobs=True)]
        return _kill([record.summary for record in every])
    alive = _alive([record.summary for record in records])
    if as_json:
        from taskrun.cli.list import to_json

        return answer(to_json([describe(record, alive.get(record.summary.id, [])) for record in records]))
    if not records:
        click.echo("no run is recorded yet", err=True)
        return 0
    width = terminal_width()
    lines = []
    for record, line in zip(records, _in_columns([_row(record.summary) for record in records]), strict=True):
        lines += [line, *(f"  still running: {printable(str(each))}" for each in alive.get(record.summary.id, ()))]
    return answer("".join(f"{line if width is None else cut(line, width)}\n" for line in lines))


def _alive(summaries: list[RunSummary]) -> dict[str, list[Survivor]]:
    """By run."""
    from taskrun.run.survivors import survivors

    found: dict[str, list[Survivor]] = {}
    for each in survivors(summaries):
        found.setdefault(each.run, []).append(each)
    return found


def _kill(summaries: list[RunSummary]) -> int:
    """Status 1: something could not be killed."""
    from taskrun.run import survivors

    killed, alive = survivors.kill(summaries)
    for each in alive:
        click.echo(f"error: {printable(str(each))} could not be killed", err=True)
    if not killed and not alive:
        click.echo("nothing is left running", err=True)
    status = answer("".join(f"killed {printable(str(each))}\n" for each in killed))
    return 1 if alive else status


def outcome(summary: RunSummary) -> str:
    """How a run ended, in a word or two."""
    if summary.state != "finished":
        return summary.state
    if summary.signal is not None:
        return signal_name(summary.signal)
    match summary.exit_status:
        case 0:
            return "ok"
        case 124:
            return "timed out"
        case 1:
            return "failed"
        case status:
            return f"status {status}"


def describe(record: RunRecord, alive: list[Survivor]) -> dict[str, Any]:
    """One element of ``--json``."""
    from taskrun.events import timestamp

    summary = record.summary
    return {
        "id": summary.id,
        "state": summary.state,
        "exit_status": summary.exit_status,
        "signal": summary.signal,
        "started": timestamp(summary.started) if summary.started else None,
        "ended": None if summary.ended is None else timestamp(summary.ended),
        "elapsed": summary.elapsed if summary.ended is not None else None,
        "counts": summary.counts,
        "first_cause": summary.first_cause,
        "targets": list(summary.asked.targets),
        "assignments": summary.asked.assignments,
        "extra": summary.asked.extra,
        "arguments": list(summary.argv),
        "cwd": summary.cwd,
        "file": summary.file,
        "jobs": summary.jobs,
        "pid": summary.pid,
        "taskrun": summary.taskrun,
        "folder": record.path,
        "trouble": list(summary.trouble),
        "still_running": [{"pid": each.seen.pid, "command": each.command} for each in alive],
    }


def _row(summary: RunSummary) -> tuple[str, ...]:
    import time

    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.started)) if summary.started else ""
    took = _duration(summary.elapsed) if summary.ended is not None else ""
    counts = ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count)
    return (summary.id, started, took, outcome(summary), counts, printable(_asked(summary)))


def _asked(summary: RunSummary) -> str:
    """What was asked for, as it would be typed."""
    asked = summary.asked
    words = [*asked.targets, *(f"{key}={value}" for key, value in asked.assignments.items())]
    if asked.extra is not None:
        words += ["--", *asked.extra]
    return shlex.join(words)


def _duration(seconds: float) -> str:
    """``0.42s``, ``12.3s``, ``4m 02s``, ``2h 05m``."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def _in_columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(width_of(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
