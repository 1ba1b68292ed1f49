"""The run of `taskrun run` under way: its one work, what shows it, what stops and suspends it, and its end."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING

import trio

from taskrun.config.wording import spoken
from taskrun.events import RunResume, RunSuspend
from taskrun.execute.clocks import RunClock
from taskrun.execute.equipment import Machinery
from taskrun.model import CancelKind, CancelReason
from taskrun.run.closing import shut_down, try_each
from taskrun.run.parent import dies_with_parent, watch_parent
from taskrun.run.parts import reporters_of, writes_output_events
from taskrun.run.prepare import affordable, fewer_jobs
from taskrun.run.python import template_of
from taskrun.run.setting import display, one_named
from taskrun.run.stage import TICK, Stage
from taskrun.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskrun.link import Link
    from taskrun.model import Leftover
    from taskrun.resolve import Selection
    from taskrun.run.debug_state import DebugState
    from taskrun.run.options import RunResult
    from taskrun.run.setting import Setting
    from taskrun.run.terminal import Terminal

REAP = 10  # ticks between two looks for dead processes that were adopted
POOLS = 5  # ticks between two looks at the pools
_HUNG_DISK = 1.0  # seconds that the run's end waits for what SIGQUIT has asked for to be written


class UnderWay:
    """One run that has begun.

    Args:
        on_interrupt: Told when an interactive task died of the keyboard's SIGINT.
        on_stopped: Stops the whole run, since an interactive task was stopped; returns when it goes on.
    """

    def __init__(
        self,
        setting: Setting,
        link: Link,
        selection: Selection,
        terminal: Terminal,
        *,
        on_interrupt: Callable[[signal.Signals], None],
        on_stopped: Callable[[], Awaitable[None]],
    ) -> None:
        self._setting = setting
        self._link = link
        self._clock = RunClock(trio.lowlevel.current_clock().current_time)
        self._settings = display(setting, one_named(selection))
        self._jobs = affordable(setting.prepared.jobs)
        self._machinery = Machinery(
            link=link,
            clock=self._clock,
            template=template_of(setting),
            give_terminal=lambda: self._stage.lent_terminal(),  # noqa: PLW0108 - the stage is made with this
            suspend=on_stopped,
        )
        self._stage = Stage(self._settings, setting.options.events, self._machinery, terminal, on_lost=self._on_lost)
        self._work = Work(
            setting,
            selection,
            self._machinery,
            jobs=self._jobs,
            count_output=writes_output_events(setting),
            emit=self._stage.emit,
            on_interrupt=lambda: on_interrupt(signal.SIGINT),
        )
        self._facts = self._work.facts
        self._stage.works.append(self._work)
        self._stage.reporters = reporters_of(
            setting,
            selection,
            self._settings,
            writer=self._stage.writer,
            recording=self._work.recording,
            events_fd=self._stage.events_fd,
            clock=self._clock.now,
        )
        if any(instance.spec.pool is not None for instance in selection.instances.values()):
            from taskrun.run.pools import make_pools  # few runs have any

            self._machinery.pools = make_pools(setting, selection, link, self._machinery.outputs, self._jobs)
        self._state: DebugState | None = None  # made when somebody asks
        self._settled = False  # every task is: a signal changes nothing any more
        self._suspended = False

    # --- from begin to end

    async def carry_out(self, warnings: tuple[str, ...]) -> RunResult:
        """Runs every task of the plan, ends everything, tells the sum."""
        fewer = fewer_jobs(self._jobs, self._setting.prepared.jobs)
        self._work.begin([self._stage.reporters.handle], (*self._settings.warnings, *warnings, *fewer))
        try:
            leaked = await self._run_tasks()
        except Exception:
            self._end_of_a_bug()
            raise
        finally:
            self._settled = True
            self._machinery.close()
        return await self._end(leaked)

    async def _run_tasks(self) -> tuple[Leftover, ...]:
        """Returns what had to be killed when all attempts had ended."""
        leaked: tuple[Leftover, ...] = ()
        self._clock.beat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._machinery.outputs.serve)
            nursery.start_soon(self._machinery.controls.serve)
            nursery.start_soon(self._tick_for_ever)
            nursery.start_soon(self._watch_host)
            if dies_with_parent(self._setting.options.die_with_parent, self._settings):
                nursery.start_soon(watch_parent, self._on_parent_gone)
            pools = self._machinery.pools
            if pools is not None:
                await nursery.start(pools.serve)
            await self._work.scheduler.run()
            if pools is not None and not self._link.lost.is_set():
                await pools.close(self._facts.emit)
                if self._link.lost.is_set():
                    self._facts.warn("pool", "the process supervising the workers of pools was lost while they ended")
            self._settled = True
            if not self._link.lost.is_set():
                leaked = await shut_down(self._link, self._facts)
            await self._wait_written()
            nursery.cancel_scope.cancel()
        return leaked

    async def _wait_written(self) -> None:
        """A signal ends the waiting for a slow reader."""
        self._settled = False  # signals count again: now they mean the waiting
        await self._stage.wait_written(lambda: self._work.cancelled is not None)
        self._settled = True

    async def _end(self, leaked: tuple[Leftover, ...]) -> RunResult:
        if self._state is not None:
            await self._state.finish(_HUNG_DISK)
        self._work.tell_end(leaked)
        self._stage.reporters.close()
        self._work.recording.close()
        if self._work.result().signal is None:
            await self._wait_written()
        self._stage.close()
        return self._work.result()

    def _end_of_a_bug(self) -> None:
        """Leaves whole what others read: the events, the record, the screen."""
        told, shown, kept = self._work.closing.tell_bug, self._stage.reporters.close, self._work.recording.close
        try_each(told, shown, kept, self._stage.close)

    # --- what others tell

    def _on_lost(self, reason: CancelReason, unable: bool) -> None:  # noqa: FBT001 - of a callback
        if unable:
            self._work.tally.unable = True
            self._facts.warn("output", str(reason))
        self._cancel(reason, signal.SIGTERM)

    def _on_parent_gone(self) -> None:
        self._cancel(CancelReason(kind=CancelKind.PARENT), signal.SIGTERM)

    async def _watch_host(self) -> None:
        await self._link.lost.wait()
        if not self._settled:
            self._cancel(CancelReason(kind=CancelKind.HOST), signal.SIGTERM)

    def _cancel(self, reason: CancelReason, number: int, *, kill: bool = False) -> None:
        self._work.cancel(reason, number, kill=kill)
        if self._machinery.pools is not None:
            # What tears down after a cancel has as long as `finally` tasks have.
            self._machinery.pools.hurry(0.0 if kill else self._setting.prepared.project.run.cleanup)

    async def _tick_for_ever(self) -> None:
        for count in itertools.count():
            await trio.sleep(TICK)
            self._clock.beat()
            if count % REAP == 0:
                self._link.reap_adopted()
            self._work.executor.tick()
            if not self._suspended and not self.keyboard_is_a_tasks():
                self._stage.mind_the_foreground()
            self._stage.reporters.tick(self._clock.now())
            self._work.recording.tick()
            if self._machinery.pools is not None and count % POOLS == 0:
                self._machinery.pools.tick(self._facts.emit)

    # --- signals

    def interrupt(self, number: signal.Signals, *, kill: bool) -> None:
        """HUP, INT, QUIT or TERM; ``kill`` from the second on."""
        if self._settled:
            return
        kind = CancelKind.SECOND_SIGNAL if kill else CancelKind.SIGNAL
        self._cancel(CancelReason(kind=kind, detail=number.name), number, kill=kill)

    def tell_state(self) -> None:
        """Somebody wants to know what this process is doing, above all where it seems to stick."""
        from taskrun.run.debug_state import DebugState

        work = self._work
        if not work.closing.told:
            self._state = self._state or DebugState(self._facts, work.recording.path)
            self._state.tell(work.executor.running(), work.tally.counts, self._clock.now())

    def warn(self, text: str) -> None:
        """Something the user should know, that is no event of a task's."""
        self._facts.warn("template", text)

    def abandon(self) -> None:
        """The process is about to leave: what is on the screen stays whole."""
        self._link.abandon()
        self._stage.abandon()

    async def suspend(self) -> None:
        """Everything stands still: tasks, clocks, back-offs, and the screen is the shell's."""
        self._suspended = True
        self._work.scheduler.pause()
        self._clock.suspend()
        if self._machinery.pools is not None:
            self._machinery.pools.hold()
        await self._link.suspend()
        if not self._work.closing.told:
            self._facts.emit(RunSuspend())
            self._work.recording.tick()  # whoever looks meanwhile sees how far it is
        self._stage.suspend()

    async def resume(self) -> None:
        """It goes on; in the background without drawing."""
        self._suspended = False
        paused = self._clock.resume()
        await self._link.resume()
        if self._machinery.pools is not None:
            self._machinery.pools.release()
        if not self._work.closing.told:
            self._facts.emit(RunResume(paused=paused))
        if not self.keyboard_is_a_tasks():  # else the terminal is still lent
            self._stage.resume()
        self._work.executor.resumed()
        self._work.scheduler.resume()

    def continued(self) -> None:
        """SIGCONT: after a SIGSTOP that nobody announced, or because the run was brought to the foreground."""
        if not self._suspended and not self.keyboard_is_a_tasks():
            self._stage.continued()

    def show_status(self) -> None:
        """What is running, in words, now."""
        now = self._clock.now()
        for name, running in self._work.executor.running():
            pid = running.process.pid if running.process is not None else 0
            self._facts.warn("status", f"{name} running for {spoken(now - running.started)}, pid {pid}")

    def keyboard_is_a_tasks(self) -> bool:
        """Whether an interactive task has the keyboard."""
        return self._work.executor.has_the_keyboard
