"""``taskrun run --dry-run``: what would run, in which order, how and under which limits. Starts and writes nothing."""

from __future__ import annotations

import gc
import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from taskrun.model import PythonCall

if TYPE_CHECKING:
    from taskrun.model import Attempt
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
    from taskrun.run.prepare import prepare

    prepared = prepare(options, environ=os.environ, dry=True, read_shell=_not_read)
    selection = prepared.resolver.select()
    plan = Plan(
        selection,
        limits=prepared.project.limits,
        jobs=prepared.jobs,
        on_failure=prepared.project.run.on_failure,
        durations=None,
        random=None,
    )
    steps = [_step(selection.instances[name], prepared) for name in plan.order()]
    if as_json:
        import json

        click.echo(json.dumps({"jobs": prepared.jobs, "limits": prepared.project.limits, "tasks": steps}, indent=2))
        return 0
    lines = [f"{len(steps)} task{'s' * (len(steps) != 1)}, {prepared.jobs} at a time; nothing is started"]
    for number, step in enumerate(steps, 1):
        lines += _lines(number, step)
    click.echo("\n".join(lines))
    return 0


def _not_read(command: str, _env: dict[str, str]) -> str:
    """A dry run starts nothing: the resolver shows the command line instead."""
    return f"<shell: {command}>"


def _step(instance: Instance, prepared: Prepared) -> dict[str, Any]:
    resolver = prepared.resolver
    step: dict[str, Any] = {"task": instance.name, "needs": list(instance.needs)}
    if instance.spec.allow_failure:
        step["allow_failure"] = True
    if instance.is_group:
        return step | {"kind": "group"}
    why = resolver.ruled_out(instance)
    if why is not None:
        return step | {"kind": "skipped", "why": why}
    wanted = instance.spec.slots
    slots = prepared.jobs if wanted is None else min(wanted, prepared.jobs)
    return step | _resolved(resolver.preview(instance, slots), instance)


def _resolved(attempt: Attempt, instance: Instance) -> dict[str, Any]:
    spec = instance.spec
    command = attempt.command
    step: dict[str, Any]
    if isinstance(command, PythonCall):
        step = {"kind": "python", "target": command.target, "args": list(command.args), "kwargs": command.kwargs}
    else:
        kind = "binary" if command.shell is None else "shell"
        step = {"kind": kind, "argv": list(command.argv)}
        if command.shell is not None:
            step["shell"] = command.shell
        if command.stdin is not None:
            step["stdin"] = command.stdin
    clocks = {
        name: value
        for name, value in (
            ("timeout", attempt.clocks.timeout),
            ("start-timeout", attempt.clocks.start),
            ("idle-timeout", attempt.clocks.idle),
            ("stall-timeout", attempt.clocks.stall),
        )
        if value is not None
    }
    step |= {"cwd": attempt.cwd, "env": sorted(attempt.extra_env), "slots": attempt.slots, "grace": attempt.grace}
    step |= {"clocks": clocks, "limits": dict(spec.limits), "attempts": spec.retry.attempts}
    if attempt.interactive:
        step["interactive"] = True
    return step


def _lines(number: int, step: dict[str, Any]) -> list[str]:
    head = f"{number:>4}  {step['task']}"
    if step["kind"] in {"group", "skipped"}:
        note = "group" if step["kind"] == "group" else f"skipped: {step['why']}"
        return [f"{head}  ({note})"]
    lines = [head, f"        {_command(step)}"]
    details = [f"in {step['cwd']}"]
    if step["slots"] != 1:
        details.append(f"slots {step['slots']}")
    details += [f"{name} {amount}" for name, amount in step["limits"].items()]
    details += [f"{name} {seconds:g}s" for name, seconds in step["clocks"].items()]
    if step["attempts"] > 1:
        details.append(f"up to {step['attempts']} attempts")
    if step.get("interactive"):
        details.append("interactive")
    if step["env"]:
        details.append("sets " + " ".join(step["env"]))
    return [*lines, "        " + ", ".join(details)]


def _command(step: dict[str, Any]) -> str:
    if step["kind"] == "python":
        arguments = step.get("args") or []
        words = [repr(value) for value in arguments] if isinstance(arguments, list | tuple) else []
        named = step.get("kwargs") or (arguments if isinstance(arguments, dict) else {})
        words += [f"{name}={value!r}" for name, value in named.items()]
        return f"{step['target']}({', '.join(words)})"
    if step["kind"] == "shell":
        return "$ " + str(step["shell"]).replace("\n", "\n          ")
    return "$ " + shlex.join(step["argv"])
