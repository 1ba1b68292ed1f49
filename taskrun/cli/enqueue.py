"""``taskrun enqueue``: words, options or JSON lines to jobs; ids to stdout. Only Python functions need trio."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.answers import answer, printable
from taskrun.cli.options import Duration, JobNumber, complete_tasks, file_option, load_project, split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskrun.config.project import Project
    from taskrun.jobqueue.enqueueing import Checked
    from taskrun.jobqueue.values import Duplicate, NewJob, Stored


_MOST_SHOWN = 20  # lines that are wrong


class Moment(click.ParamType[float]):
    """A date and time, or a time: the next one; local where no zone is said."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To seconds since the epoch."""
        if isinstance(value, float):
            return value
        from taskrun.jobqueue.moments import read_moment

        try:
            return read_moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(name="enqueue")
@click.argument("words", metavar="[TASK] [KEY=VALUE...]", nargs=-1, shell_complete=complete_tasks)
@click.option("--delay", type=Duration(zero=True), metavar="TIME", help="Not before this time has passed.")
@click.option("--at", type=Moment(), metavar="WHEN", help="Not before: 2026-12-24T18:00, or 03:00 for the next one.")
@click.option("--priority", type=int, metavar="N", help="The higher goes first. Default: 0.")
@click.option("--unique", metavar="KEY", help="Store nothing while an unsettled job has this key.")
@click.option("--max-attempts", type=click.IntRange(min=1), metavar="N", help="How often it is tried. Default: 3.")
@click.option("--after", type=JobNumber(), metavar="JOB", help="Not before this job is done.")
@click.option("--from", "source", metavar="FILE|-", help="Many jobs, as JSON lines: all are stored, or none.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print an object for each job: its id, whether it is a duplicate."
)
@file_option
def command(words: tuple[str, ...], source: str | None, file: str | None, *, as_json: bool, **options: Any) -> int:
    """Store a job for `taskrun worker`, and print its id.

    TASK is a name or an instance ('transcode[clip=in/a.mov]'). A job is a run of that task with what it needs.
    KEY=VALUE sets a variable, an argument, or picks instances, and is checked now as `taskrun run` would.
    """
    given = {key: value for key, value in options.items() if value is not None}
    numbers: list[int] = []
    if source is None:
        jobs = [_one(words, given)]
    else:
        if words:
            raise click.UsageError("--from has the tasks and what they are given: it goes without TASK and KEY=VALUE")
        if "unique" in given:
            raise click.UsageError('with --from, a line has its own "unique"')
        numbers, jobs = _lines(source, given)

    def whose(index: int) -> str:
        return f"line {numbers[index]}: " if numbers else ""

    project = load_project(file)
    return _store(project, _checked(project, jobs, whose), whose, as_json=as_json)


def _one(words: tuple[str, ...], given: dict[str, Any]) -> NewJob:
    from taskrun.jobqueue.values import NewJob

    targets, assignments = split_words(words)
    if not targets:
        raise click.UsageError("which TASK? `taskrun list` shows them")
    if len(targets) > 1:
        shown = " and ".join(f"`{target}`" for target in targets)
        raise click.UsageError(f"a job is a run of one task, and here are {shown}; --from takes many")
    return NewJob(task=targets[0], args=dict(assignments), **given)


def _lines(source: str, given: dict[str, Any]) -> tuple[list[int], list[NewJob]]:
    """The jobs of a file, and their lines' numbers.

    Raises:
        UsageError: It cannot be read, or a line is no job.
    """
    from taskrun.jobqueue.json_lines import read_jobs
    from taskrun.model import UsageError

    try:
        if source == "-":
            if sys.stdin is None:  # it was closed before taskrun began
                raise UsageError("stdin is closed: there is nothing to read jobs from")
            data = sys.stdin.buffer.read()
        else:
            with open(source, "rb") as stream:
                data = stream.read()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from None
    return read_jobs(data, given)


def _checked(project: Project, jobs: Sequence[NewJob], whose: Callable[[int], str]) -> list[NewJob]:
    """All jobs, checked, as they are to be stored.

    Raises:
        UsageError, NothingMatched, ProjectError: At least one cannot be.
    """
    from taskrun.config import working_directory
    from taskrun.jobqueue.accepting import check_form
    from taskrun.jobqueue.enqueueing import JobChecker
    from taskrun.jobqueue.values import NoSuchJob
    from taskrun.model import NothingMatched, UsageError

    checker = JobChecker(project, os.environ, working_directory())
    checked: list[NewJob] = []
    calling: dict[int, Checked] = {}  # of a million jobs all that was found would be gigabytes: only those of Python
    wrong: list[tuple[int, Exception]] = []
    for index, job in enumerate(jobs):
        try:
            found = checker.check(job)
            check_form(found.job)
            checked.append(found.job)
            if found.calls_python:
                calling[index] = found
        except (UsageError, NothingMatched, NoSuchJob) as error:
            wrong.append((index, error))
            if len(wrong) == _MOST_SHOWN:
                break
    if wrong:
        lines = [f"{whose(index)}{line}" for index, error in wrong for line in str(error).splitlines()]
        kind = NothingMatched if all(isinstance(error, NothingMatched) for _, error in wrong) else UsageError
        raise kind("\n".join(lines))
    if calling:
        from taskrun.run.enqueueing import check_calls

        for warning in check_calls(project, os.environ, calling, whose):
            click.echo(f"warning: {printable(warning)}", err=True)
    return checked


def _store(project: Project, jobs: Sequence[NewJob], whose: Callable[[int], str], *, as_json: bool) -> int:
    from taskrun.jobqueue.opening import make_place, open_queue
    from taskrun.jobqueue.values import Duplicate, NoSuchJob
    from taskrun.model import UsageError

    if not jobs:
        click.echo("no job: nothing was stored", err=True)
        return 0
    try:
        stored = open_queue(make_place(project, os.environ)).enqueue(jobs)
    except NoSuchJob as error:
        raise UsageError(str(error)) from None
    for index, (job, each) in enumerate(zip(jobs, stored, strict=True)):
        if isinstance(each, Duplicate):
            key = printable(job.unique or "")
            click.echo(f"note: {whose(index)}job {each.id} has the unique key `{key}`: nothing was stored", err=True)
    return answer("".join(_shown(each, as_json=as_json) for each in stored))


def _shown(stored: Stored | Duplicate, *, as_json: bool) -> str:
    from taskrun.jobqueue.values import Duplicate

    if not as_json:
        return f"{stored.id}\n"
    return f'{{"id":{stored.id},"duplicate":{"true" if isinstance(stored, Duplicate) else "false"}}}\n'
