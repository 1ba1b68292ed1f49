"""What a project file says of other tasks: names, patterns and instances in `needs`, `finally` and `[run]` `default`.

Checks that each means something; patterns and instances stay as text in the project and are expanded by resolve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.config.mistakes import describe
from taskrun.config.wording import listed, suggestion

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.project import Project, TaskSpec
    from taskrun.config.source import Path

MOST_SUGGESTIONS = 30
"""Each costs a look at every name: a file with thousands of unknown names must not take minutes."""


def is_pattern(text: str) -> bool:
    """Whether a reference is a glob rather than a name or an instance."""
    return ("*" in text or "?" in text or "[" in text) and not is_instance(text)


def is_instance(text: str) -> bool:
    """Whether a reference names instances: ``compile[target=arm64]``."""
    name, bracket, keys = text.partition("[")
    return bool(name and bracket) and keys.endswith("]") and "=" in keys and "*" not in name and "?" not in name


class References:
    """Follows the references of one project and notes those that lead nowhere."""

    def __init__(self, project: Project, mistakes: Mistakes) -> None:
        self._project = project
        self._tasks = project.tasks
        self._mistakes = mistakes
        self._aliases = {alias: name for name, task in project.tasks.items() for alias in task.aliases}
        self._suggestions = 0
        self._matches: dict[str, list[str]] = {}
        self._finally: dict[str, list[str]] = {}

    def check_default(self) -> None:
        """`default` of `[run]` is a command line, so aliases are fine."""
        for index, text in enumerate(self._project.run.default):
            if text not in self._aliases:
                self._follow(text, ("run", "default", index), "`default` in [run] names", None)

    def edges(self) -> dict[str, dict[str, int]]:
        """By task: the tasks it needs, with the index of the entry that says so; notes unknown ones."""
        tasks = self._tasks
        found: dict[str, dict[str, int]] = {}
        for name, task in tasks.items():
            needs: dict[str, int] = {}
            for index, text in enumerate(task.needs):
                if text in tasks:
                    needs[text] = index
                else:
                    for need in self._follow(text, ("tasks", name, "needs", index), f"task `{name}` needs", name):
                        needs.setdefault(need, index)
            found[name] = needs
            if task.finally_:
                self._follow_finally(name, task)
        return found

    def finally_owners(self) -> dict[str, list[str]]:
        """By task that tidies up: the tasks that have it in `finally`. Known after ``edges``."""
        return self._finally

    def _follow_finally(self, name: str, task: TaskSpec) -> None:
        for index, text in enumerate(task.finally_):
            path: Path = ("tasks", name, "finally", index)
            if text not in self._tasks and self._mistakes.source.span(path) is None:
                path = ("defaults", "finally", index)
            for cleaner in self._follow(text, path, f"{describe(path[:-1])} names", name):
                self._finally.setdefault(cleaner, []).append(name)

    def _follow(self, text: str, path: Path, who: str, within: str | None) -> tuple[str, ...]:
        """The tasks that a reference means: none, with a mistake noted, where it means nothing."""
        if text in self._tasks:
            return (text,)
        if is_instance(text):
            return self._follow_instance(text, path, who)
        if is_pattern(text):
            found = self._match(text, within)
            if not found:
                message = f"{who} `{text}`, which matches no task"
                self._mistakes.add("unknown-task", message, path, label="hidden tasks are matched by no pattern")
            return found
        self._unknown(text, path, who, None)
        return ()

    def _follow_instance(self, text: str, path: Path, who: str) -> tuple[str, ...]:
        name, _, keys = text.partition("[")
        task = self._tasks.get(name)
        if task is None:
            self._unknown(name, path, who, name)
            return ()
        key = keys.partition("=")[0]
        if key not in task.foreach and name not in self._mistakes.broken:
            message = f"{who} `{text}`, but task `{name}` has no `foreach` key `{key}`"
            label = f"its keys are {listed(task.foreach, 'and')}" if task.foreach else "it has no `foreach`"
            self._mistakes.add("unknown-task", message, path, within=key, label=label)
        return (name,)

    def _unknown(self, name: str, path: Path, who: str, within: str | None) -> None:
        message = f"{who} `{name}`, which is not defined"
        label = ""
        if name in self._aliases:
            message = f"{who} `{name}`, which is an alias: they are known on the command line only"
            label = f"write `{self._aliases[name]}`"
        elif self._suggestions < MOST_SUGGESTIONS:
            self._suggestions += 1
            label = suggestion(name, self._tasks)
        self._mistakes.add("unknown-task", message, path, within=within, label=label)

    def _match(self, pattern: str, within: str | None) -> tuple[str, ...]:
        """Tasks that a pattern matches; a task does not mean itself by it."""
        import fnmatch

        if pattern not in self._matches:
            visible = [name for name, task in self._tasks.items() if not task.hidden]
            self._matches[pattern] = fnmatch.filter(visible, pattern)
        return tuple(name for name in self._matches[pattern] if name != within)
