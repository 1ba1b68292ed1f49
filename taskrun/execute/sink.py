"""Where everything goes that one attempt says: its output to the log, the reporters and the parsers; its progress out.

The log comes first: what is shown is made from bytes that are already kept. Nothing is read before the start has been
told, so that no reporter ever hears of what an attempt wrote before it hears of the attempt.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taskrun.events import TaskMessage, TaskOutput, TaskProgress
from taskrun.execute.pump import open_pipes
from taskrun.model import State
from taskrun.output.samples import Message, Output, Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.fifo import Fifo
    from taskrun.execute.pump import OnData, Stream
    from taskrun.execute.running import Running
    from taskrun.link import Usage
    from taskrun.model import ClockHit, Ending, Outcome
    from taskrun.output.parsers import Parser
    from taskrun.output.reader import ProgressReader
    from taskrun.output.samples import Line, Movement
    from taskrun.output.tracker import Tracker, Update
    from taskrun.record.folder import NoLog
    from taskrun.record.logs import AttemptLog

_MOST_RESULT = 16 << 20  # bytes of all `output` lines together, about; it is kept in memory, and in the events
_QUIET = 0.2  # seconds without a byte, after the end of a task's processes, until its pipes are given up


class Sink:
    """The receiving side of one attempt.

    Attributes:
        result: What `output KEY=VALUE` lines made.
        own_ending: Says how a worker's call ended, and its result; ``None`` where the wait status says all.
        read_first: Reads what else the process said, once it has ended.
        read_rest: Reads the rest of output that comes another way; whether all of it was read.
        dump: Has a worker write its stack.
    """

    def __init__(self, running: Running, equipment: Equipment, emit: Emit) -> None:
        attempt = running.attempt
        self.result: Any = None
        self._running = running
        self._attempt = attempt
        self._equipment = equipment
        self._clock = equipment.clock
        self._emit = emit
        self.own_ending: Callable[[Usage], tuple[Ending, Any]] | None = None
        self.read_first: Callable[[], None] | None = None
        self.read_rest: Callable[[], Awaitable[bool]] | None = None
        self.dump: Callable[[Any], None] = equipment.link.dump
        self._result_size = 0
        self._warned = False
        # Most attempts are short and silent: what reads and keeps output is made when the first byte of it comes.
        self._log: AttemptLog | NoLog | None = None
        self._tracker: Tracker | None = None
        self._reader: ProgressReader | None = None
        self._unread: list[tuple[int, OnData]] = []  # pipes that are read only once the start has been told
        self._early: list[bytes] | None = []  # what came through the FIFO until then
        self._streams: list[Stream] = []
        self._fifo: Fifo | None = None

    # --- what the process is given

    def open_pipes(self) -> tuple[int, int]:
        """The writing ends of stdout and stderr; the caller closes them once the process has its own.

        They are read from ``listen`` on.

        Raises:
            OSError: No descriptors left.
        """
        self._close_unread()
        (out_read, out_write), (err_read, err_write) = open_pipes()
        self._unread = [(out_read, self.stdout), (err_read, self.stderr)]
        return out_write, err_write

    def _close_unread(self) -> None:
        for fd, _on_data in self._unread:
            os.close(fd)
        self._unread = []

    def listen(self) -> None:
        """Reads what the process says, from its first byte on: everybody has been told that it has started."""
        while self._unread:
            fd, on_data = self._unread.pop(0)
            self._streams.append(self._equipment.outputs.add(fd, on_data))
        early, self._early = self._early, None
        for data in early or ():
            self._from_fifo(data)

    @property
    def fifo_path(self) -> str:
        """The attempt's progress FIFO; made on first use."""
        if self._fifo is None:
            self._fifo = self._equipment.fifos.take(self._from_fifo)
        return self._fifo.path

    def environment(self) -> dict[str, str]:
        """The attempt's variables and where progress goes; the host adds its mark."""
        return {**self._attempt.env, "TASKRUN_PROGRESS": self.fifo_path}

    @property
    def parser(self) -> Parser | None:
        """What reads progress out of the output, if the task asked for it."""
        return None if self._attempt.progress is None else self._made_reader().parser

    def _made_reader(self) -> ProgressReader:
        if self._reader is None:
            from taskrun.output.reader import ProgressReader  # a run of silent programs has none

            self._reader = ProgressReader(self._attempt.progress)
        return self._reader

    # --- what it says

    def stdout(self, data: bytes) -> None:
        """Bytes of its stdout."""
        self._output("stdout", data)

    def stderr(self, data: bytes) -> None:
        """Bytes of its stderr, or a note of ours that belongs among them."""
        self._output("stderr", data)

    def _output(self, stream: str, data: bytes) -> None:
        now = self._clock.now()
        self._running.clocks.saw_output(now)
        self._keep(stream, data)
        self._emit(TaskOutput(task=self._attempt.task, attempt=self._attempt.number, stream=stream, data=data))
        for said in self._made_reader().feed_output(stream, data, now):
            self.take(said, now)

    def _keep(self, stream: str, data: bytes) -> None:
        log = self._log
        if log is None:
            folder, attempt = self._equipment.folder, self._attempt
            if folder is None:
                return
            log = self._log = folder.attempt_log(attempt.task, attempt.number, cap=attempt.log)
        log.write(stream, data)

    def _from_fifo(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        now = self._clock.now()
        self._running.clocks.saw_output(now)
        for said in self._made_reader().feed_channel(data, now):
            self.take(said, now)

    def take(self, said: Line, now: float) -> None:
        """One thing that the task says about itself."""
        match said:
            case Message(level=level, text=words):
                self._message(level, words)
            case Output(key=key, value=value):
                self._keep_output(key, value)
            case Unknown(line=line, why=why):
                self._warn_once(f"`{line[:80]}` on the progress channel: {why}")
            case movement:
                self.sample(movement, now)

    def _keep_output(self, key: str, value: Any) -> None:
        self._result_size += len(key) + len(str(value))
        if self._result_size > _MOST_RESULT:
            self._warn_once(
                f"`output` lines of more than {_MOST_RESULT >> 20} MiB: `{key}` and what follows is dropped"
            )
            return
        if not isinstance(self.result, dict):
            self.result = {}
        self.result[key] = value

    def _message(self, level: str, text: str) -> None:
        self._emit(TaskMessage(task=self._attempt.task, attempt=self._attempt.number, level=level, text=text))

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._message("warning", text)

    def sample(self, movement: Movement, now: float) -> None:
        """Progress, whichever way it came."""
        tracker = self._made_tracker()
        update = tracker.add(movement, now)
        moved_at = tracker.stalled_since
        if self._running.clocks.saw_progress(now, moved=moved_at is None or moved_at == now):
            self._running.wake()  # its limit may come before everything that is waited for
        if update is not None:
            self._progress(update)

    def _made_tracker(self) -> Tracker:
        if self._tracker is None:
            from taskrun.output.tracker import Tracker

            self._tracker = Tracker()
        return self._tracker

    def tick(self) -> None:
        """Time has passed: progress that came too soon after other progress may be told now."""
        update = None if self._tracker is None else self._tracker.flush(self._clock.now())
        if update is not None:
            self._progress(update)

    def _progress(self, update: Update) -> None:
        self._emit(
            TaskProgress(
                task=self._attempt.task,
                attempt=self._attempt.number,
                fraction=update.fraction,
                current=update.current,
                total=update.total,
                message=update.message,
                rate=update.rate,
                eta=update.eta,
                phase=update.phase,
                phases=update.phases,
            )
        )

    async def describe(self, process: Any, hit: ClockHit) -> None:
        """A clock has run out: what the process is doing goes to its log before it is stopped."""
        if self.own_ending is not None:
            # A worker writes its stack to its stderr itself, at once and from within C code too (faulthandler).
            self.stderr(f"taskrun: {hit.clock.value} after {hit.after:g}s; the worker at that moment:\n".encode())
            self.dump(process)
            return
        text = await self._equipment.link.describe(process)
        if text:
            self.stderr(
                f"taskrun: {hit.clock.value} after {hit.after:g}s; the process at that moment:\n{text}\n".encode()
            )

    # --- the end

    async def finish(self, usage: Usage) -> None:
        """Reads what is left: to the end, or until nothing has come for a while."""
        if self.read_first is not None:
            self.read_first()
        # What was stopped on its own, beside others, ends though nobody takes their output.
        whole = await self._equipment.outputs.drain(self._streams, _QUIET, held=self._running.stopping is None)
        if self.read_rest is not None:
            whole = await self.read_rest() and whole
        if not whole:
            whose = "cannot be killed" if usage.unkillable else "is not its own"
            self._warn_once(f"its output is still held open by a process that {whose}: the rest is not read")
        if self._fifo is not None:
            fifo = self._fifo.stream
            if fifo.read_once():  # mostly nothing was said
                all(fifo.read_once() for _ in range(fifo.reads_of_all()))
        if self._reader is not None:
            now = self._clock.now()
            for said in self._reader.flush(now):
                self.take(said, now)

    def show_final(self, outcome: Outcome) -> None:
        """The last progress, which the limit on their number may have held back."""
        if self._tracker is None:
            return
        update = self._tracker.final(success=outcome.state is State.SUCCEEDED, now=self._clock.now())
        if update is not None:
            self._progress(update)

    @property
    def log_path(self) -> str | None:
        """The log's path in the run's folder, if anything was written."""
        return self._log.path if self._log is not None else None

    def close(self) -> None:
        """Closes what is still open; the FIFO is used again only if everything ended as it should."""
        for stream in self._streams:
            stream.close()
        self._close_unread()
        if self._fifo is not None:
            self._equipment.fifos.give_back(self._fifo, reuse=self._running.gone)
            self._fifo = None
        if self._log is not None:
            self._log.close()
