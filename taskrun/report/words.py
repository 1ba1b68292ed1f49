"""The status lines of a run, as text: the same words in every mode. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.model import Leftover, State
from taskrun.report.text import (
    Ink,
    clock_time,
    count,
    percent,
    shell_words,
    short_time,
    shorten,
    stopwatch,
    visible,
)

if TYPE_CHECKING:
    from taskrun.events import (
        DiagnosticEvent,
        JobEnd,
        TaskEnd,
        TaskMessage,
        TaskProgress,
        TaskRetry,
        TaskStart,
        WorkerEnd,
        WorkerStopping,
    )

_LONGEST_REASON = 160  # characters in the line at a task's end; the summary, which comes later, has all of it
_FAILURES = frozenset({State.FAILED.value, State.TIMED_OUT.value})
_LEFT = 3  # processes left behind that are named
_ENDS = {
    State.SUCCEEDED.value: ("OK", "good"),
    State.FAILED.value: ("FAIL", "bad"),
    State.TIMED_OUT.value: ("TIMEOUT", "bad"),
    State.CANCELLED.value: ("STOPPED", "warn"),
    State.SKIPPED.value: ("SKIPPED", "faint"),
    State.NOT_STARTED.value: ("NOT RUN", "faint"),
}

_JOB_ENDS = {
    "retry": ("RETRY", "warn"),
    "dead": ("DEAD", "bad"),
    "cancelled": ("STOPPED", "warn"),
    "released": ("RETURN", "faint"),
}


def failed(event: TaskEnd) -> bool:
    """Whether the task itself failed, excused or not; victims have not."""
    return event.state in _FAILURES


def status_word(state: str) -> tuple[str, str]:
    """The word for a settled state, and its style."""
    return _ENDS.get(state, (state.upper(), "strong"))


def command(start: TaskStart) -> str:
    """What was started, in one line, as one would type it."""
    if start.shell is not None:
        return visible(" ".join(start.shell.split("\n")).strip())
    if start.target is not None:
        return f"{start.target}()"
    return shell_words(start.argv)


def end_line(event: TaskEnd, ink: Ink) -> str:
    """How a task ended."""
    text, style = status_word(event.state)
    notes = []
    if event.reason and not failed_by_leak(event):
        notes.append(shorten(visible(event.reason), _LONGEST_REASON, ink.dots))
    elif event.cause is not None:
        notes.append(f"because of {visible(event.cause)}")
    if event.attempt > 1:
        notes.append(f"attempt {event.attempt}")
    if event.allowed:
        notes.append("allowed to fail")
    if event.leaked:
        notes.append(left_behind(event.leaked))
    took = f"{stopwatch(event.elapsed)} " if event.attempt else ""
    head = f"{ink.word(style, text)}  {took}{ink.paint('strong', visible(event.task))}"
    return f"{head}  {', '.join(notes)}" if notes else head


def retry_line(event: TaskRetry, ink: Ink) -> str:
    """An attempt failed and there will be another."""
    head = f"{ink.word('warn', 'RETRY')}  {stopwatch(event.elapsed)} {ink.paint('strong', visible(event.task))}"
    when = f"in {short_time(event.delay)}" if event.delay > 0 else "now"
    left = f", {left_behind(event.leaked)}" if event.leaked else ""
    return f"{head}  {visible(event.why)}{left}, attempt {event.attempt + 1} {when}"


def progress_note(event: TaskProgress) -> str:
    """What is known beside the percent."""
    notes = []
    if event.phase is not None and event.phases:
        notes.append(f"phase {event.phase}/{event.phases}")
    if event.eta is not None and event.fraction != 1:
        notes.append(f"eta {clock_time(event.eta)}")
    if event.message:
        notes.append(visible(event.message))
    return "  ".join(notes)


def progress_line(event: TaskProgress, ink: Ink) -> str:
    """How far a task is."""
    share = "" if event.fraction is None else percent(event.fraction)
    return f"{ink.word('info', share)}  {visible(event.task)}  {progress_note(event)}".rstrip()


def left_behind(leaked: tuple[Leftover, ...]) -> str:
    """``left 2 processes behind (sleep 50, cat), killed``."""
    total = sum(one.count for one in leaked)
    alive = sum(one.count for one in leaked if not one.killed)
    first = sorted(leaked, key=lambda one: one.killed)[:_LEFT]  # who still lives is of more interest
    named = ", ".join(map(_left_one, first))
    more = f" and {total - len(first):,} more" if total > len(first) else ""
    end = "killed" if not alive else "could not be killed" if alive == total else f"{alive:,} could not be killed"
    return f"left {count(total, 'process', 'processes')} behind ({named}{more}), {end}"


def _left_one(one: Leftover) -> str:
    if one.killed:
        return visible(one.command)
    return f"{visible(one.command)} [{one.pid}{f', state {one.state}' if one.state else ''}]"


def failed_by_leak(event: TaskEnd) -> bool:
    """Whether its reason says nothing but what ``left_behind`` says better."""
    return bool(event.leaked and event.reason) and left_behind(event.leaked).startswith(event.reason)


def diagnostic_line(event: DiagnosticEvent, ink: Ink) -> str:
    """A mistake or a warning, in one line."""
    one = event.diagnostic
    place = ""
    if one.file is not None:
        place = f"{visible(one.file)}:{one.span.line}:{one.span.column}: " if one.span else f"{visible(one.file)}: "
    notes = "".join(f" ({visible(text)})" for text in (one.label,) if text)
    level = ink.paint("bad" if one.level == "error" else "warn", f"{one.level}:")
    return f"taskrun: {level} {place}{visible(one.message)}{notes}"


def cancel_line(reason: str, running: int, *, killing: bool) -> str:
    """Running tasks are being stopped."""
    tasks = count(running, "task")
    interrupted = reason in {"SIGINT", "interrupted"}
    if not running:  # between two tasks
        return "Interrupted" if interrupted else f"Stopping: {visible(reason)}"
    if killing:
        return f"Killing {tasks}"
    if interrupted:
        return f"Interrupted: stopping {tasks} (Ctrl+C again to kill)"
    return f"Stopping {tasks}: {visible(reason)}" if reason else f"Stopping {tasks}"


def message_line(event: TaskMessage, ink: Ink) -> str:
    """A warning or an error that a task sent itself."""
    text, style = ("WARN", "warn") if event.level == "warning" else ("ERROR", "bad")
    return f"{ink.word(style, text)}  {visible(event.task)}  {visible(event.text)}"


def heartbeat_line(running: list[str], more: int, ink: Ink) -> str:
    """Nothing has been said for a while: who still runs."""
    named = ", ".join(running) + (f", and {more:,} more" if more else "")
    return f"{ink.word('info', 'RUNNING')}  {named}"


def job_label(task: str, job: int) -> str:
    """A task of a job, among those of other jobs."""
    return f"{task}#{job}"


def job_line(event: JobEnd, ink: Ink) -> str:
    """What became of a job that is not done; what its tasks said has been shown."""
    text, style = _JOB_ENDS[event.outcome]
    head = f"{ink.word(style, text)}  {stopwatch(event.elapsed)} {ink.paint('strong', f'job {event.job}')}"
    tried = f"attempt {event.attempt} of {event.max_attempts}"
    match event.outcome:
        case "retry" | "dead":
            error = shorten(visible(event.error.partition("\n")[0]), _LONGEST_REASON, ink.dots)
            return f"{head}  {visible(event.task)}: {error}, {tried}"
        case "released":
            return f"{head}  {visible(event.task)}: given back"
        case _:
            return f"{head}  {visible(event.task)}"


def stopping_line(event: WorkerStopping) -> str:
    """A worker takes nothing new."""
    why = "Interrupted" if event.reason in {"SIGINT", "interrupted"} else f"Stopping: {visible(event.reason)}"
    if not event.running:
        return why
    again = "Ctrl+C again" if event.reason == "SIGINT" else "another signal"
    return f"{why}: {count(event.running, 'running job')} will be finished first ({again} to stop)"


def worker_line(event: WorkerEnd, ink: Ink) -> str:
    """What a worker did, in all."""
    told = [("done", "done"), ("dead", "dead"), ("cancelled", "cancelled"), ("released", "given back")]
    parts = [f"{event.jobs[outcome]:,} {word}" for outcome, word in told if event.jobs.get(outcome)]
    retried = event.jobs.get("retry", 0)
    if retried:
        parts.append(f"{count(retried, 'attempt')} to be repeated")
    return f"taskrun: jobs: {', '.join(parts) or 'none'}{ink.between}{short_time(event.elapsed)}"


def command_lines(start: TaskStart) -> list[str]:
    """What was started, as one would type it; a shell command line may have several lines."""
    if start.shell is not None:
        return [visible(line.rstrip()) for line in start.shell.strip("\n").split("\n")]
    return [command(start)]
