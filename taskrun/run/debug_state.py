"""What the runner was doing when it got SIGQUIT, in words: attempts under way, trio's tasks, threads."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import trio

from taskrun.config.wording import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taskrun.execute.running import Running
    from taskrun.run.facts import Facts

NAME = "debug-state.txt"


class DebugState:
    """Writes ``debug-state.txt`` when asked, in a thread: a disk may take its time, and the run must not.

    Args:
        facts: Told where it is; nothing is told where there is no room for it.
        folder: The run's.
    """

    def __init__(self, facts: Facts, folder: str) -> None:
        self._facts = facts
        self._path = os.path.join(folder, NAME)
        self._idle: trio.Event | None = None  # set, or None, when nothing is being written
        self._over = False  # the run's last event is told: nothing may come after it

    def tell(self, running: Iterable[tuple[str, Running]], settled: dict[str, int], now: float) -> None:
        """Takes down what this process is doing at this moment, and has it written.

        Args:
            running: The attempts under way.
            settled: Tasks that have settled, by state.
            now: On the run's clock.
        """
        if self._idle is not None or self._over:
            return  # what was asked for a moment ago says the same
        self._idle = trio.Event()
        lines = [f"{line}\n" for line in _lines(running, settled, now)]
        token = trio.lowlevel.current_trio_token()

        def written(outcome: Any) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # nobody waits for it any more
                token.run_sync_soon(self._written, outcome)

        trio.lowlevel.start_thread_soon(lambda: _write(self._path, lines), written)

    async def finish(self, patience: float) -> None:
        """Waits until it is written, for so many seconds at most; afterwards nothing is told any more."""
        if self._idle is not None:
            with trio.move_on_after(patience):
                await self._idle.wait()
        self._over = True

    def _written(self, outcome: Any) -> None:
        if self._idle is not None:
            self._idle.set()
            self._idle = None
        try:
            outcome.unwrap()
        except OSError:
            return
        if not self._over:
            self._facts.warn("state", f"what taskrun was doing is in {self._path}")


def _write(path: str, lines: list[str]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)


def _lines(running: Iterable[tuple[str, Running]], counts: dict[str, int], now: float) -> Iterator[str]:
    yield f"taskrun, pid {os.getpid()}, Python {sys.version.split()[0]}, trio {trio.__version__}"
    yield "settled: " + (", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing")
    yield "under way:"
    for name, attempt in running:
        pid = attempt.process.pid if attempt.process is not None else "none yet"
        stopping = f", got {signal_name(attempt.stopping.signal)}" if attempt.stopping is not None else ""
        yield f"  {name}: attempt {attempt.attempt.number}, pid {pid}, {now - attempt.started:.1f} s{stopping}"
    yield "trio:"
    root = trio.lowlevel.current_root_task()
    if root is not None:
        yield from _task_lines(root)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, and meant for exactly this
        yield f"thread {names.get(ident, ident)}:"
        yield from _stack_lines(traceback.extract_stack(frame), "  ")


def _task_lines(root: trio.lowlevel.Task) -> Iterator[str]:
    """Each task with its stack, and below it the tasks of its nurseries; without recursion."""
    library = os.path.dirname(trio.__file__) + os.sep  # how it waits is of no interest
    due = [(root, "  ")]
    while due:
        task, indent = due.pop()
        yield f"{indent}{task.name}"
        stack = traceback.StackSummary.extract(task.iter_await_frames())
        yield from _stack_lines([frame for frame in stack if not frame.filename.startswith(library)], indent + "  | ")
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        due += [(child, indent + "  ") for child in sorted(children, key=lambda child: child.name, reverse=True)]


def _stack_lines(stack: Iterable[traceback.FrameSummary], indent: str) -> Iterator[str]:
    for frame in stack:
        yield f"{indent}{frame.filename}:{frame.lineno} {frame.name}: {frame.line or ''}".rstrip(": ")
