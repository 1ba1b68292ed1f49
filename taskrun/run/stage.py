"""Where works are shown: the writer, the reporters, the terminal. While nobody reads, tasks' output waits.

It decides nothing about tasks; what has to be stopped because nobody can be told any more, it says to its owner.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import trio

from taskrun.events import RunCancel, TaskOutput
from taskrun.model import CancelKind, CancelReason
from taskrun.report.events_out import open_events
from taskrun.report.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskrun.events import AnyEvent
    from taskrun.execute.equipment import Machinery
    from taskrun.report.compose import Reporters
    from taskrun.report.settings import Settings
    from taskrun.run.terminal import Terminal
    from taskrun.run.work import Work

TICK = 0.1  # seconds between two looks of the reporters at the clock
_LEAVING = 0.2  # seconds that whoever reads our output gets when the run was interrupted


class Stage:
    """What the works of this process have in common on the way to whoever looks.

    Args:
        settings: How they are shown.
        events: Where events go: a path, ``"-"``, or ``None``.
        machinery: Its reading of outputs is held up while nobody takes them.
        terminal: Which may be lent to an interactive task.
        on_lost: Told that nobody can be told anything any more, or not all of it: why, and with a warning or without.

    Attributes:
        reporters: To be set by the owner, once it has a work to report on.
        works: That are shown, and whose clocks stand still while nobody reads.

    Raises:
        UsageError: The events cannot be written there.
    """

    reporters: Reporters

    def __init__(
        self,
        settings: Settings,
        events: str | None,
        machinery: Machinery,
        terminal: Terminal,
        *,
        on_lost: Callable[[CancelReason, bool], None],
    ) -> None:
        self.settings = settings
        self.works: list[Work] = []
        self.events_fd = None if events is None else open_events(events)
        self._events = events
        self._machinery = machinery
        self._terminal = terminal
        self._on_lost = on_lost
        self._in_background = False
        self._room = trio.Event()
        self.writer = Writer(
            run_soon=trio.lowlevel.current_trio_token().run_sync_soon,
            on_space=self._on_space,
            on_broken=self._on_broken,
            on_error=self._on_unwritable,
        )

    # --- what happens to tasks

    def emit(self, work: Work, event: AnyEvent) -> None:
        """What becomes of an event of a work's."""
        if type(event) is TaskOutput and self.writer.full and work.scheduler.cancelled is not None:
            work.unheard = True
        if work.unheard and type(event) is TaskOutput:
            return  # it is in the log
        work.facts.emit(event)
        if type(event) is TaskOutput and self.writer.full:
            self._machinery.outputs.hold("writer")
            for each in self.works:
                each.executor.hold_clocks()
        elif type(event) is RunCancel and work.scheduler.cancelled is not None:
            # Whoever does not read holds no end up: tasks' last output goes to their logs, and is shown while there
            # is room for it.
            self.let_go()

    # --- the writer

    async def wait_room(self) -> None:
        """While nobody reads, nothing begins that would have more to tell."""
        while self.writer.full:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    def _on_space(self) -> None:
        self._room.set()
        self.let_go()

    def let_go(self) -> None:
        """Tasks' output is read again, whether or not anybody takes it: what ends must not wait for that."""
        self._machinery.outputs.release("writer")
        for work in self.works:
            work.executor.release_clocks()

    def _on_broken(self, fd: int) -> None:
        self._on_lost(CancelReason(kind=CancelKind.OUTPUT, detail=f"{self._name_of(fd)} was closed"), False)

    def _on_unwritable(self, fd: int, error: OSError) -> None:
        if error.errno == errno.EIO and self.settings.tty(fd):
            return  # the terminal is gone: SIGHUP says so, unless nobody wants to know
        text = f"{self._name_of(fd)} cannot be written: {error.strerror}"
        self._on_lost(CancelReason(kind=CancelKind.OUTPUT, detail=text), True)

    def _name_of(self, fd: int) -> str:
        if fd == self.events_fd and fd not in {1, 2}:
            return f"--events {self._events}"
        return "stdout" if fd == 1 else "stderr"

    async def wait_written(self, give_up: Callable[[], bool]) -> bool:
        """A pipeline's slow reader gets everything; it holds us up until ``give_up`` says so. Whether it has it all."""
        written = trio.Event()
        self.writer.when_written(written.set)
        while not written.is_set() and not give_up():
            with trio.move_on_after(TICK):
                await written.wait()
        return written.is_set()

    def close(self) -> None:
        """Nothing comes any more; who reads gets a moment."""
        self.writer.close(_LEAVING)

    # --- the terminal

    def mind_the_foreground(self) -> None:
        """In the background nothing is drawn, for somebody types there. `fg` signals only what was stopped."""
        in_background = not self._terminal.in_foreground()
        if in_background != self._in_background:
            self._in_background = in_background
            self.reporters.suspend()
            self.reporters.resume(draw=not in_background)

    @contextlib.contextmanager
    def lent_terminal(self) -> Iterator[None]:
        """The terminal is an interactive task's meanwhile."""
        self.reporters.suspend()
        self.writer.flush(_LEAVING)
        try:
            yield
        finally:
            self._terminal.restore()
            self.reporters.resume()

    def abandon(self) -> None:
        """The process is about to leave: what is on the screen stays whole."""
        self.reporters.suspend()
        self.writer.close(0.05)

    def suspend(self) -> None:
        """The screen is the shell's."""
        self.reporters.suspend()
        self.writer.flush(_LEAVING)

    def resume(self) -> None:
        """It is ours again; in the background without drawing."""
        self._in_background = not self._terminal.in_foreground()
        self.reporters.resume(draw=not self._in_background)

    def continued(self) -> None:
        """SIGCONT without a stop that was announced: it may have been brought to the foreground."""
        if self._terminal.in_foreground():
            self.reporters.resume()
