"""``taskrun run --dry-run``: what would run, in which order, how and under which limits. Starts and writes nothing."""

from __future__ import annotations

import gc
import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from taskrun.model import ProjectError, PythonCall

if TYPE_CHECKING:
    from taskrun.model import Attempt, Command
    from taskrun.resolve import Instance
    from taskrun.run.options import RunOptions
    from taskrun.run.prepare import Prepared


def show(options: RunOptions, *, as_json: bool) -> int:
    """Prints the plan; returns the exit status."""
    collecting = gc.isenabled()
    gc.disable()  # all that is made here lives until it is printed
    try:
        return _show(options, as_json=as_json)
    finally:
        if collecting:
            gc.enable()


def _show(options: RunOptions, *, as_json: bool) -> int:
    from taskrun.plan import Plan
    from taskrun.run.folders import missing_folders
    from taskrun.run.prepare import pool_sizes, prepare

    prepared = prepare(options, environ=os.environ, dry=True, read_shell=_not_read)
    selection = prepared.resolver.select()
    plan = Plan(
        selection,
        limits=prepared.project.limits,
        jobs=prepared.jobs,
        on_failure=prepared.project.run.on_failure,
        pools=pool_sizes(prepared.project, prepared.jobs),
        durations=None,
        random=None,
    )
    missing = tuple(missing_folders(prepared.project, selection))
    if missing:  # a run would refuse too
        raise ProjectError(missing)
    instances = [selection.instances[name] for name in plan.order()]
    if as_json:
        import json

        tasks = [_step(instance, _planned(instance, prepared)) for instance in instances]
        click.echo(json.dumps({"jobs": prepared.jobs, "limits": prepared.project.limits, "tasks": tasks}, indent=2))
        return 0
    lines = [f"{len(instances)} task{'s' * (len(instances) != 1)}, {prepared.jobs} at a time; nothing is started"]
    for number, instance in enumerate(instances, 1):
        lines += _lines(number, instance, _planned(instance, prepared))
    click.echo("\n".join(lines))
    return 0


def _not_read(command: str, _env: dict[str, str]) -> str:
    """A dry run starts nothing: the resolver shows the command line instead."""
    return f"<shell: {command}>"


def _planned(instance: Instance, prepared: Prepared) -> Attempt | str | None:
    """The first attempt; why there would be none; ``None``: the task is a group."""
    if instance.is_group:
        return None
    spec = instance.spec
    if spec.when:
        why = prepared.resolver.ruled_out(instance)
        if why is not None:
            return why
    slots = prepared.jobs if spec.slots is None else min(spec.slots, prepared.jobs)
    return prepared.resolver.preview(instance, slots)


# --- as JSON


def _step(instance: Instance, planned: Attempt | str | None) -> dict[str, Any]:
    step: dict[str, Any] = {"task": instance.name, "needs": list(instance.needs)}
    if instance.spec.allow_failure:
        step["allow_failure"] = True
    if planned is None:
        return step | {"kind": "group"}
    if isinstance(planned, str):
        return step | {"kind": "skipped", "why": planned}
    return step | _command_fields(planned.command) | _conditions(planned, instance)


def _command_fields(command: Command) -> dict[str, Any]:
    if isinstance(command, PythonCall):
        return {"kind": "python", "target": command.target, "args": list(command.args), "kwargs": command.kwargs}
    fields: dict[str, Any] = {"kind": "binary" if command.shell is None else "shell", "argv": list(command.argv)}
    if command.shell is not None:
        fields["shell"] = command.shell
    if command.stdin is not None:
        fields["stdin"] = command.stdin
    return fields


def _conditions(attempt: Attempt, instance: Instance) -> dict[str, Any]:
    spec = instance.spec
    fields: dict[str, Any] = {
        "cwd": attempt.cwd,
        "env": sorted(attempt.extra_env),
        "slots": attempt.slots,
        "grace": attempt.grace,
        "clocks": dict(_clocks(attempt)),
        "limits": dict(spec.limits),
        "attempts": spec.retry.attempts,
    }
    if attempt.interactive:
        fields["interactive"] = True
    if spec.pool is not None:
        fields["pool"] = spec.pool
    return fields


def _clocks(attempt: Attempt) -> list[tuple[str, float]]:
    clocks = attempt.clocks
    named = (
        ("timeout", clocks.timeout),
        ("start-timeout", clocks.start),
        ("idle-timeout", clocks.idle),
        ("stall-timeout", clocks.stall),
    )
    return [(name, value) for name, value in named if value is not None]


# --- as text


def _lines(number: int, instance: Instance, planned: Attempt | str | None) -> list[str]:
    head = f"{number:>4}  {instance.name}"
    if planned is None:
        return [f"{head}  (group)"]
    if isinstance(planned, str):
        return [f"{head}  (skipped: {planned})"]
    spec = instance.spec
    details = f"        in {planned.cwd}"
    if planned.slots != 1:
        details += f", slots {planned.slots}"
    if spec.limits:
        details += "".join([f", {name} {amount}" for name, amount in spec.limits.items()])
    if spec.pool is not None:
        details += f", pool {spec.pool}"
    details += "".join([f", {name} {seconds:g}s" for name, seconds in _clocks(planned)])
    if spec.retry.attempts > 1:
        details += f", up to {spec.retry.attempts} attempts"
    if planned.interactive:
        details += ", interactive"
    if planned.extra_env:
        details += ", sets " + " ".join(sorted(planned.extra_env))
    return [head, f"        {_command_line(planned.command)}", details]


def _command_line(command: Command) -> str:
    if isinstance(command, PythonCall):
        words = [repr(value) for value in command.args]
        words += [f"{name}={value!r}" for name, value in command.kwargs.items()]
        return f"{command.target}({', '.join(words)})"
    if command.shell is not None:
        return "$ " + command.shell.replace("\n", "\n          ")
    return "$ " + shlex.join(command.argv)
