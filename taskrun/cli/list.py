"""``taskrun list``: the tasks, one line each, or as JSON. Runs nothing and imports neither trio nor rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskrun.cli.answers import answer, cut, printable, terminal_width
from taskrun.cli.options import file_option, load_project
from taskrun.config.wording import width_of

if TYPE_CHECKING:
    from taskrun.config.project import Parameter, Project, TaskSpec

_NAME_COLUMNS = 40  # longer names do not push everybody's description to the right


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@click.option("--all", "all_tasks", is_flag=True, help="Hidden tasks too.")
@file_option
def command(file: str | None, *, as_json: bool, all_tasks: bool) -> int:
    """List the tasks.

    A task without a description shows its command. On a terminal the parameters of the file follow.
    """
    project = load_project(file)
    shown = [task for task in project.tasks.values() if all_tasks or not task.hidden]
    if as_json:
        return answer(to_json([describe(task, project) for task in shown]))
    if not shown:
        click.echo(f"only hidden tasks in {project.source.path} (--all shows them)", err=True)
        return 0
    width = terminal_width()
    lines = task_lines(shown, width)
    if width is not None:
        lines += parameter_lines(project, width)
    return answer("".join(f"{line}\n" for line in lines))


def task_lines(tasks: list[TaskSpec], width: int | None) -> list[str]:
    """One line for each task, names and descriptions in columns; cut to ``width`` where there is one."""
    return in_columns([(_names(task), printable(task.description) or command_line(task)) for task in tasks], width)


def parameter_lines(project: Project, width: int | None) -> list[str]:
    """What the command line can set, with a heading; nothing where the file has no parameters."""
    from taskrun.config.project import Parameter

    rows = [(f"{name}=", _about(value)) for name, value in project.vars.items() if isinstance(value, Parameter)]
    return ["", "parameters:", *(f"  {line}" for line in in_columns(rows, width and width - 2))] if rows else []


def in_columns(rows: list[tuple[str, str]], width: int | None) -> list[str]:
    """Two aligned columns, no blanks at the ends of lines."""
    left = max((width_of(name) for name, _ in rows if width_of(name) <= _NAME_COLUMNS), default=0)
    lines = []
    for name, text in rows:
        line = f"{name}{' ' * (left - width_of(name))}  {text}" if text else name
        lines.append(line if width is None else cut(line, width))
    return lines


def command_line(task: TaskSpec) -> str:
    """What the task does, in one line; empty for a group."""
    if task.run is not None:
        import shlex

        return printable(shlex.join(task.run))
    if task.shell is not None:
        return printable(task.shell)
    return printable(task.python or "")


def kind_of(task: TaskSpec) -> str:
    """``run``, ``shell``, ``python`` or ``group``."""
    if task.is_group:
        return "group"
    return "run" if task.run is not None else "shell" if task.shell is not None else "python"


def describe(task: TaskSpec, project: Project) -> dict[str, Any]:
    """One element of ``--json``. The command is as the file has it, with its look-ups."""
    span = project.source.span(("tasks", task.name), "key")
    return {
        "name": task.name,
        "description": task.description,
        "kind": kind_of(task),
        "command": list(task.run) if task.run is not None else task.shell or task.python,
        "needs": list(task.needs),
        "finally": list(task.finally_),
        "foreach": list(task.foreach),
        "aliases": list(task.aliases),
        "hidden": task.hidden,
        "every": task.every,
        "cron": task.cron,
        "file": project.source.path,
        "line": span and span.line,
        "column": span and span.column,
    }


def to_json(value: Any) -> str:
    """Indented, with a newline."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _names(task: TaskSpec) -> str:
    return f"{task.name} ({', '.join(task.aliases)})" if task.aliases else task.name


def _about(parameter: Parameter) -> str:
    facts = [" | ".join(str(choice) for choice in parameter.choices) or parameter.type]
    facts.append("required" if parameter.required else f"default {parameter.default}")
    return printable(f"{parameter.help} ({', '.join(facts)})" if parameter.help else ", ".join(facts))
