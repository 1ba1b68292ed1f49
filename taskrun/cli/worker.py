"""``taskrun worker``: options to ``WorkerOptions``; how it ended to an exit status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.options import Duration, complete_tasks, file_option
from taskrun.cli.run import Limit, positive

if TYPE_CHECKING:
    from taskrun.run.serving import WorkerOptions


@click.command(name="worker")
@file_option
@click.option("-j", "--jobs", type=int, metavar="N", callback=positive, envvar="TASKRUN_JOBS", help="Slots.")
@click.option("--limit", "limits", type=Limit(), multiple=True, metavar="NAME=N", help="Set a named limit.")
@click.option(
    "--only", multiple=True, metavar="TASK", shell_complete=complete_tasks, help="Take jobs of these tasks, or globs."
)
@click.option("--drain", is_flag=True, help="End when nothing is left to do; for CI and cron.")
@click.option(
    "--grace", type=Duration(zero=True), metavar="TIME", help="Time between asking a task to stop and killing it."
)
@click.option("--ui", type=click.Choice(["auto", "live", "plain", "none"]), envvar="TASKRUN_UI", help="Show jobs so.")
@click.option(
    "--output",
    type=click.Choice(["auto", "stream", "group", "failed", "none"]),
    envvar="TASKRUN_OUTPUT",
    help="Show tasks' output so.",
)
@click.option("--events", metavar="FILE|-", help="Write events as JSON lines; - is stdout.")
@click.option("--die-with-parent/--outlive-parent", default=None, help="End when the parent process does (CI: on).")
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Take jobs from the queue and run them.

    Ctrl+C or SIGTERM: takes nothing new, finishes what runs, and exits with 0. A second one stops what runs and gives
    it back.
    """
    from taskrun.run.serving import serve

    result = serve(_options(options, tuple(ctx.obj.get("arguments", ()))), ctx.obj.get("host"))
    return result.exit_status if result.signal is None else -result.signal


def _options(options: dict[str, Any], arguments: tuple[str, ...]) -> WorkerOptions:
    from taskrun.run.options import RunOptions
    from taskrun.run.serving import WorkerOptions

    run = RunOptions(
        arguments=arguments,
        file=options["file"],
        jobs=options["jobs"],
        limits=dict(options["limits"]),
        grace=options["grace"],
        ui=options["ui"],
        output=options["output"],
        events=None if options["events"] is None else os.fspath(options["events"]),
        die_with_parent=options["die_with_parent"],
        verbose=options["verbose"],
        quiet=options["quiet"],
    )
    return WorkerOptions(run=run, only=options["only"], drain=options["drain"])
