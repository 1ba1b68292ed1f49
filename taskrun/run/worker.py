"""`taskrun worker`: takes jobs from the queue, has them carried out, and ends when it is told to or nothing is left.

It puts the rooms together as ``conduct`` does for a run; what a job is carried out by is ``jobs``' part, which job
comes next the engine's.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import time
from typing import TYPE_CHECKING, NoReturn

import trio

from taskrun.events import DiagnosticEvent, RunCancel, RunResume, RunSuspend, WorkerEnd, WorkerStopping
from taskrun.execute.clocks import RunClock
from taskrun.execute.equipment import Machinery
from taskrun.jobqueue.opening import open_queue
from taskrun.model import CancelKind, CancelReason, Diagnostic
from taskrun.run.allowance import allowance_of
from taskrun.run.closing import shut_down, try_each
from taskrun.run.facts import Facts
from taskrun.run.hosted import with_host
from taskrun.run.jobs import Carrier
from taskrun.run.options import RunResult
from taskrun.run.parent import dies_with_parent, watch_parent
from taskrun.run.parts import start_of_worker
from taskrun.run.python import template_of
from taskrun.run.recording import left_by_the_last, read_log_at
from taskrun.run.refused import status_of
from taskrun.run.setting import display
from taskrun.run.signals import SignalDesk, die_of, stop_this_process
from taskrun.run.stage import TICK, Stage
from taskrun.run.status import Tally
from taskrun.run.terminal import Terminal
from taskrun.run.under_way import POOLS, REAP

if TYPE_CHECKING:
    from taskrun.events import AnyEvent
    from taskrun.host.start import HostStart
    from taskrun.jobqueue.values import QueueEngine
    from taskrun.link import Link
    from taskrun.model import Leftover
    from taskrun.report.jobs import JobReporters
    from taskrun.run.worker_setting import WorkerSetting

_AGAIN = 300.0  # seconds after which a trouble that goes on, or has come back, is told again


class QueueWorker:
    """One worker, from its host to its exit status. Answers signals: see ``signals.Answers``.

    The first signal has it take nothing new and finish what runs, the second stops that by the ladder and gives it
    back, the third kills, the fourth leaves.
    """

    def __init__(self, setting: WorkerSetting, host: HostStart | None) -> None:
        self._setting = setting
        self._run = setting.run
        self._host = host
        self._terminal = Terminal()
        self._desk = SignalDesk(self, kill_at=3)
        self._stop = trio.Event()
        self._stopped_by: signal.Signals | None = None
        self._cancelled: CancelReason | None = None  # jobs were not finished, but stopped
        self._begun = False  # all that answers signals is there
        self._over = False  # nothing is left to stop
        self._hurry: CancelReason | None = None  # a signal when it was over: not to wait for whoever reads
        self._tally = Tally()
        self._facts = Facts(self._run.run_id, self._tally, count_output=False)
        self._suspended = False
        self._busy = trio.Event()
        self._troubles: dict[str, float] = {}  # when each was last told

    async def main(self) -> RunResult:
        """The whole of it; returns when nothing that it started is left.

        Raises:
            UsageError, QueueRefused, ResourceError: It could not begin, or the queue is damaged.
        """
        return await with_host(self._with_link, self._host, self._desk, self._terminal, warn=self._warn_of_template)

    async def _with_link(self, link: Link, said: int) -> RunResult:
        self._link = link
        engine = open_queue(self._setting.location, trouble=self._tell_trouble)
        try:
            self._equip(link, said)
            return await self._work(engine)
        finally:
            self._over = True
            engine.close()

    def _equip(self, link: Link, said: int) -> None:
        from taskrun.report.jobs import make_job_reporters

        setting = self._run
        self._clock = RunClock(trio.lowlevel.current_clock().current_time)
        self._began = trio.current_time()  # the clock of the jobs stands still while there is none
        settings = display(setting, None)
        self._machinery = Machinery(
            link=link,
            clock=self._clock,
            template=template_of(setting),
            give_terminal=contextlib.nullcontext,  # no job is interactive
            suspend=trio.lowlevel.checkpoint,
        )
        self._stage = Stage(settings, setting.options.events, self._machinery, self._terminal, on_lost=self._on_lost)
        self._reporters: JobReporters = make_job_reporters(
            settings,
            self._stage.writer,
            about=self._setting.about,
            read_log=read_log_at,
            events_fd=self._stage.events_fd,
            events_output=setting.options.output == "stream",
            clock=self._clock.now,
        )
        self._stage.reporters = self._reporters.shown
        self._facts.listen(None, [self._reporters.handle])
        self._allowance = allowance_of(setting.prepared.project, setting.prepared.jobs, self._setting.only)
        self._carrier = Carrier(
            setting,
            self._allowance.tasks or {},
            self._machinery,
            stage=self._stage,
            reporters=self._reporters,
            said=said,
            stop=self._stop,
            facts=self._facts,
            on_change=lambda: self._busy.set(),  # noqa: PLW0108 - it is another one each time
        )
        if setting.prepared.project.pools:
            from taskrun.run.pools import make_all_pools

            self._machinery.pools = make_all_pools(setting, link, self._machinery.outputs)
        self._begun = True

    # --- from begin to end

    @property
    def has_begun(self) -> bool:
        """Whether its events, if somebody wants them, have a beginning and get an end."""
        return self._begun

    async def _work(self, engine: QueueEngine) -> RunResult:
        self._tell_start()
        leaked: tuple[Leftover, ...] = ()
        self._clock.beat()
        failed: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._machinery.outputs.serve)
                nursery.start_soon(self._machinery.controls.serve)
                nursery.start_soon(self._tick_for_ever)
                nursery.start_soon(self._watch_host)
                if dies_with_parent(self._run.options.die_with_parent, self._stage.settings):
                    nursery.start_soon(watch_parent, self._on_parent_gone)
                pools = self._machinery.pools
                if pools is not None:
                    await nursery.start(pools.serve)
                try:
                    await self._serve(engine)
                except Exception as error:  # noqa: BLE001 - raised outside of the nursery, where it comes alone
                    failed = error
                if pools is not None and not self._link.lost.is_set():
                    await pools.close(self._emit)
                self._over = True
                if not self._link.lost.is_set():
                    leaked = await shut_down(self._link, self._facts)
                await self._wait_written()
                nursery.cancel_scope.cancel()
            result = self._tell_end(leaked, failed)
            self._reporters.close()
            if result.signal is None:
                await self._wait_written()
        except Exception as error:
            bug = error
            try_each(lambda: self._tell_end(leaked, bug))
            raise
        finally:
            self._over = True
            self._machinery.close()
            self._reporters.close()
            self._stage.close()
        if failed is not None:
            raise failed
        return result

    async def _wait_written(self) -> None:
        """A pipeline's slow reader gets everything, unless a second signal says that nobody waits for that."""
        if not await self._stage.wait_written(lambda: (self._cancelled or self._hurry) is not None):
            self._cancelled = self._cancelled or self._hurry

    async def _serve(self, engine: QueueEngine) -> None:
        await engine.serve(
            self._carrier,
            allowance=self._allowance,
            stop=self._stop,
            drain=self._setting.drain,
            recurring=self._setting.recurring,
        )

    def _tell_start(self) -> None:
        self._emit(start_of_worker(self._setting, self._allowance))
        for text in (*self._stage.settings.warnings, *self._setting.warnings, *left_by_the_last(self._run)):
            self._facts.warn("run", text)

    def _tell_end(self, leaked: tuple[Leftover, ...], failed: Exception | None) -> RunResult:
        result = self._result()
        if failed is not None:
            result = RunResult(exit_status=status_of(failed))
            if self._reporters.lines is not None:  # alone: whoever looks at the views is told by who ends with it
                self._facts.listen(None, [self._reporters.lines.handle])
                self._facts.emit(DiagnosticEvent(diagnostic=Diagnostic(code="worker", message=str(failed))))
                self._facts.listen(None, [self._reporters.handle])
        self._emit(
            WorkerEnd(
                exit_status=result.exit_status,
                signal=result.signal,
                elapsed=trio.current_time() - self._began,
                jobs=self._carrier.counts,
                leaked=leaked,
            )
        )
        return result

    def _result(self) -> RunResult:
        """How the worker itself ended; what became of jobs is the queue's to know.

        0 also after a signal upon which it finished its jobs. Where they were stopped it dies of that signal.
        """
        status, number = self._tally.exit_status(self._cancelled)
        return RunResult(exit_status=status, signal=number)

    def _emit(self, event: AnyEvent) -> None:
        self._facts.emit(event)

    # --- what others tell

    def _tell_trouble(self, text: str) -> None:
        """The engine gets over something by trying again, and says so each time; here it is said now and then."""
        now = time.monotonic()
        if now >= self._troubles.get(text, -math.inf) + _AGAIN:
            if len(self._troubles) > 100:
                self._troubles.clear()
            self._troubles[text] = now
            self._facts.warn("queue", text)

    def _warn_of_template(self, text: str) -> None:
        self._facts.warn("template", text)

    def _on_lost(self, reason: CancelReason, unable: bool) -> None:  # noqa: FBT001 - of a callback
        if unable:
            self._tally.unable = True
            self._facts.warn("output", str(reason))
        self._cancel(reason, signal.SIGTERM)

    def _on_parent_gone(self) -> None:
        self._cancel(CancelReason(kind=CancelKind.PARENT), signal.SIGTERM)

    async def _watch_host(self) -> None:
        await self._link.lost.wait()
        if not self._over:
            self._tally.unable = True
            self._facts.warn("host", f"the process supervising the tasks was lost ({self._link.why}): the worker ends")
            self._cancel(CancelReason(kind=CancelKind.HOST), signal.SIGTERM)

    def _cancel(self, reason: CancelReason, number: int, *, kill: bool = False) -> None:
        self._stop.set()
        if self._cancelled is None or reason.kind > self._cancelled.kind:
            self._cancelled = reason
        if self._carrier.jobs:
            self._emit(RunCancel(reason=str(self._cancelled), killing=kill))
        self._stage.let_go()  # also where no job is left to say so: the workers of pools end now
        self._carrier.stop_all(self._cancelled, number, kill=kill)
        if self._machinery.pools is not None:
            self._machinery.pools.hurry(0.0 if kill else self._run.prepared.project.run.cleanup)

    async def _tick_for_ever(self) -> None:
        """While there is something to look at: an idle worker sleeps, but for what a terminal shows."""
        for count in itertools.count():
            if not self._carrier.jobs and self._stage.settings.ui != "live":
                self._busy = trio.Event()
                await self._busy.wait()
            else:
                await trio.sleep(TICK)
            self._clock.beat()
            if count % REAP == 0:
                self._link.reap_adopted()
            for work in self._carrier.running:
                work.executor.tick()
                work.recording.tick()
            if not self._suspended:
                self._stage.mind_the_foreground()
            self._stage.reporters.tick(self._clock.now())
            if self._machinery.pools is not None and count % POOLS == 0:
                self._machinery.pools.tick(self._emit)

    # --- signals.Answers

    def cancel(self, number: signal.Signals, *, kill: bool) -> None:
        """The first asks to finish, the second to stop, the third (``kill``) to kill."""
        reason = CancelReason(kind=CancelKind.SECOND_SIGNAL if kill else CancelKind.SIGNAL, detail=number.name)
        if self._stopped_by is None:
            self._stopped_by = number
            self._stop.set()
            if self._begun and not self._over:
                self._emit(WorkerStopping(reason=number.name, running=self._carrier.jobs))
        elif self._over:
            self._hurry = reason
        elif self._begun:
            self._cancel(reason, number, kill=kill)

    def tell_state(self) -> None:
        """SIGQUIT: what runs, as of SIGUSR1; a run has a folder for more."""
        self.show_status()

    def leave(self, number: signal.Signals) -> NoReturn:
        """Ends this process now; the host sees the socket close and kills everything."""
        if self._begun:
            self._link.abandon()
            self._stage.abandon()
        self._terminal.restore()
        die_of(number)

    async def suspend(self) -> None:
        """Ctrl+Z: everything below the host stops, then this process itself, until somebody sends SIGCONT."""
        from taskrun.jobqueue.sqlite_file import at_rest

        if not self._begun:
            self._terminal.restore()
            stop_this_process()
            return
        self._suspended = True
        works = list(self._carrier.running)
        for work in works:
            work.scheduler.pause()
        self._clock.suspend()
        if self._machinery.pools is not None:
            self._machinery.pools.hold()
        await self._link.suspend()
        for work in works:
            if not work.closing.told:
                work.facts.emit(RunSuspend())
                work.recording.tick()
        self._stage.suspend()
        self._terminal.restore()
        with at_rest():
            stop_this_process()
        await self._resume()

    async def _resume(self) -> None:
        self._suspended = False
        paused = self._clock.resume()
        await self._link.resume()
        if self._machinery.pools is not None:
            self._machinery.pools.release()
        self._emit(RunResume(paused=paused))
        self._stage.resume()
        for work in list(self._carrier.running):
            if not work.closing.told:
                work.facts.emit(RunResume(paused=paused))
            work.executor.resumed()
            work.scheduler.resume()

    def continued(self) -> None:
        """Somebody sent SIGCONT."""
        if self._begun and not self._suspended:
            self._stage.continued()

    def resized(self) -> None:
        """The reporters ask for the terminal's size whenever they draw."""

    def show_status(self) -> None:
        """SIGUSR1: what is running, in words."""
        if self._begun:
            for text in self._carrier.status():
                self._facts.warn("status", text)

    def keyboard_is_a_tasks(self) -> bool:
        """Never: no job is interactive."""
        return False
