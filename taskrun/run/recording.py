"""The run's record as the run needs it: opened before the first task, fed with events, closed after the last."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from taskrun.events import RunStart
from taskrun.record import history, pruning
from taskrun.record.folder import RunFolder
from taskrun.record.places import LATEST, RUNS, state_roots
from taskrun.record.summary import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskrun.events import RunEnd, Stamped
    from taskrun.link import Link
    from taskrun.record.checkpoints import Checkpoints
    from taskrun.record.summary import RunSummary
    from taskrun.run.setting import Setting


def known_durations(setting: Setting) -> dict[str, float]:
    """Seconds that tasks took in earlier runs, from the first place of the project's records that knows any."""
    return next(filter(None, map(history.load, state_roots(setting.state, setting.environ))), {})


def left_by_the_last(setting: Setting) -> tuple[str, ...]:
    """What the user should know of the last run, where that was aborted."""
    aborted = _last_aborted(setting)
    if aborted is None:
        return ()
    from taskrun.run import survivors

    return tuple(survivors.warnings(aborted))


def _last_aborted(setting: Setting) -> RunSummary | None:
    """The last run, if it was aborted; at the price of reading the start of a file where it was not."""
    for root in state_roots(setting.state, setting.environ):
        summary = pruning.read_aborted(os.path.join(root, RUNS, LATEST))
        if summary is not None:
            return summary
    return None


def read_log_at(path: str) -> Iterator[tuple[str, bytes]]:
    """Pieces of a capped log by its whole path, RUN/logs/TASK; see ``Recording.read_log``."""
    from taskrun.record.reading import read_log

    folder = os.path.dirname(os.path.dirname(path))
    return read_log(folder, os.path.relpath(path, folder))


class Recording:
    """One run's folder, and what earlier runs left there.

    Args:
        setting: The run.
        link: To the host, by whose pid and mark a later run can find what this one left, should both be killed.
        warn: See ``RunFolder.create``.

    Raises:
        ResourceError: A record can be written nowhere.
    """

    def __init__(self, setting: Setting, link: Link, warn: Callable[[str], None]) -> None:
        project = setting.prepared.project
        self._link = link
        self._asked = Asked(
            targets=setting.options.targets or project.run.default,
            assignments=setting.options.assignments,
            extra=setting.options.extra,
        )
        self.folder = RunFolder.create(
            setting.state,
            setting.run_id,
            keep=setting.keep,
            durable=setting.durable,
            environ=setting.environ,
            warn=warn,
        )

    @property
    def path(self) -> str:
        """The run's folder, absolute."""
        return self.folder.path

    @property
    def checkpoints(self) -> Checkpoints:
        """What tasks saved half-way, in this run or an earlier one."""
        return self.folder.checkpoints

    @property
    def failed(self) -> bool:
        """Whether something could not be recorded."""
        return self.folder.failed

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about where the record went."""
        return (self.folder.warning,) if self.folder.warning else ()

    def read_log(self, path: str) -> Iterator[tuple[str, bytes]]:
        """Pieces of a log of this run that was capped, each with its stream; for ``report.ReadLog``."""
        from taskrun.record.reading import read_log

        return read_log(self.folder.path, path)

    def handle(self, stamped: Stamped) -> None:
        """Records one event."""
        if type(stamped.event) is RunStart:
            self.folder.begin(stamped.event, self._asked, stamped.ts, host=self._link.pid, mark=self._link.mark)
        self.folder.write(stamped)

    def seal(self, how: Callable[[], RunEnd]) -> RunEnd:
        """Ends the record but for the last event, which is returned; ``how`` may ask what ``failed`` until then."""
        return self.folder.seal(how, time.time())

    def tick(self) -> None:
        """Brings the files up to now, several times a second, for whoever follows them."""
        if self.folder.due is not None:
            self.folder.flush()

    def close(self) -> None:
        """Ends the record."""
        self.folder.close()
