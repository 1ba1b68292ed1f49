"""Conducts one run under trio: signals and host around everything, selection and inspection before anything starts.

It puts the rooms together and decides nothing that one of them could; the tasks themselves are ``under_way``'s part.
"""

from __future__ import annotations

import gc
import signal
from typing import TYPE_CHECKING, NoReturn

import trio

from taskrun.model import UsageError
from taskrun.run.hosted import with_host
from taskrun.run.options import RunResult
from taskrun.run.recording import left_by_the_last
from taskrun.run.selecting import check_selection, select
from taskrun.run.signals import SignalDesk, die_of, stop_this_process
from taskrun.run.terminal import Terminal
from taskrun.run.under_way import UnderWay

if TYPE_CHECKING:
    from taskrun.host.start import HostStart
    from taskrun.link import Link
    from taskrun.resolve import Selection
    from taskrun.run.setting import Setting


def conduct(setting: Setting, host: HostStart | None) -> RunResult:
    """Carries the run out; see ``taskrun.run.run``."""
    gc.freeze()  # what was imported and read lives as long as the run: the collector need not look at it
    gc.set_threshold(10_000)
    try:
        return trio.run(Conductor(setting, host).main)
    except BaseExceptionGroup as group:
        raise only_one(group) from None


def only_one(error: BaseException) -> BaseException:
    """The one exception in nested groups of one: nurseries wrap, and nobody else should have to unwrap."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Conductor:
    """One run, from its host to its exit status. Answers signals: see ``signals.Answers``."""

    def __init__(self, setting: Setting, host: HostStart | None) -> None:
        self._setting = setting
        self._host = host
        self._terminal = Terminal()
        self._link: Link | None = None
        self._desk = SignalDesk(self)
        self._setup = trio.CancelScope()
        self._interrupted: signal.Signals | None = None  # before there was a run
        self._run: UnderWay | None = None

    async def main(self) -> RunResult:
        """The whole of it; returns when nothing that it started is left."""
        return await with_host(self._with_link, self._host, self._desk, self._terminal, warn=self._warn)

    async def _with_link(self, link: Link, said: int) -> RunResult:
        self._link = link
        selection: Selection | None = None
        warnings: tuple[str, ...] = ()
        with self._setup:
            selection = await select(self._setting, link)
            self._check(selection)
            warnings = await check_selection(self._setting, selection, link, said)
        if selection is None or self._interrupted is not None:
            return self._nothing_started()
        warnings += left_by_the_last(self._setting)  # before this one is the last
        self._run = UnderWay(
            self._setting,
            link,
            selection,
            self._terminal,
            on_interrupt=self._desk.stop,
            on_stopped=self.suspend,
        )
        return await self._run.carry_out(warnings)

    def _check(self, selection: Selection) -> None:
        """Raises UsageError where an option does not fit to what was asked for."""
        count = len(selection.requested)
        if self._setting.options.exit_code_task and count != 1:
            raise UsageError(f"--exit-code task hands on the code of one task, and here are {count}")

    def _warn(self, text: str) -> None:
        """Something happened to a template."""
        if self._run is not None:
            self._run.warn(text)

    def _nothing_started(self) -> RunResult:
        """A signal came before the first task: there is no run to tell of, but the end of its event stream."""
        number = self._interrupted or signal.SIGTERM
        if self._setting.options.events is not None:
            from taskrun.run.refused import write_refusal

            write_refusal(self._setting.options.events, self._setting.run_id, "interrupted", (), 128 + number)
        return RunResult(exit_status=128 + number, signal=number)

    # --- signals.Answers

    def cancel(self, number: signal.Signals, *, kill: bool) -> None:
        """Stop the run; before it has begun, just go."""
        if self._run is None:
            self._interrupted = number
            self._setup.cancel()
        else:
            self._run.interrupt(number, kill=kill)

    def tell_state(self) -> None:
        """SIGQUIT."""
        if self._run is not None:
            self._run.tell_state()

    def leave(self, number: signal.Signals) -> NoReturn:
        """The third signal: ends this process now; the host sees the socket close and kills everything."""
        if self._run is not None:
            self._run.abandon()
        self._terminal.restore()
        die_of(number)

    async def suspend(self) -> None:
        """Ctrl+Z: everything below the host stops, then this process itself, until somebody sends SIGCONT."""
        run = self._run  # another one may begin while the host answers: it has no pause to tell of
        if run is not None:
            await run.suspend()
        elif self._link is not None:
            await self._link.suspend()
        if not self.keyboard_is_a_tasks():  # else its settings are the shell's to keep until `fg`
            self._terminal.restore()
        stop_this_process()
        if run is not None:
            await run.resume()
        elif self._link is not None:
            await self._link.resume()

    def continued(self) -> None:
        """Somebody sent SIGCONT."""
        if self._run is not None:
            self._run.continued()

    def resized(self) -> None:
        """The reporters ask for the terminal's size whenever they draw."""

    def show_status(self) -> None:
        """SIGUSR1."""
        if self._run is not None:
            self._run.show_status()

    def keyboard_is_a_tasks(self) -> bool:
        """Whether an interactive task has the keyboard."""
        return self._run is not None and self._run.keyboard_is_a_tasks()
