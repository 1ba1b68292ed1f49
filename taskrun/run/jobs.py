"""Carries out the jobs of a queue: each is a run of its task, with a plan and a record of its own, among others.

It says how a job ended and never what that means for the queue: attempts, back-offs and dead letters are the engine's.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from taskrun.config.wording import spoken
from taskrun.events import JobEnd, JobStart
from taskrun.jobqueue.values import Cancelled, Cost, Dead, Job, JobOutcome, Released, Retry
from taskrun.model import CancelKind, CancelReason, NothingMatched, ProjectError, ResourceError, UsageError
from taskrun.record.places import RUNS, new_run_id
from taskrun.report.tails import Tails
from taskrun.report.text import count
from taskrun.resolve import Resolver
from taskrun.run.allowance import within
from taskrun.run.closing import try_each
from taskrun.run.job_outcomes import name_of, outcome_of, refused
from taskrun.run.selecting import check_selection, select
from taskrun.run.setting import ShellReader
from taskrun.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from taskrun.execute.equipment import Machinery
    from taskrun.jobqueue.values import Lease
    from taskrun.report.jobs import JobReporters
    from taskrun.resolve import Selection
    from taskrun.run.facts import Facts
    from taskrun.run.setting import Setting
    from taskrun.run.stage import Stage

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0  # seconds between tries to make a record
_PRUNING = 10  # jobs between two looks for old records, which costs as much as a short job


class Carrier:
    """Carries jobs out.

    Args:
        setting: Of the worker, from which each job's is made.
        costs: What a job of each task has of slots and limits.
        machinery: What carries attempts out.
        stage: Where works are shown.
        reporters: Who shows them.
        said: Where templates print to, see ``inspect_calls``.
        stop: Set when nothing more is to begin.
        facts: The worker's own.
        on_change: Told when a job begins or is over.

    Attributes:
        jobs: How many have begun and are not over; some have no work yet.
        running: Jobs, by what carries them out.
        counts: Jobs that are over, by outcome.
    """

    def __init__(
        self,
        setting: Setting,
        costs: Mapping[str, Cost],
        machinery: Machinery,
        *,
        stage: Stage,
        reporters: JobReporters,
        said: int,
        stop: trio.Event,
        facts: Facts,
        on_change: Callable[[], None],
    ) -> None:
        self.jobs = 0
        self.running: dict[Work, Job] = {}
        self.counts: dict[str, int] = {}
        self._setting = setting
        self._costs = costs
        self._machinery = machinery
        self._stage = stage
        self._reporters = reporters
        self._said = said
        self._ending = stop
        self._facts = facts
        self._on_change = on_change
        self._taken = 0
        self._unrecorded = ""  # why not, where that is so
        self._keeps: int | None = None
        self._stopping: tuple[CancelReason, int, bool] | None = None  # all jobs are to end: why, signal, at once
        self._beginning: set[trio.CancelScope] = set()  # of jobs that have no work yet

    async def __call__(self, job: Job, lease: Lease) -> JobOutcome:
        """Carries an attempt at a job out; see ``jobqueue.values.Handle``."""
        if lease.descriptor is not None and lease.descriptor != self._keeps:
            # Before anything is started for it: what has begun could not inherit it any more.
            self._machinery.link.keep_open(lease.descriptor)
            self._keeps = lease.descriptor
        self.jobs += 1
        self._on_change()
        began = self._machinery.clock.now()
        run_id = new_run_id(time.time())
        self._facts.emit(
            JobStart(job=job.id, task=job.task, attempt=job.attempt, max_attempts=job.max_attempts, carried_by=run_id)
        )
        outcome: JobOutcome = Released()
        try:
            outcome = await self._carry_out(job, lease, run_id)
            return outcome
        finally:
            self.jobs -= 1
            self._tell_end(job, outcome, self._machinery.clock.now() - began, cancelled=lease.cancelled.is_set())
            self._on_change()

    def _tell_end(self, job: Job, outcome: JobOutcome, elapsed: float, *, cancelled: bool) -> None:
        name = name_of(outcome, job, cancelled=cancelled)
        self.counts[name] = self.counts.get(name, 0) + 1
        self._facts.emit(
            JobEnd(
                job=job.id,
                task=job.task,
                attempt=job.attempt,
                max_attempts=job.max_attempts,
                outcome=name,
                error=getattr(outcome, "error", ""),
                elapsed=elapsed,
                carried_by=getattr(outcome, "run", None),
            )
        )

    async def _carry_out(self, job: Job, lease: Lease, run_id: str) -> JobOutcome:
        try:
            setting = self._setting_of(job, run_id)
            selection, warnings = await self._select(setting, lease)
        except (UsageError, NothingMatched) as error:
            return Dead(error=str(error))
        except ProjectError as error:
            return refused(error)
        except ResourceError as error:
            return Retry(error=str(error))
        work = None if selection is None else await self._make_work(setting, selection, lease)
        if work is None:
            return Cancelled() if lease.cancelled.is_set() else Released()
        return await self._run(work, job, lease, warnings)

    async def _make_work(self, setting: Setting, selection: Selection, lease: Lease) -> Work | None:
        """The job's run with its record; ``None``: it was cancelled meanwhile, or nothing more is to begin.

        A full disk is not the job's fault and costs it no attempt, but time.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                work = Work(
                    setting,
                    selection,
                    self._machinery,
                    jobs=setting.prepared.jobs,
                    count_output=self._reporters.lines is not None and self._setting.options.output == "stream",
                    emit=self._stage.emit,
                )
            except ResourceError as error:
                self._tell_unrecorded(str(error))
            else:
                self._unrecorded = ""
                return work
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_at, lease.cancelled, nursery.cancel_scope)
                nursery.start_soon(_cancel_at, self._ending, nursery.cancel_scope)
                await trio.sleep(wait)
                nursery.cancel_scope.cancel()
            if lease.cancelled.is_set() or self._ending.is_set():
                return None
            wait = min(wait * 2, _LONGEST_WAIT)

    def _tell_unrecorded(self, why: str) -> None:
        if why != self._unrecorded:
            self._unrecorded = why
            self._facts.warn("record", f"jobs wait until they can be recorded: {why}")

    async def _select(self, setting: Setting, lease: Lease) -> tuple[Selection | None, tuple[str, ...]]:
        """What will run, and what to warn of; nothing where the job has been stopped meanwhile.

        It begins when there is room for what it will have to tell.

        Raises:
            UsageError, ProjectError, NothingMatched, ResourceError: As of ``selecting``.
        """
        selection: Selection | None = None
        warnings: tuple[str, ...] = ()
        link = self._machinery.link
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, lease.cancelled, nursery.cancel_scope)
            self._beginning.add(nursery.cancel_scope)
            if self._stopping is not None:  # since it was taken
                nursery.cancel_scope.cancel()
            try:
                await self._stage.wait_room()
                found = await select(setting, link)
                warnings = await check_selection(setting, found, link, self._said)
                selection = found
            except (UsageError, ProjectError, NothingMatched, ResourceError) as caught:
                error = caught  # raised outside, so that it comes alone and not in a group
            finally:
                self._beginning.discard(nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
        if self._stopping is not None:
            return None, ()
        return selection, warnings

    def _setting_of(self, job: Job, run_id: str) -> Setting:
        """The setting of a run of the job's task.

        Raises:
            UsageError: Its arguments are none that a command line could give.
        """
        cost = self._costs.get(job.task, Cost())
        base = self._setting.prepared
        project = within(base.project, cost)
        assignments = assignments_of(job.args)
        request = msgspec.structs.replace(
            base.request,
            targets=(job.task,),
            assignments=assignments,
            job=job.id,
            run_id=run_id,
            run_folder=os.path.join(self._setting.state, RUNS, run_id),
            jobs=cost.slots,
            cwd=project.root,  # wherever the worker was started, a job means the same
        )
        shell = ShellReader()
        prepared = msgspec.structs.replace(
            base, project=project, request=request, resolver=Resolver(project, request, shell), jobs=cost.slots
        )
        options = msgspec.structs.replace(self._setting.options, targets=(job.task,), assignments=assignments)
        setting = msgspec.structs.replace(
            self._setting,
            options=options,
            run_id=run_id,
            prepared=prepared,
            shell=shell,
            selection=None,
            keep=None if self._taken % _PRUNING else self._setting.keep,
        )
        self._taken += 1
        if prepared.reads_shell:
            return setting
        return msgspec.structs.replace(setting, selection=prepared.resolver.select())

    async def _run(self, work: Work, job: Job, lease: Lease, warnings: tuple[str, ...]) -> JobOutcome:
        tails = Tails()
        folder = work.recording.path
        self.running[work] = job
        self._stage.works.append(work)
        try:
            work.begin([tails.handle, self._reporters.of_job(job.id, folder)], warnings)
            if self._stopping is not None:
                self._stop(work)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_at, lease.cancelled, work)
                await work.scheduler.run()
                nursery.cancel_scope.cancel()
            work.tell_end(())
        except Exception:
            try_each(work.closing.tell_bug)
            raise
        finally:
            self._stage.works.remove(work)
            del self.running[work]
            work.recording.close()
        return outcome_of(work, tails)

    def status(self) -> Iterator[str]:
        """What is running, in words."""
        now = self._machinery.clock.now()
        for work, job in self.running.items():
            tasks = list(work.executor.running())
            for name, running in tasks:
                pid = running.process.pid if running.process is not None else 0
                yield f"job {job.id}: {name} running for {spoken(now - running.started)}, pid {pid}"
            if not tasks:
                yield f"job {job.id}: {job.task} waits, and nothing of it is running"
        if self.jobs > len(self.running):
            yield f"{count(self.jobs - len(self.running), 'job')} looked at before anything of it runs"
        if not self.jobs:
            yield "no job is running"

    # --- stopping them

    def stop_all(self, reason: CancelReason, number: int, *, kill: bool) -> None:
        """Stops all jobs by the ladder, or at once; they are given back."""
        self._stopping = (reason, number, kill)
        for scope in self._beginning:
            scope.cancel()
        for work in list(self.running):
            self._stop(work)

    def _stop(self, work: Work) -> None:
        assert self._stopping is not None
        reason, number, kill = self._stopping
        work.cancel(reason, number, kill=kill)


def assignments_of(args: Mapping[str, Any]) -> dict[str, str]:
    """A job's arguments as ``KEY=VALUE`` of the command line.

    Raises:
        UsageError: One is neither a text, a number, true nor false.
    """
    found: dict[str, str] = {}
    for key, value in args.items():
        if isinstance(value, str):
            found[key] = value
        elif isinstance(value, bool | int | float):
            found[key] = json.dumps(value)
        else:
            raise UsageError(f"the argument `{key}` is neither a text, a number, true nor false")
    return found


async def _stop_at(cancelled: trio.Event, work: Work) -> None:
    await cancelled.wait()
    work.cancel(CancelReason(kind=CancelKind.JOB), signal.SIGTERM)


async def _cancel_at(cancelled: trio.Event, scope: trio.CancelScope) -> None:
    await cancelled.wait()
    scope.cancel()
