"""The tasks of one run under way: record, reporters, executor and scheduler together, and the sum at the end."""

from __future__ import annotations

import contextlib
import errno
import itertools
import signal
from typing import TYPE_CHECKING

import trio

from taskrun.config.wording import spoken
from taskrun.events import RunCancel, RunResume, RunSuspend, TaskOutput
from taskrun.execute.clocks import RunClock
from taskrun.execute.equipment import Equipment
from taskrun.execute.local import LocalExecutor
from taskrun.model import CancelKind, CancelReason, Outcome, State
from taskrun.model import LookUpFailed as LookUpFailedEnding
from taskrun.plan import RuledOut
from taskrun.report.events_out import open_events
from taskrun.report.writer import Writer
from taskrun.resolve import LookUpError
from taskrun.run.closing import Closing, shut_down, try_each
from taskrun.run.facts import Facts
from taskrun.run.parent import dies_with_parent, watch_parent
from taskrun.run.parts import plan_of, reporters_of, start_of, writes_output_events
from taskrun.run.prepare import affordable, fewer_jobs
from taskrun.run.python import template_of
from taskrun.run.recording import Recording
from taskrun.run.setting import display, one_named
from taskrun.run.status import Tally
from taskrun.schedule import Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from taskrun.events import AnyEvent
    from taskrun.link import Link
    from taskrun.model import Attempt, Leftover
    from taskrun.resolve import Selection
    from taskrun.run.debug_state import DebugState
    from taskrun.run.options import RunResult
    from taskrun.run.setting import Setting
    from taskrun.run.terminal import Terminal

_TICK = 0.1  # seconds between two looks of the reporters at the clock
_REAP = 10  # ticks between two looks for dead processes that were adopted
_HUNG_DISK = 1.0  # seconds that the run's end waits for what SIGQUIT has asked for to be written
_POOLS = 5  # ticks between two looks at the pools
_LEAVING = 0.2  # seconds that whoever reads our output gets when the run was interrupted


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
        self._selection = selection
        self._terminal = terminal
        self._resolver = setting.prepared.resolver
        self._clock = RunClock(trio.lowlevel.current_clock().current_time)
        self._tally = Tally()
        self._settings = display(setting, one_named(selection))
        self._facts = Facts(setting.run_id, self._tally, count_output=writes_output_events(setting))
        self._jobs = affordable(setting.prepared.jobs)
        # What may refuse the run comes before its record, which would read as that of a run that was aborted.
        self._plan = plan_of(setting, selection, self._jobs)
        self._events_fd = None if setting.options.events is None else open_events(setting.options.events)
        self._recording = Recording(setting, link, lambda clause: self._facts.warn("record", clause))
        self._resolver.recorded_in(self._recording.path)
        self._writer = Writer(
            run_soon=trio.lowlevel.current_trio_token().run_sync_soon,
            on_space=self._on_space,
            on_broken=self._on_broken,
            on_error=self._on_unwritable,
        )
        self._reporters = reporters_of(
            setting,
            selection,
            self._settings,
            writer=self._writer,
            recording=self._recording,
            events_fd=self._events_fd,
            clock=self._clock.now,
        )
        self._equipment = self._make_equipment(on_stopped)
        self._executor = LocalExecutor(self._equipment, on_keyboard_interrupt=lambda: on_interrupt(signal.SIGINT))
        self._scheduler = self._make_scheduler()
        self._closing = self._make_closing()
        self._state: DebugState | None = None  # made when somebody asks
        self._cancelled: CancelReason | None = None
        self._settled = False  # every task is: a signal changes nothing any more
        self._suspended = False
        self._in_background = False
        self._unheard = False  # the run was cancelled, and nobody reads: output is shown no more

    def _make_equipment(self, on_stopped: Callable[[], Awaitable[None]]) -> Equipment:
        equipment = Equipment(
            link=self._link,
            clock=self._clock,
            folder=self._recording.folder,
            checkpoints=self._recording.checkpoints,
            template=template_of(self._setting),
            give_terminal=self._lent_terminal,
            suspend=on_stopped,
        )
        if any(instance.spec.pool is not None for instance in self._selection.instances.values()):
            from taskrun.run.pools import make_pools  # few runs have any

            equipment.pools = make_pools(self._setting, self._selection, self._link, equipment.outputs, self._jobs)
        return equipment

    def _make_scheduler(self) -> Scheduler:
        limits = self._setting.prepared.project.run
        return Scheduler(
            self._plan,
            self._executor,
            self._prepare,
            self._emit,
            cleanup=limits.cleanup,
            deadline=limits.deadline,
            clock=self._clock,
        )

    def _make_closing(self) -> Closing:
        began = self._clock.now()
        return Closing(
            self._facts,
            self._recording,
            self._tally,
            self._plan,
            elapsed=lambda: self._clock.now() - began,
            handed_on=self._selection.requested[0] if self._setting.options.exit_code_task else None,
        )

    # --- from begin to end

    async def carry_out(self, warnings: tuple[str, ...]) -> RunResult:
        """Runs every task of the plan, ends everything, tells the sum."""
        self._facts.listen(self._recording.handle, [self._reporters.handle])
        self._facts.emit(start_of(self._setting, self._plan, self._recording, self._jobs))
        fewer = fewer_jobs(self._jobs, self._setting.prepared.jobs)
        for text in (*self._settings.warnings, *self._recording.warnings, *warnings, *fewer):
            self._facts.warn("run", text)
        try:
            leaked = await self._run_tasks()
        except Exception:
            self._end_of_a_bug()
            raise
        finally:
            self._settled = True
            self._equipment.close()
        return await self._end(leaked)

    async def _run_tasks(self) -> tuple[Leftover, ...]:
        """Returns what had to be killed when all attempts had ended."""
        leaked: tuple[Leftover, ...] = ()
        self._clock.beat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._equipment.outputs.serve)
            nursery.start_soon(self._equipment.controls.serve)
            nursery.start_soon(self._tick_for_ever)
            nursery.start_soon(self._watch_host)
            if dies_with_parent(self._setting.options, self._settings):
                nursery.start_soon(watch_parent, self._on_parent_gone)
            pools = self._equipment.pools
            if pools is not None:
                await nursery.start(pools.serve)
            await self._scheduler.run()
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
        """A pipeline's slow reader gets everything; it holds us up, and a signal ends the waiting."""
        written = trio.Event()
        self._settled = False  # signals count again: now they mean the waiting
        self._writer.when_written(written.set)
        while not written.is_set() and self._cancelled is None:
            with trio.move_on_after(_TICK):
                await written.wait()
        self._settled = True

    async def _end(self, leaked: tuple[Leftover, ...]) -> RunResult:
        if self._state is not None:
            await self._state.finish(_HUNG_DISK)
        reason = self._cancelled or self._scheduler.cancelled
        self._closing.tell(reason, leaked)
        self._reporters.close()
        self._recording.close()
        if self._closing.result(reason).signal is None:
            await self._wait_written()
        self._writer.close(_LEAVING)
        return self._closing.result(reason)

    def _end_of_a_bug(self) -> None:
        """Leaves whole what others read: the events, the record, the screen."""
        told, shown, kept = self._closing.tell_bug, self._reporters.close, self._recording.close
        try_each(told, shown, kept, lambda: self._writer.close(_LEAVING))

    # --- what the scheduler asks

    def _prepare(self, task: str, number: int) -> Attempt | RuledOut | Outcome:
        instance = self._selection.instances[task]
        why = self._resolver.ruled_out(instance)
        if why is not None:
            return RuledOut(why=why)
        try:
            return self._resolver.attempt(instance, number, self._plan.view, self._slots(task))
        except LookUpError as error:
            ending = LookUpFailedEnding(message=str(error))
            return Outcome(state=State.FAILED, ending=ending, reason=str(error))

    def _slots(self, task: str) -> int:
        wanted = self._selection.instances[task].spec.slots
        return self._jobs if wanted is None else min(wanted, self._jobs)

    def _emit(self, event: AnyEvent) -> None:
        if type(event) is TaskOutput and self._writer.full and self._scheduler.cancelled is not None:
            self._unheard = True
        if self._unheard and type(event) is TaskOutput:
            return  # it is in the log
        self._facts.emit(event)
        if type(event) is TaskOutput and self._writer.full:
            self._equipment.outputs.hold("writer")
            self._executor.hold_clocks()
        elif type(event) is RunCancel and self._scheduler.cancelled is not None:
            # Whoever does not read holds no end up: tasks' last output goes to their logs, and is shown while there
            # is room for it.
            self._on_space()

    # --- what others tell

    def _on_space(self) -> None:
        self._equipment.outputs.release("writer")
        self._executor.release_clocks()

    def _on_broken(self, fd: int) -> None:
        self._cancel(CancelReason(kind=CancelKind.OUTPUT, detail=f"{self._name_of(fd)} was closed"), signal.SIGTERM)

    def _on_unwritable(self, fd: int, error: OSError) -> None:
        if error.errno == errno.EIO and self._settings.tty(fd):
            return  # the terminal is gone: SIGHUP says so, unless nobody wants to know
        self._tally.unable = True
        reason = CancelReason(kind=CancelKind.OUTPUT, detail=f"{self._name_of(fd)} cannot be written: {error.strerror}")
        self._facts.warn("output", str(reason))
        self._cancel(reason, signal.SIGTERM)

    def _name_of(self, fd: int) -> str:
        if fd == self._events_fd and fd not in {1, 2}:
            return f"--events {self._setting.options.events}"
        return "stdout" if fd == 1 else "stderr"

    def _on_parent_gone(self) -> None:
        self._cancel(CancelReason(kind=CancelKind.PARENT), signal.SIGTERM)

    async def _watch_host(self) -> None:
        await self._link.lost.wait()
        if not self._settled:
            self._cancel(CancelReason(kind=CancelKind.HOST), signal.SIGTERM)

    def _cancel(self, reason: CancelReason, number: int, *, kill: bool = False) -> None:
        if self._cancelled is None or reason.kind > self._cancelled.kind:
            self._cancelled = reason
        self._scheduler.cancel(reason, number, kill)
        if self._equipment.pools is not None:
            # What tears down after a cancel has as long as `finally` tasks have.
            self._equipment.pools.hurry(0.0 if kill else self._setting.prepared.project.run.cleanup)

    async def _tick_for_ever(self) -> None:
        for count in itertools.count():
            await trio.sleep(_TICK)
            self._clock.beat()
            if count % _REAP == 0:
                self._link.reap_adopted()
            self._executor.tick()
            self._mind_the_foreground()
            now = self._clock.now()
            self._reporters.tick(now)
            self._recording.tick()
            if self._equipment.pools is not None and count % _POOLS == 0:
                self._equipment.pools.tick(self._facts.emit)

    def _mind_the_foreground(self) -> None:
        """In the background nothing is drawn, for somebody types there. `fg` signals only what was stopped."""
        if self._suspended or self.keyboard_is_a_tasks():
            return
        in_background = not self._terminal.in_foreground()
        if in_background != self._in_background:
            self._in_background = in_background
            self._reporters.suspend()
            self._reporters.resume(draw=not in_background)

    @contextlib.contextmanager
    def _lent_terminal(self) -> Iterator[None]:
        """The terminal is an interactive task's meanwhile."""
        self._reporters.suspend()
        self._writer.flush(_LEAVING)
        try:
            yield
        finally:
            self._terminal.restore()
            self._reporters.resume()

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

        if not self._closing.told:
            self._state = self._state or DebugState(self._facts, self._recording.path)
            self._state.tell(self._executor, self._tally.counts, self._clock.now())

    def warn(self, text: str) -> None:
        """Something the user should know, that is no event of a task's."""
        self._facts.warn("template", text)

    def abandon(self) -> None:
        """The process is about to leave: what is on the screen stays whole."""
        self._link.abandon()
        self._reporters.suspend()
        self._writer.close(0.05)

    async def suspend(self) -> None:
        """Everything stands still: tasks, clocks, back-offs, and the screen is the shell's."""
        self._suspended = True
        self._scheduler.pause()
        self._clock.suspend()
        if self._equipment.pools is not None:
            self._equipment.pools.hold()
        await self._link.suspend()
        if not self._closing.told:
            self._facts.emit(RunSuspend())
            self._recording.tick()  # whoever looks meanwhile sees how far it is
        self._reporters.suspend()
        self._writer.flush(_LEAVING)

    async def resume(self) -> None:
        """It goes on; in the background without drawing."""
        self._suspended = False
        paused = self._clock.resume()
        await self._link.resume()
        if self._equipment.pools is not None:
            self._equipment.pools.release()
        if not self._closing.told:
            self._facts.emit(RunResume(paused=paused))
        if not self.keyboard_is_a_tasks():  # else the terminal is still lent
            self._in_background = not self._terminal.in_foreground()
            self._reporters.resume(draw=not self._in_background)
        self._executor.resumed()
        self._scheduler.resume()

    def continued(self) -> None:
        """SIGCONT: after a SIGSTOP that nobody announced, or because the run was brought to the foreground."""
        if not self._suspended and not self.keyboard_is_a_tasks() and self._terminal.in_foreground():
            self._reporters.resume()

    def show_status(self) -> None:
        """What is running, in words, now."""
        now = self._clock.now()
        for name, running in self._executor.running():
            pid = running.process.pid if running.process is not None else 0
            self._facts.warn("status", f"{name} running for {spoken(now - running.started)}, pid {pid}")

    def keyboard_is_a_tasks(self) -> bool:
        """Whether an interactive task has the keyboard."""
        return self._executor.has_the_keyboard
