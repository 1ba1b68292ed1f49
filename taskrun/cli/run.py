"""``taskrun run``: words and options to ``RunOptions``; the run's result to an exit status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.options import Duration, complete_tasks, file_option, split_words

if TYPE_CHECKING:
    from taskrun.run.options import RunOptions


class RunCommand(click.Command):
    """Cuts the words at the first ``--`` itself: click would only drop it, and ``--`` with nothing behind it counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps what stands behind ``--`` for the task."""
        ctx.ensure_object(dict)
        extra: tuple[str, ...] | None = None
        if "--" in args:
            at = args.index("--")
            args, extra = args[:at], tuple(args[at + 1 :])
        ctx.meta["taskrun.extra"] = extra
        return super().parse_args(ctx, args)


class Limit(click.ParamType[tuple[str, int]]):
    """``NAME=N``."""

    name = "name=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """To a name and a number above zero."""
        if isinstance(value, tuple):
            return value
        name, equals, number = str(value).partition("=")
        if not equals or not name or not number.isdecimal() or int(number) < 1:
            self.fail(f"{value!r} is not NAME=N with N at least 1", param, ctx)
        return name, int(number)


def positive(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """A callback for options that are a number of something."""
    if value is not None and value < 1:
        raise click.BadParameter("must be at least 1", ctx, param)
    return value


@click.command(cls=RunCommand, name="run")
@click.argument("words", metavar="[TASK...] [KEY=VALUE...] [-- ARGS...]", nargs=-1, shell_complete=complete_tasks)
@file_option
@click.option("-j", "--jobs", type=int, metavar="N", callback=positive, envvar="TASKRUN_JOBS", help="Slots.")
@click.option("--limit", "limits", type=Limit(), multiple=True, metavar="NAME=N", help="Set a named limit.")
@click.option(
    "--on-failure", type=click.Choice(["finish", "stop", "continue"]), help="What a failure does to the rest."
)
@click.option("-k", "--keep-going", is_flag=True, help="The same as --on-failure continue.")
@click.option("--deadline", type=Duration(), metavar="TIME", help="Stop the whole run after this time.")
@click.option(
    "--grace", type=Duration(zero=True), metavar="TIME", help="Time between asking a task to stop and killing it."
)
@click.option("--dry-run", is_flag=True, help="Say what would run, and start and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: as JSON.")
@click.option(
    "--ui", type=click.Choice(["auto", "live", "plain", "none"]), envvar="TASKRUN_UI", help="Show the run so."
)
@click.option(
    "--output",
    type=click.Choice(["auto", "stream", "group", "failed", "none"]),
    envvar="TASKRUN_OUTPUT",
    help="Show tasks' output so.",
)
@click.option("--events", metavar="FILE|-", help="Write events as JSON lines; - is stdout.")
@click.option("--exit-code", type=click.Choice(["task"]), help="task: exit with the code of the one task named.")
@click.option("--die-with-parent/--outlive-parent", default=None, help="End when the parent process does (CI: on).")
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Run tasks and what they need.

    TASK is a name, a glob ('test-*') or an instance ('transcode[clip=in/a.mov]'). KEY=VALUE sets a variable, an
    argument, or picks instances. ARGS go to the one task named.
    """
    if options["as_json"] and not options["dry_run"]:
        raise click.UsageError("--json goes with --dry-run")
    if options["dry_run"] and options["events"] is not None:
        raise click.UsageError("--dry-run has no events: nothing happens; --json shows the plan")
    if options["keep_going"] and options["on_failure"] not in {None, "continue"}:
        raise click.UsageError("-k is --on-failure continue; give one of them")
    asked = _options(options, ctx.meta["taskrun.extra"], tuple(ctx.obj.get("arguments", ())))
    from taskrun.resolve import NothingAsked

    try:
        if options["dry_run"]:
            from taskrun.cli.dry_run import show

            return show(asked, as_json=options["as_json"])
        from taskrun.run import run

        result = run(asked, ctx.obj.get("host"))
    except NothingAsked:
        _show_choice(options["file"])
        raise
    return result.exit_status if result.signal is None else -result.signal


def _show_choice(file: str | None) -> None:
    """The tasks, on stderr: stdout is for what was asked for, and that was nothing."""
    from taskrun.cli.list import task_lines
    from taskrun.cli.options import load_project

    lines = task_lines([task for task in load_project(file).tasks.values() if not task.hidden], None)
    click.echo("".join(f"{line}\n" for line in lines), err=True)


def _options(options: dict[str, Any], extra: tuple[str, ...] | None, arguments: tuple[str, ...]) -> RunOptions:
    from taskrun.model import OnFailure
    from taskrun.run.options import RunOptions

    targets, assignments = split_words(options["words"])
    policy = "continue" if options["keep_going"] else options["on_failure"]
    return RunOptions(
        targets=targets,
        assignments=assignments,
        extra=extra,
        arguments=arguments,
        file=options["file"],
        jobs=options["jobs"],
        limits=dict(options["limits"]),
        on_failure=OnFailure(policy) if policy else None,
        deadline=options["deadline"],
        grace=options["grace"],
        ui=options["ui"],
        output=options["output"],
        events=None if options["events"] is None else os.fspath(options["events"]),
        exit_code_task=options["exit_code"] == "task",
        die_with_parent=options["die_with_parent"],
        verbose=options["verbose"],
        quiet=options["quiet"],
    )
