"""``taskrun graph``: how tasks depend on each other, as a tree, for Graphviz, for Mermaid, or as JSON.

Of tasks, not of instances: a `foreach` is a mark. Nothing here recurses, so that a chain of any length can be drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from taskrun.cli.answers import answer
from taskrun.cli.options import complete_tasks, file_option, load_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taskrun.config.project import Project

_DEEPEST = 40  # levels of one tree; what is below is drawn as a tree of its own


class Graph:
    """Tasks and their edges, by name, in file order.

    Attributes:
        needs: The tasks that each needs; globs and instances are resolved to tasks.
        finally_: The tasks that each brings along for the end.
        foreach: The keys of each.
    """

    def __init__(self, project: Project) -> None:
        self.foreach = {name: tuple(task.foreach) for name, task in project.tasks.items()}
        visible = [name for name, task in project.tasks.items() if not task.hidden]
        self.needs: dict[str, list[str]] = {}
        self.finally_: dict[str, list[str]] = {}
        for name, task in project.tasks.items():
            self.needs[name] = _targets(task.needs, project, visible, name)
            self.finally_[name] = _targets(task.finally_, project, visible, name)

    def edges(self, name: str) -> list[tuple[str, bool]]:
        """What a task needs, and then (True) its `finally` tasks."""
        return [(other, False) for other in self.needs[name]] + [(other, True) for other in self.finally_[name]]

    def roots(self) -> list[str]:
        """The tasks that no other brings along."""
        brought = {other for name in self.needs for other, _ in self.edges(name)}
        return [name for name in self.needs if name not in brought]

    def below(self, names: Iterable[str]) -> list[str]:
        """The tasks named and all that they bring along, in file order."""
        reached: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += [other for other, _ in self.edges(name)]
        return [name for name in self.needs if name in reached]

    def label(self, name: str) -> str:
        """The name, with the keys of its `foreach`."""
        return f"{name} [{', '.join(self.foreach[name])}]" if self.foreach[name] else name


@click.command(name="graph")
@click.argument("tasks", metavar="[TASK...]", nargs=-1, shell_complete=complete_tasks)
@click.option(
    "--format", "style", type=click.Choice(["tree", "dot", "mermaid", "json"]), default="tree", help="Default: tree."
)
@file_option
def command(tasks: tuple[str, ...], style: str, file: str | None) -> int:
    """Show how tasks depend on each other.

    Of the tasks named, else of all. In the tree a task stands above what it needs; in dot and mermaid an arrow leads
    from a task to those that wait for it.
    """
    project = load_project(file)
    graph = Graph(project)
    roots = matching(tasks, project) if tasks else graph.roots()
    match style:
        case "dot":
            text = dot(graph, graph.below(roots))
        case "mermaid":
            text = mermaid(graph, graph.below(roots))
        case "json":
            text = as_json(graph, graph.below(roots), project)
        case _:
            text = "".join(f"{line}\n" for line in tree(graph, roots))
    return answer(text)


def matching(words: Iterable[str], project: Project) -> list[str]:
    """The tasks that names, aliases and globs of a command line mean, each once.

    Raises:
        UsageError: There is no such task.
        NothingMatched: A glob matches none.
    """
    from taskrun.config.references import is_pattern
    from taskrun.model import NothingMatched, UsageError

    aliases = {alias: task.name for task in project.tasks.values() for alias in task.aliases}
    found: dict[str, None] = {}
    for word in words:
        if is_pattern(word):
            names = [name for name, task in project.tasks.items() if not task.hidden and _fits(name, word)]
            if not names:
                raise NothingMatched(f"no task matches `{word}`")
            found.update(dict.fromkeys(names))
        elif (name := aliases.get(word, word)) in project.tasks:
            found[name] = None
        else:
            raise UsageError(unknown_task(word, (*project.tasks, *aliases)))
    return list(found)


def unknown_task(word: str, names: Iterable[str]) -> str:
    """The message for a task that does not exist, with the nearest name that does."""
    import difflib

    nearest = difflib.get_close_matches(word, names, 1)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else " (`taskrun list` lists them)"
    return f"there is no task `{word}`{hint}"


def tree(graph: Graph, roots: Iterable[str]) -> Iterator[str]:
    """Lines of trees; what was drawn before is only named, with a mark where it has something below it."""
    drawn: set[str] = set()
    starts = list(roots)[::-1]
    while starts:
        root = starts.pop()
        if root in drawn:
            continue
        # name, what stands before it, what stands before what it needs, whether it is a `finally` task, its level
        waiting = [(root, "", "", False, 0)]
        while waiting:
            name, before, below, at_end, level = waiting.pop()
            text = before + ("finally: " if at_end else "") + graph.label(name)
            edges = graph.edges(name)
            if edges and name in drawn:
                yield f"{text} (see above)"
            elif edges and level == _DEEPEST:
                yield f"{text} (see below)"
                starts.append(name)
            else:
                yield text
                drawn.add(name)
                for index, (other, finally_) in reversed(list(enumerate(edges))):
                    last = index == len(edges) - 1
                    branch, line = ("└── ", "    ") if last else ("├── ", "│   ")
                    waiting.append((other, below + branch, below + line, finally_, level + 1))


def dot(graph: Graph, names: list[str]) -> str:
    """For Graphviz: arrows in the order of work, `finally` dashed."""
    lines = ["digraph tasks {", "  rankdir=LR;", "  node [shape=box];"]
    for name in names:
        label = f" [label={_dot_quoted(graph.label(name))}]" if graph.foreach[name] else ""
        lines.append(f"  {_dot_quoted(name)}{label};")
    for name in names:
        lines += [f"  {_dot_quoted(other)} -> {_dot_quoted(name)};" for other in graph.needs[name]]
        lines += [
            f'  {_dot_quoted(name)} -> {_dot_quoted(other)} [style=dashed, label="finally"];'
            for other in graph.finally_[name]
        ]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: Graph, names: list[str]) -> str:
    """For Mermaid; its ids are numbers, since names such as `end` are words of its language."""
    ids = {name: f"t{number}" for number, name in enumerate(names)}
    lines = ["graph LR"]
    lines += [f'  {ids[name]}["{_mermaid_quoted(graph.label(name))}"]' for name in names]
    for name in names:
        lines += [f"  {ids[other]} --> {ids[name]}" for other in graph.needs[name]]
        lines += [f"  {ids[name]} -. finally .-> {ids[other]}" for other in graph.finally_[name]]
    return "\n".join(lines) + "\n"


def as_json(graph: Graph, names: list[str], project: Project) -> str:
    """The tasks with their edges, as an array in file order."""
    from taskrun.cli.list import kind_of, to_json

    return to_json(
        [
            {
                "name": name,
                "kind": kind_of(project.tasks[name]),
                "foreach": graph.foreach[name],
                "hidden": project.tasks[name].hidden,
                "needs": graph.needs[name],
                "finally": graph.finally_[name],
            }
            for name in names
        ]
    )


def _targets(words: tuple[str, ...], project: Project, visible: list[str], owner: str) -> list[str]:
    """The tasks that entries of `needs` or `finally` mean, each once; a glob never means its own task."""
    from taskrun.config.references import is_pattern

    found: dict[str, None] = {}
    for word in words:
        if word in project.tasks:
            found[word] = None
        elif is_pattern(word):
            found.update((other, None) for other in visible if other != owner and _fits(other, word))
        else:
            found[word.partition("[")[0]] = None  # an instance
    return list(found)


def _fits(name: str, glob: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(name, glob)


def _dot_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mermaid_quoted(text: str) -> str:
    """Everything that is not plainly a word's character, as an entity: neither quotes nor markup get through."""
    return "".join(each if each.isalnum() or each in " -_.[]," else f"#{ord(each)};" for each in text)
