"""``taskrun logs``: what tasks of a recorded run wrote, byte for byte; also while they write it."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from taskrun.cli.answers import SIGPIPE
from taskrun.cli.options import complete_tasks, file_option
from taskrun.cli.records import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taskrun.record.reading import RunRecord

_PAUSE = 0.1  # seconds between two looks at a log that grows
_LOOKS_PER_SEARCH = 5  # so many of these between two searches for attempts that have begun


@click.command(name="logs")
@click.argument("task", metavar="[TASK]", required=False, shell_complete=complete_tasks)
@click.option("--run", "run_id", metavar="ID", default="latest", help="Another run than the last; see `taskrun runs`.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Another attempt than the last.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="One of the two; default: both, as they came.")
@click.option("-F", "--follow", is_flag=True, help="Go on as long as the tasks run.")
@file_option
def command(
    task: str | None, run_id: str, attempt: int | None, stream: str | None, file: str | None, *, follow: bool
) -> int:
    """Show what tasks of a recorded run wrote.

    TASK is a task, an instance or a glob; without it, all of them. Of several, each stands under a heading, which goes
    to stderr: stdout has what the tasks wrote and nothing else.
    """
    from taskrun.model import ResourceError
    from taskrun.record.reading import open_run

    record = open_run(state_folder(file), run_id, os.environ)
    logs = Logs(record, _without_alias(task, record, file), attempt, stream)
    try:
        logs.follow() if follow else logs.show()
    except BrokenPipeError:
        return -SIGPIPE
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EDQUOT}:
            raise
        raise ResourceError(f"cannot write to stdout: {error.strerror}") from error
    return 0


class Logs:
    """The logs of one run that were asked for.

    Args:
        record: The run.
        task: A task, an instance or a glob; ``None``: all.
        attempt: ``None``: the last of each.
        stream: ``"stdout"``, ``"stderr"`` or ``None``.
    """

    def __init__(self, record: RunRecord, task: str | None, attempt: int | None, stream: str | None) -> None:
        self._record = record
        self._task = task
        self._attempt = attempt
        self._stream = stream
        self._headed: tuple[str, int] | None = None

    def show(self) -> None:
        """Writes what there is.

        Raises:
            NothingMatched: No such task or attempt has begun.
        """
        wanted = self._wanted()
        for task, attempt in wanted:
            for data in self._record.read_log(task, attempt, self._stream):
                self._write(task, attempt, data, headed=len(wanted) > 1)

    def follow(self) -> None:
        """Writes what there is and what comes, until the run has ended; waits for tasks that have not begun.

        Raises:
            NothingMatched: The run has ended, or has no such task, and there is nothing to show.
        """
        import time

        known: set[tuple[str, int]] = set()
        open_logs: dict[tuple[str, int], Iterator[bytes]] = {}
        looks = 0
        while True:
            live = self._record.is_live  # asked before the search: no attempt begins after it
            if looks % _LOOKS_PER_SEARCH == 0 or not live:
                for task, attempt in self._wanted(may_come=live):
                    if (task, attempt) not in known:
                        known.add((task, attempt))
                        open_logs[task, attempt] = self._record.follow(task, attempt, self._stream)
            for task, attempt in list(open_logs):
                if not self._write_what_came(task, attempt, open_logs[task, attempt], headed=len(known) > 1):
                    del open_logs[task, attempt]
            if not live and not open_logs:
                return
            looks += 1
            time.sleep(_PAUSE)

    def _write_what_came(self, task: str, attempt: int, log: Iterator[bytes], *, headed: bool) -> bool:
        """Whether more may come."""
        for data in log:
            if not data:
                return True
            self._write(task, attempt, data, headed=headed)
        return False

    def _wanted(self, *, may_come: bool = False) -> list[tuple[str, int]]:
        """The attempts that were asked for and have begun."""
        from taskrun.model import NothingMatched

        begun = self._record.attempts()
        names = list(begun) if self._task is None else matching(self._task, begun)
        wanted = [(name, begun[name] if self._attempt is None else self._attempt) for name in names]
        there = [(name, attempt) for name, attempt in wanted if attempt <= begun[name]]
        if there or (may_come and self._may_come(names)):
            return there
        if wanted:
            name, last = wanted[0][0], begun[wanted[0][0]]
            raise NothingMatched(f"`{name}` has no attempt {self._attempt} in this run; its last is {last}")
        raise NothingMatched(self._nothing(begun))

    def _may_come(self, begun: list[str]) -> bool:
        """Whether a run that is under way has such a task in its plan."""
        return bool(begun or self._task is None or matching(self._task, self._record.summary.plan))

    def _nothing(self, begun: Iterable[str]) -> str:
        run = f"run {self._record.summary.id}"
        if self._task is None:
            return f"no task was started in {run}"
        if matching(self._task, self._record.summary.plan):
            settled = self._record.summary.tasks.get(self._task)
            why = f": {settled.state}{f' ({settled.reason})' if settled.reason else ''}" if settled else ""
            return f"`{self._task}` was not started in {run}{why}"
        import difflib

        nearest = difflib.get_close_matches(self._task, list(begun), 1)
        return f"`{self._task}` is no task of {run}" + (f"; did you mean `{nearest[0]}`?" if nearest else "")

    def _write(self, task: str, attempt: int, data: bytes, *, headed: bool) -> None:
        if headed and self._headed != (task, attempt):
            gap = "\n" if self._headed else ""
            click.echo(f"{gap}==> {task}{f', attempt {attempt}' if attempt > 1 else ''} <==", err=True)
            self._headed = (task, attempt)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _without_alias(task: str | None, record: RunRecord, file: str | None) -> str | None:
    """The task that an alias of the file stands for; records know names only."""
    if task is None or matching(task, record.summary.plan):
        return task
    from taskrun.cli.complete import read_outline

    outline = read_outline(file)
    return task if outline is None else outline.aliases.get(task, task)


def matching(word: str, names: Iterable[str]) -> list[str]:
    """The instances that a word means: that one, all of a task, or those that a glob fits, by either name."""
    import fnmatch

    names = list(names)
    if word in names:
        return [word]
    of_task = [name for name in names if name.partition("[")[0] == word]
    if of_task or not ("*" in word or "?" in word):
        return of_task
    pattern = word.replace("[", "[[]")  # an instance's keys, no set of letters
    return [name for name in names if fnmatch.fnmatchcase(name, pattern) or _fits_task(name, pattern)]


def _fits_task(name: str, pattern: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(name.partition("[")[0], pattern)
