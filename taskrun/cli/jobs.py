"""``taskrun jobs``: looks at the jobs of the queue and changes their course. It carries nothing out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.answers import answer, counted, printable, terminal_width
from taskrun.cli.exits import EXIT_USAGE, say_error
from taskrun.cli.options import Duration, JobNumber, complete_tasks, file_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from taskrun.cli.records import Place
    from taskrun.jobqueue.values import JobRecord, JobState, QueueAdmin

_STATES = ("blocked", "delayed", "ready", "running", "done", "dead", "cancelled")
_MOST_LISTED = 1_000_000  # jobs
_PAGE = 500  # jobs that are asked for at once
_MOST_SCANNED = 2000  # unsettled jobs that `stats` looks at for what is stuck

_ids = click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=JobNumber())
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group(name="jobs")
def command() -> None:
    """Look at the jobs of the queue, retry, cancel and forget them."""


@command.command(name="list")
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Only these; repeatable.")
@click.option("--task", metavar="TASK", shell_complete=complete_tasks, help="Only jobs of this task.")
@click.option(
    "--limit", type=click.IntRange(min=1, max=1_000_000), default=50, metavar="N", help="At most so many. Default: 50."
)
@_json
@file_option
def list_jobs(states: tuple[str, ...], task: str | None, limit: int, file: str | None, *, as_json: bool) -> int:
    """List jobs, the newest first: id, state, task, attempts, age, and why it stands there."""
    from taskrun.cli import job_words
    from taskrun.jobqueue.values import JobState

    desk = _Desk(file)
    wanted = [JobState(each) for each in states]
    most = min(limit, _MOST_LISTED)
    found = [] if desk.is_missing else desk.admin.find(states=wanted, task=task, limit=most)
    stuck = [desk.why_stuck(job) for job in found]
    if as_json:
        described = [job_words.described(job, why) for job, why in zip(found, stuck, strict=True)]
        return answer(job_words.as_json(described))
    if not found:
        click.echo("no job is so" if (states or task) and not desk.is_missing else "no job is stored", err=True)
        return 0
    lines = job_words.lines(found, stuck, terminal_width(), time.time())
    status = answer("".join(f"{line}\n" for line in lines))
    if len(found) == limit and status == 0:
        click.echo(f"the newest {limit}; --limit shows more", err=True)
    return status


@command.command(name="show")
@_ids
@_json
@file_option
def show(jobs: tuple[int, ...], file: str | None, *, as_json: bool) -> int:
    """Show all that is known of jobs: arguments, error, result, the run that carried it out, why it stands there."""
    from taskrun.cli import job_words

    desk = _Desk(file)
    found = []
    for job in dict.fromkeys(jobs):
        record = None if desk.is_missing else desk.admin.show(job)
        if record is None:
            desk.say_unknown(job)
        else:
            found.append(record)
    if as_json:
        text = job_words.as_json([job_words.described(record, desk.why_stuck(record)) for record in found])
    else:
        now = time.time()
        text = "\n".join(job_words.full(record, desk.why_stuck(record), now) for record in found)
    return answer(text, desk.status)


@command.command(name="retry")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobNumber())
@click.option("--dead", is_flag=True, help="All dead jobs.")
@click.option("--task", metavar="TASK", shell_complete=complete_tasks, help="With --dead: only those of this task.")
@_json
@file_option
def retry(jobs: tuple[int, ...], task: str | None, file: str | None, *, dead: bool, as_json: bool) -> int:
    """Offer dead or cancelled jobs again, with all of their attempts."""
    from taskrun.jobqueue.values import JobState

    if dead == bool(jobs):
        raise click.UsageError("which JOB? Or --dead for all dead ones" if not dead else "--dead has no JOB beside it")
    if task is not None and not dead:
        raise click.UsageError("--task goes with --dead")
    desk = _Desk(file)
    wanted: Sequence[int] = jobs
    if dead:
        wanted = [each.id for each in desk.every(states=[JobState.DEAD], task=task)][::-1]
        if not wanted and not as_json:
            click.echo("no job is dead" if task is None else f"no job of `{printable(task)}` is dead", err=True)
    return desk.change(wanted, desk.admin.retry, as_json=as_json)


@command.command(name="cancel")
@_ids
@_json
@file_option
def cancel(jobs: tuple[int, ...], file: str | None, *, as_json: bool) -> int:
    """Cancel jobs; one that runs is asked to stop. What comes after a cancelled job is cancelled too."""
    desk = _Desk(file)
    return desk.change(jobs, desk.admin.cancel, as_json=as_json)


@command.command(name="prune")
@click.option("--done", type=Duration(zero=True), metavar="TIME", help="Done and cancelled, older than. Default: 7d.")
@click.option("--dead", type=Duration(zero=True), metavar="TIME", help="Dead, older than. Default: 30d.")
@_json
@file_option
def prune(done: float | None, dead: float | None, file: str | None, *, as_json: bool) -> int:
    """Forget jobs that settled long ago. Workers do so by themselves, after the same times."""
    from taskrun.jobqueue.values import Retention

    desk = _Desk(file)
    usual = Retention()
    retention = Retention(done=usual.done if done is None else done, dead=usual.dead if dead is None else dead)
    count = 0 if desk.is_missing else desk.admin.prune(retention)
    return answer(f'{{"forgotten": {count}}}\n' if as_json else f"forgot {counted(count, 'job')}\n")


@command.command(name="stats")
@_json
@file_option
def stats(file: str | None, *, as_json: bool) -> int:
    """Count jobs by state, and name what is stuck."""
    from taskrun.cli import job_words
    from taskrun.jobqueue.values import JobState, QueueStats

    desk = _Desk(file)
    if desk.is_missing:
        found, stuck = QueueStats(counts={}, oldest_ready=None, next_due=None, workers=0), {}
    else:
        found, stuck = desk.admin.stats(), desk.stuck()
    if as_json:
        return answer(
            job_words.as_json(
                {
                    "counts": {state.value: found.counts.get(state, 0) for state in JobState},
                    "oldest_ready": found.oldest_ready,
                    "next_due": found.next_due,
                    "workers": found.workers,
                    "stuck": [{"why": why, "jobs": jobs} for why, jobs in stuck.items()],
                }
            )
        )
    lines = job_words.counts(found)
    unsettled = sum(count for state, count in found.counts.items() if not state.settled)
    least = "at least " if unsettled > _MOST_SCANNED else ""
    for why, jobs in stuck.items():
        some = ", ".join(map(str, jobs[:5])) + (" and others" if len(jobs) > 5 else "")
        lines.append(printable(f"stuck: {least}{counted(len(jobs), 'job')} ({some}): {why}"))
    return answer("".join(f"{line}\n" for line in lines))


class _Desk:
    """The queue of a project, for one command; where there is none yet, none is made.

    Attributes:
        status: The exit status so far.
    """

    def __init__(self, file: str | None) -> None:
        from taskrun.cli.records import place_of
        from taskrun.jobqueue.opening import is_server, open_queue

        self.status = 0
        self._place: Place = place_of(file)
        self.is_missing = not is_server(self._place.queue) and not os.path.exists(self._place.queue)
        self._queue = open_queue(self._place.queue)
        self.admin: QueueAdmin = self._queue.admin()
        self._workers: int | None = None

    def every(self, *, states: Sequence[JobState], task: str | None = None) -> Iterator[JobRecord]:
        """All jobs that are so, the newest first."""
        before: int | None = None
        while not self.is_missing:
            page = self.admin.find(states=states, task=task, before=before, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].id

    def change(self, jobs: Sequence[int], action: Callable[[int], JobState], *, as_json: bool) -> int:
        """Does something to each job, and tells what has become of it; what cannot be done stops no other."""
        from taskrun.cli import job_words
        from taskrun.jobqueue.values import JobState, NoSuchJob
        from taskrun.model import UsageError

        rows: list[dict[str, Any]] = []
        lines: list[str] = []
        for job in dict.fromkeys(jobs):
            if self.is_missing:
                self.say_unknown(job)
                continue
            try:
                state = action(job)
            except (NoSuchJob, UsageError) as error:
                self._say(str(error))
                continue
            rows.append({"id": job, "state": state.value})
            lines.append(f"job {job}: {'asked to stop' if state is JobState.RUNNING else state}\n")
        return answer(job_words.as_json(rows) if as_json else "".join(lines), self.status)

    def say_unknown(self, job: int) -> None:
        """There is no such job."""
        self._say(f"there is no job {job}; settled ones are forgotten after a while")

    def _say(self, message: str) -> None:
        say_error(printable(message))
        self.status = EXIT_USAGE

    def stuck(self) -> dict[str, list[int]]:
        """Jobs that are stuck, by why."""
        import itertools

        from taskrun.jobqueue.values import JobState

        found: dict[str, list[int]] = {}
        unsettled = self.every(states=[state for state in JobState if not state.settled])
        for job in itertools.islice(unsettled, _MOST_SCANNED):
            why = self.why_stuck(job)
            if why:
                found.setdefault(why, []).append(job.id)
        return found

    def why_stuck(self, job: JobRecord) -> str:
        """Why nothing will happen to a job; see ``jobqueue.stuck``."""
        from taskrun.jobqueue.stuck import why_stuck
        from taskrun.jobqueue.values import JobState

        if job.state.settled:
            return ""
        if self._workers is None:
            self._workers = self.admin.stats().workers
        before = self.admin.show(job.after) if job.state is JobState.BLOCKED and job.after is not None else None
        return why_stuck(
            job,
            tasks=self._place.tasks,
            workers=self._workers,
            after=before.state if before is not None else None,
            now=time.time(),
        )
