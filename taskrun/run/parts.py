"""The larger parts of a run, each made from its setting: plan, reporters, the first event. It starts nothing."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from taskrun.events import RunStart, WorkerStart
from taskrun.plan import Plan
from taskrun.report.compose import make_reporters
from taskrun.run.about import about_tasks
from taskrun.run.prepare import pool_sizes
from taskrun.run.recording import known_durations

if TYPE_CHECKING:
    from taskrun.jobqueue.values import Allowance
    from taskrun.model import Clockwork
    from taskrun.report.compose import Reporters
    from taskrun.report.settings import Settings
    from taskrun.report.writer import Writer
    from taskrun.resolve import Selection
    from taskrun.run.recording import Recording
    from taskrun.run.setting import Setting
    from taskrun.run.worker_setting import WorkerSetting


def plan_of(setting: Setting, selection: Selection, jobs: int) -> Plan:
    """What runs before what, with at most ``jobs`` slots."""
    project = setting.prepared.project
    return Plan(
        selection,
        limits=project.limits,
        jobs=jobs,
        on_failure=project.run.on_failure,
        pools=pool_sizes(project, jobs),
        durations=known_durations(setting),
        random=random.Random(),  # noqa: S311 - jitter of retries, no secret
    )


def start_of_worker(setting: WorkerSetting, allowance: Allowance) -> WorkerStart:
    """The first event of a queue worker."""
    from taskrun import __version__
    from taskrun.jobqueue.opening import shown

    prepared = setting.run.prepared
    return WorkerStart(
        taskrun=__version__,
        file=prepared.project.source.path,
        argv=setting.run.options.arguments,
        cwd=prepared.request.cwd,
        queue=shown(setting.location),
        slots=allowance.slots,
        tasks=tuple(allowance.tasks or ()),
        pid=os.getpid(),
    )


def start_of(setting: Setting, plan: Plan, recording: Recording, jobs: int) -> RunStart:
    """What is told of a run that begins."""
    from taskrun import __version__

    return RunStart(
        taskrun=__version__,
        file=setting.prepared.project.source.path,
        argv=setting.options.arguments,
        cwd=setting.prepared.request.cwd,
        jobs=jobs,
        tasks=tuple(plan.order()),
        folder=recording.path,
        pid=os.getpid(),
    )


def writes_output_events(setting: Setting) -> bool:
    """Whether tasks' output is written as events too."""
    return setting.options.events is not None and setting.options.output == "stream"


def reporters_of(
    setting: Setting,
    selection: Selection,
    settings: Settings,
    *,
    writer: Writer,
    recording: Recording,
    events_fd: int | None,
    clock: Clockwork,
) -> Reporters:
    """Whoever shows the run, as the settings say."""
    return make_reporters(
        settings,
        writer,
        about=about_tasks(selection, setting),
        read_log=recording.read_log,
        environ=setting.environ,
        cwd=setting.prepared.request.cwd,
        events_fd=events_fd,
        events_output=writes_output_events(setting),
        clock=clock,
    )
