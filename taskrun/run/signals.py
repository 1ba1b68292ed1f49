"""Signals to the runner: which are taken, when a repeat counts, and what each asks for.

It decides by counting; what is done about it (cancel, kill, leave, suspend) is the run's affair.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from typing import TYPE_CHECKING, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STOPPING = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
_IGNORABLE = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP})
_OTHERS = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGUSR1)
_FROM_KEYBOARD = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP})
# `uv run`, `npm` and shells forward the Ctrl+C that the terminal has already delivered to everybody.
_SAME = 0.25  # seconds


class Answers(Protocol):
    """What a run does about signals."""

    def cancel(self, number: signal.Signals, *, kill: bool) -> None:
        """Stop the run; ``kill``: at once."""

    def tell_state(self) -> None:
        """SIGQUIT asks for that too: say what this process is doing."""

    def leave(self, number: signal.Signals) -> None:
        """End this process now; the host cleans up."""

    async def suspend(self) -> None:
        """Ctrl+Z."""

    def continued(self) -> None:
        """Somebody sent SIGCONT."""

    def resized(self) -> None:
        """The terminal has another size."""

    def show_status(self) -> None:
        """Say what is running."""

    def keyboard_is_a_tasks(self) -> bool:
        """Whether an interactive task has the keyboard, and with it its signals."""


def taken() -> tuple[signal.Signals, ...]:
    """The signals that this run answers: HUP, INT, QUIT and TSTP stay ignored where the caller had them ignored."""
    return tuple(
        number
        for number in (*_STOPPING, *_OTHERS)
        if not (number in _IGNORABLE and signal.getsignal(number) is signal.SIG_IGN)
    )


class SignalDesk:
    """Receives signals and turns each into one call of ``Answers``.

    Args:
        answers: Whose the signals are.
        kill_at: Which of those that stop says to kill; the one after it leaves.
    """

    def __init__(self, answers: Answers, *, kill_at: int = 2) -> None:
        self._answers = answers
        self._kill_at = kill_at
        self._last: dict[signal.Signals, float] = {}
        self._stops = 0
        self._arrived: list[signal.Signals] = []  # not answered yet
        self._arrival = trio.Event()

    async def serve(self, numbers: Iterable[signal.Signals], task_status: trio.TaskStatus[None]) -> None:
        """Answers signals until cancelled."""
        with self._taking(numbers):
            task_status.started()
            while True:
                await self._arrival.wait()
                self._arrival = trio.Event()
                while self._arrived:
                    await self._answer(self._arrived.pop(0))

    @contextlib.contextmanager
    def _taking(self, numbers: Iterable[signal.Signals]) -> Iterator[None]:
        """Meanwhile these signals come to us.

        By handlers of our own and not by trio's receiver, which would hand on a stop that was asked for before SIGCONT
        after it. As the kernel has it for everybody else, SIGCONT undoes it: who presses Ctrl+Z twice, because the
        first takes a moment, has stopped the run once.
        """
        soon = trio.lowlevel.current_trio_token().run_sync_soon

        def take(number: int, _frame: object) -> None:
            if number == signal.SIGCONT:
                with contextlib.suppress(ValueError):  # in one step: another signal may come in the midst of this
                    self._arrived.remove(signal.SIGTSTP)
            if number not in self._arrived:
                self._arrived.append(signal.Signals(number))
            soon(self._wake, idempotent=True)

        # Writing to, or reading from, a terminal that is not ours must not stop us half-way through a clean-up.
        old = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGTTOU, signal.SIGTTIN)]
        old += [(number, signal.signal(number, take)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in old:
                signal.signal(number, handler)
            for number in self._arrived:
                if number in _STOPPING:  # nobody has answered it: it is whoever's it was before
                    signal.raise_signal(number)

    def _wake(self) -> None:
        self._arrival.set()

    async def _answer(self, number: signal.Signals) -> None:
        if number in _FROM_KEYBOARD and self._answers.keyboard_is_a_tasks():
            return
        match number:
            case signal.SIGTSTP:
                await self._answers.suspend()
            case signal.SIGCONT:
                self._answers.continued()
            case signal.SIGWINCH:
                self._answers.resized()
            case signal.SIGUSR1:
                self._answers.show_status()
            case _:
                self.stop(number)

    def stop(self, number: signal.Signals) -> None:
        """Counts a signal that stops the run; an interactive task's Ctrl+C, which reaches us by two ways, is one."""
        now = trio.current_time()
        if now - self._last.get(number, -math.inf) < _SAME:
            return
        self._last[number] = now  # of those that count alone: who presses five times a second means it
        if number == signal.SIGQUIT:
            self._answers.tell_state()
        if signal.SIGINT in self._last:
            # It was everybody's at the terminal: a script stops only if it sees us die of it, whatever came later.
            number = signal.SIGINT
        self._stops += 1
        if self._stops <= self._kill_at:
            self._answers.cancel(number, kill=self._stops == self._kill_at)
        else:
            self._answers.leave(number)


def die_of(number: signal.Signals) -> NoReturn:
    """Ends this process now, by the signal's own action, as far as that can be had."""
    signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), number)
    os._exit(128 + number)


def stop_this_process() -> None:
    """Stops by SIGTSTP's own action, as the shell expects; an orphaned process group just goes on.

    ``raise_signal`` and not ``kill``: it goes to this thread, so that the stop has happened when this returns.
    Blocked until all is ready: a second Ctrl+Z in between would stop us too, and after SIGCONT ours would once more.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        signal.raise_signal(signal.SIGTSTP)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # stops here; SIGCONT discards all stops that are pending
        signal.signal(signal.SIGTSTP, handler)
