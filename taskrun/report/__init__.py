"""Shows and writes what happens in a run: reporters consume events and never steer."""

from __future__ import annotations

from taskrun.report.compose import Reporters, make_reporters
from taskrun.report.events_out import open_events
from taskrun.report.protocol import AboutTask, ReadLog, Reporter, TaskFacts
from taskrun.report.settings import Options, Settings, decide
from taskrun.report.writer import Writer

__all__ = [
    "AboutTask",
    "Options",
    "ReadLog",
    "Reporter",
    "Reporters",
    "Settings",
    "TaskFacts",
    "Writer",
    "decide",
    "make_reporters",
    "open_events",
]
