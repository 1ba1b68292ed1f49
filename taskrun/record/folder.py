"""The folder of a run that is under way: whoever carries it out tells it the events, and writes logs through it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING

import msgspec

from taskrun import events
from taskrun.model import ResourceError
from taskrun.record import history, liveness, places, pruning, summary
from taskrun.record.checkpoints import Checkpoints
from taskrun.record.eventlog import EventLog
from taskrun.record.logs import AttemptLog, IndexFile
from taskrun.record.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskrun.model import Clockwork

_RESERVE = 16 * 1024  # kept for the last run.json, should the disk be full by then
_NAMED = 3


class NoLog:
    """Stands for an attempt's log where the task has ``log = false``."""

    path: str | None = None
    written = 0
    truncated: str | None = None

    def write(self, stream: str, data: bytes) -> None:
        """Drops it."""

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class RunFolder:
    """Records one run. Only ``create`` raises; whatever fails later is told to ``warn`` once, and the run goes on.

    The order is: ``create``, ``begin``, any number of ``write`` and ``attempt_log``, ``seal``, the ``write`` of the
    last event, ``close``. Whoever drives it calls ``flush`` no later than ``due``.

    Attributes:
        id: The run's.
        path: The folder, absolute.
        state: The state folder in use, absolute; not the one asked for where that cannot be written.
        warning: What the user should know about where the record went; ``None``: it is where it belongs.
        checkpoints: What tasks saved half-way, in this run and earlier ones.
    """

    def __init__(
        self,
        state: str,
        run_id: str,
        *,
        durable: bool,
        warning: str | None,
        warn: Callable[[str], None],
        clock: Clockwork,
    ) -> None:
        """Use ``create``.

        Raises:
            OSError: The folder or its event file cannot be made, or not be written.
        """
        self.id = run_id
        self.state = state
        self.path = os.path.join(state, places.RUNS, run_id)
        self.warning = warning
        self._durable = durable
        self.checkpoints = Checkpoints(state)
        self._clock = clock
        self._began = clock()
        self._trouble = Trouble(warn)
        places.make_state(state)
        os.mkdir(self.path, 0o700)
        try:
            self._reserve()
            self._events = EventLog(os.path.join(self.path, places.EVENTS), clock, self._trouble)
        except OSError:
            self._unreserve()
            os.rmdir(self.path)  # it would read as a run that was aborted
            raise
        self._index = IndexFile(os.path.join(self.path, places.INDEX), self._trouble)
        self._logs: set[AttemptLog] = set()
        self._unindexed: set[AttemptLog] = set()
        self._unindexed_since = 0.0
        self._summary = summary.RunSummary(id=run_id, state="running")
        self._tasks: dict[str, summary.TaskSummary] = {}
        self._removed: list[str] = []
        self._sealed: tuple[events.RunEnd, tuple[str, ...]] | None = None
        self._new_summary: str | None = None  # where it lies until its time has come
        self._closed = False

    @classmethod
    def create(
        cls,
        state_dir: str,
        run_id: str,
        *,
        keep: int | None,
        durable: bool = True,
        environ: Mapping[str, str],
        warn: Callable[[str], None] = lambda _clause: None,
        clock: Clockwork = time.monotonic,
    ) -> RunFolder:
        """Makes the folder of a new run, and throws away the oldest ones.

        Args:
            state_dir: The project's state folder, absolute.
            run_id: From ``places.new_run_id``.
            keep: How many runs to keep, this one included; ``None``: all. Runs under way are kept in any case.
            durable: Have its end survive a loss of power, for which one waits for the disk.
            environ: The caller's, for where to write if ``state_dir`` cannot be written.
            warn: Told, once each, what cannot be recorded later on; must not raise.
            clock: Monotonic seconds.

        Raises:
            ResourceError: The record can be written nowhere.
        """
        failures: list[str] = []
        for root in places.state_roots(state_dir, environ):
            warning = f"{failures[0]}; the record is in {root}" if failures else None
            try:
                folder = cls(root, run_id, durable=durable, warning=warning, warn=warn, clock=clock)
            except OSError as error:
                failures.append(f"cannot write to {root}: {(error.strerror or str(error)).lower()}")
                continue
            runs = os.path.join(root, places.RUNS)
            places.link_latest(runs, run_id)
            if keep is not None:
                pruning.prune(runs, keep)
            return folder
        raise ResourceError("; ".join(failures))

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be recorded so far; not empty: the record is not whole."""
        return tuple(self._trouble.clauses)

    @property
    def failed(self) -> bool:
        """Whether something could not be written."""
        return self._trouble.failed

    @property
    def due(self) -> float | None:
        """When ``flush`` should be called at the latest, by the clock; ``None``: nothing waits."""
        waiting = self._unindexed_since + 0.1 if self._unindexed else None
        if self._events.due is None or waiting is None:
            return self._events.due or waiting
        return min(self._events.due, waiting)

    def begin(self, start: events.RunStart, asked: summary.Asked, ts: float, *, host: int = 0, mark: str = "") -> None:
        """Writes what was asked for to ``run.json``, for as long as the run is under way.

        Args:
            start: The run's first event; it is not recorded by this.
            asked: What the command line asked for.
            ts: Seconds since the epoch.
            host: The pid of the process that supervises it; 0: there is none.
            mark: See ``RunSummary``.
        """
        pid = os.getpid()
        self._summary = summary.RunSummary(
            id=self.id,
            state="running",
            taskrun=start.taskrun,
            pid=pid,
            process_start=liveness.process_start(pid),
            host=host,
            host_start=liveness.process_start(host),
            mark=mark,
            boot=liveness.boot_id(),
            started=ts,
            argv=start.argv,
            cwd=start.cwd,
            file=start.file,
            jobs=start.jobs,
            asked=asked,
            plan=start.tasks,
        )
        # The run begins at once: after a loss of power it would be aborted anyway. And the reserve is for its end.
        self._write_summary()

    def write(self, stamped: events.Stamped) -> None:
        """Records an event, in the order in which they come."""
        event = stamped.event
        if type(event) is events.TaskEnd:
            self._tasks[event.task] = summary.of_task(event)
        elif type(event) is events.RunEnd and (self._sealed is None or self._sealed[0] != event):
            self.seal(lambda: event, stamped.ts)
        self._events.write(stamped)

    def attempt_log(self, task: str, attempt: int, *, cap: int | bool | None = None) -> AttemptLog | NoLog:
        """The log of a new attempt; close it when the attempt is over.

        Args:
            task: The instance's name.
            attempt: From 1.
            cap: As ``Attempt.log``: the most bytes to keep; ``None``: all; ``False``: no log at all.
        """
        if cap is False:
            return NoLog()
        log = AttemptLog(
            self.path,
            places.log_name(task, attempt),
            cap=None if cap is None or cap is True else cap,
            index=self._index,
            clock=self._since_begin,
            trouble=self._trouble,
            changed=self._note_unindexed,
            closed=self._forget,
        )
        self._logs.add(log)
        return log

    def flush(self) -> None:
        """Brings the files up to now, for whoever reads them."""
        self._events.flush()
        for log in self._unindexed:
            log.flush()
        self._unindexed.clear()

    def seal(self, how: Callable[[], events.RunEnd], ts: float) -> events.RunEnd:
        """Writes all of the record but its last event, so that what goes wrong with it can be told before that.

        The run reads as finished only after ``close``.

        Args:
            how: Called for how the run has ended, again where that could not be written; it may ask ``failed``.
            ts: Seconds since the epoch.

        Returns:
            The event to write as the last one.
        """
        self._end_logs()
        if self._sealed is None:
            self._look_for_removed()
            history.add(self.state, summary.durations(self._tasks))
        end = self._finish(how(), ts)
        if not self._gone:
            try:
                self._drop_new_summary()
                self._new_summary = self._write_beside(durable=self._durable)
                self._unreserve()  # the last event may need the room
            except OSError as error:
                self._tell_no_summary(error)
                end = self._finish(how(), ts)
                self._new_summary = self._write_into_reserve()
        self._sealed = (end, self.troubles)
        return end

    def close(self) -> None:
        """Ends the record. Without a ``run.end`` before, the run will read as aborted."""
        if self._closed:
            return
        self._closed = True
        self._end_logs()
        if self._new_summary is not None:
            try:
                places.put(self._new_summary, self._summary_path, durable=self._durable)
            except OSError as error:
                self._tell_no_summary(error)
        self._unreserve()
        self._events.close()  # last: with it goes the claim
        if self._sealed is not None and self._sealed[1] != self.troubles and not self._gone:
            self._summary = msgspec.structs.replace(self._summary, trouble=self.troubles)
            self._write_summary()

    def _end_logs(self) -> None:
        for log in list(self._logs):
            log.close()
        self.flush()
        self._index.close()

    def _finish(self, end: events.RunEnd, ts: float) -> events.RunEnd:
        self._summary = summary.finished(self._summary, end, ts, self._tasks, self.troubles)
        return end

    def _look_for_removed(self) -> None:
        """Tells what others have taken away under way. What was written then is lost, and no failure of ours."""
        removed = [*self._removed, *([places.EVENTS] if self._events.removed else [])]
        if self._gone:
            self._trouble.note(f"the record was removed while it was written: {self.path}")
        elif removed:
            named = ", ".join(removed[:_NAMED]) + (f" and {len(removed) - _NAMED:,} more" * (len(removed) > _NAMED))
            self._trouble.note(f"removed while the run wrote to it: {named}")

    @property
    def _gone(self) -> bool:
        return not os.path.isdir(self.path)

    def _since_begin(self) -> float:
        return self._clock() - self._began

    def _note_unindexed(self, log: AttemptLog) -> None:
        if not self._unindexed:
            self._unindexed_since = self._clock()
        self._unindexed.add(log)

    def _forget(self, log: AttemptLog) -> None:
        if log.removed and log.path is not None:
            self._removed.append(log.path)
        self._logs.discard(log)
        self._unindexed.discard(log)

    def _write_summary(self) -> None:
        try:
            places.put(self._write_beside(durable=False), self._summary_path, durable=False)
        except OSError as error:
            self._tell_no_summary(error)

    def _write_beside(self, *, durable: bool) -> str:
        return places.write_beside(self._summary_path, summary.encode(self._summary), durable=durable)

    def _tell_no_summary(self, error: OSError) -> None:
        self._trouble.tell("summary", "run.json could not be written", error)

    def _drop_new_summary(self) -> None:
        """Of a seal that is to be made anew."""
        if self._new_summary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._new_summary)
            self._new_summary = None

    @property
    def _summary_path(self) -> str:
        return os.path.join(self.path, places.SUMMARY)

    @property
    def _reserve_path(self) -> str:
        return os.path.join(self.path, "run.json.reserve")

    def _reserve(self) -> None:
        """Takes a little room on the disk, so that a disk which fills up cannot make a finished run look aborted.

        Raises:
            OSError: There is not even so much room.
        """
        try:
            fd = os.open(self._reserve_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
            finally:
                os.close(fd)
        except (OSError, AttributeError) as error:  # macOS has no such call
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise
            self._unreserve()

    def _write_into_reserve(self) -> str | None:
        """The last resort: as much of the summary as fits into the room that was taken; where it lies then."""
        for value in (self._summary, summary.shortened(self._summary)):
            data = summary.encode(value)
            if len(data) > _RESERVE:
                continue
            try:
                fd = os.open(self._reserve_path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    places.write_all(fd, data.ljust(_RESERVE))
                finally:
                    os.close(fd)
            except OSError:
                return None  # told already
            return self._reserve_path
        return None

    def _unreserve(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._reserve_path)
