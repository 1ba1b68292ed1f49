"""Answers look-ups of other tasks: whether one may be asked, which of its instances is meant, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.config.wording import suggestion
from taskrun.resolve.lookups import LookUp, as_text
from taskrun.resolve.mistakes import Mistake
from taskrun.resolve.names import descend
from taskrun.resolve.values import UNKNOWN, Instance, TaskView

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.config.project import Project, TaskSpec
    from taskrun.resolve.select import Selector

_FIELDS = ("result", "state")


class Question:
    """One ``tasks.NAME.result.KEY``, taken apart."""

    __slots__ = ("below", "field", "task")

    def __init__(self, task: TaskSpec, field: str, below: tuple[str, ...]) -> None:
        self.task = task
        self.field = field
        self.below = below


class Results:
    """What the instances of one selection may ask of each other."""

    def __init__(self, project: Project, selector: Selector, instances: dict[str, Instance]) -> None:
        self._tasks = project.tasks
        self._selector = selector
        self._instances = instances
        self._owners: dict[str, list[str]] | None = None
        self._visible: dict[str, set[str]] = {}
        self._partners: dict[tuple[str, str], tuple[tuple[str, ...], bool]] = {}
        self._chains: dict[tuple[object, ...], frozenset[str]] = {}
        self._dependents: dict[str, set[str]] | None = None

    def asker(self, instance: Instance, views: Callable[[str], TaskView] | None) -> Callable[[LookUp], Any]:
        """Return a function that answers look-ups of ``instance``.

        Args:
            instance: Who asks.
            views: By an instance's name; ``None``: nothing has run yet, and answers are ``UNKNOWN``.
        """
        return lambda look_up: self._answer(instance, look_up, views)

    def _answer(self, instance: Instance, look_up: LookUp, views: Callable[[str], TaskView] | None) -> Any:
        question = self._question(look_up)
        self._check_needed(instance.spec, question)
        if any(value is UNKNOWN for value in instance.keys.values()) or not self._selector.knows(question.task):
            return UNKNOWN  # of something whose mistake is reported elsewhere
        names, is_single = self._asked(instance, question.task)
        if is_single:
            return UNKNOWN if views is None else self._one(names[0], question, views)
        if views is None:
            return self._unknown_several(question)
        answers = self._several(names, question, views)
        return descend(answers, question.below, f"tasks.{question.task.name}.{question.field}")

    def _unknown_several(self, question: Question) -> Any:
        name, below = f"tasks.{question.task.name}.{question.field}", question.below
        if below and not below[0].isdecimal():
            label = f"it is a list, of what each instance of `{question.task.name}` has handed on"
            raise Mistake("unknown-name", f"`{name}` has no `.{below[0]}`", label=label)
        return UNKNOWN if below else [UNKNOWN]

    # --- what is asked

    def _question(self, look_up: LookUp) -> Question:
        """Take a name apart; names of tasks may hold dots."""
        parts = look_up.parts[1:]
        for index, part in enumerate(parts):
            task = self._tasks.get(".".join(parts[:index]))
            if part in _FIELDS and task is not None:
                below = parts[index + 1 :]
                if part == "state" and below:
                    raise Mistake("unknown-name", f"the state of `{task.name}` is a text and has no `.{below[0]}`")
                return Question(task, part, below)
        raise self._unknown(parts)

    def _unknown(self, parts: tuple[str, ...]) -> Mistake:
        whole = ".".join(parts)
        if whole in self._tasks:
            return Mistake("unknown-name", f"`tasks.{whole}` is no value", label=f"write `tasks.{whole}.result`")
        field = next((index for index, part in enumerate(parts) if part in _FIELDS), None)
        name = ".".join(parts[:field]) if field is not None else parts[0]
        if name in self._tasks:
            label = suggestion(parts[1], _FIELDS) or "there are `result` and `state`"
            return Mistake("unknown-name", f"task `{name}` has no `{'.'.join(parts[1:])}`", label=label)
        return Mistake("unknown-name", f"there is no task `{name}`", label=suggestion(name, self._tasks))

    def _check_needed(self, spec: TaskSpec, question: Question) -> None:
        name = question.task.name
        if name not in self._visible_from(spec):
            what = "it cannot ask itself" if name == spec.name else f'add "{name}" to its `needs`'
            raise Mistake("not-needed", f"`{spec.name}` does not need `{name}`, which may not have ended", label=what)
        if question.field == "result" and question.task.is_group:
            raise Mistake("no-result", f"`{name}` is a group and has no result", label="ask one of the tasks it needs")

    def _visible_from(self, spec: TaskSpec) -> set[str]:
        """Return the tasks that have ended when a task starts: what it needs, and what it follows as a `finally`."""
        known = self._visible.get(spec.name)
        if known is None:
            followed = [name for name, other in self._tasks.items() if self._names(other, "finally", spec.name)]
            reached: set[str] = set()
            stack = [*(reference.task for reference in self._selector.references(spec)), *followed]
            while stack:
                name = stack.pop()
                if name not in reached:
                    reached.add(name)
                    stack += (reference.task for reference in self._selector.references(self._tasks[name]))
            known = self._visible[spec.name] = reached - {spec.name}
        return known

    def _names(self, spec: TaskSpec, key: str, task: str) -> bool:
        entries = spec.finally_ if key == "finally" else spec.needs
        return bool(entries) and any(reference.task == task for reference in self._selector.references(spec, key))

    # --- whom

    def _asked(self, instance: Instance, task: TaskSpec) -> tuple[tuple[str, ...], bool]:
        """Return the instances that are meant, and whether it is that one rather than a list."""
        known = self._partners.get((instance.name, task.name))
        if known is None:
            known = self._partners[instance.name, task.name] = self._find_asked(instance, task)
        return known

    def _find_asked(self, instance: Instance, task: TaskSpec) -> tuple[tuple[str, ...], bool]:
        if not task.foreach:
            return (task.name,), True
        direct = [reference for reference in self._selector.references(instance.spec) if reference.task == task.name]
        if direct:
            found = self._named(instance.needs, task)
            fixed = set(direct[0].pins) if len(direct) == 1 and direct[0].is_exact else set()
        else:
            fixed = set()
            found = self._reached(instance, task)
        is_single = all(key in instance.keys or key in fixed for key in task.foreach)
        if is_single and len(found) != 1:
            pairs = ",".join(
                f"{key}={as_text(value, None)}" for key, value in instance.keys.items() if key in task.foreach
            )
            raise Mistake("missing-partner", f"`{instance.name}` needs no `{task.name}[{pairs}]`")
        return found, is_single

    def _named(self, names: tuple[str, ...], task: TaskSpec) -> tuple[str, ...]:
        found = [self._instances[name] for name in names if self._instances[name].spec is task]
        found = [each for each in found if each.keys]
        return tuple(each.name for each in sorted(found, key=lambda each: each.position))

    def _reached(self, instance: Instance, task: TaskSpec) -> tuple[str, ...]:
        """Return the instances of a task in the chain of what an instance needs that share its values."""
        candidates = self._selector.candidates(task, instance.keys)
        if len(candidates) == 1:
            return candidates if self._reaches(instance, candidates[0]) else ()
        everything = self._chain(instance)
        return tuple(name for name in candidates if name in everything)

    def _reaches(self, instance: Instance, name: str) -> bool:
        """Whether an instance comes after another; looks from the other on, since barriers are wide on that side."""
        seen = {name}
        pending = [name]
        for each in pending:
            after = self._after(each)
            if instance.name in after:
                return True
            new = after - seen
            pending += new
            seen |= new
        return False

    def _chain(self, instance: Instance) -> frozenset[str]:
        """Return all that an instance comes after."""
        followed = self._followed(instance.name)
        key = (id(instance.needs), *followed)  # instances behind one barrier share the tuple
        known = self._chains.get(key)
        if known is None:
            pending = [*instance.needs, *followed]
            seen = set(pending)
            for name in pending:
                new = [each for each in self._instances[name].needs if each not in seen]
                pending += new
                seen.update(new)
            known = self._chains[key] = frozenset(seen)
        return known

    def _after(self, name: str) -> set[str]:
        """Return what needs an instance, or follows it as a `finally`."""
        if self._dependents is None:
            self._dependents = {}
            for instance in self._instances.values():
                for other in instance.needs:
                    self._dependents.setdefault(other, set()).add(instance.name)
                if instance.finally_:
                    self._dependents.setdefault(instance.name, set()).update(instance.finally_)
        return self._dependents.get(name, set())

    def _followed(self, name: str) -> list[str]:
        if self._owners is None:
            self._owners = {}
            for instance in self._instances.values():
                for other in instance.finally_:
                    self._owners.setdefault(other, []).append(instance.name)
        return self._owners.get(name, [])

    # --- what they say

    def _one(self, name: str, question: Question, views: Callable[[str], TaskView]) -> Any:
        if name not in self._instances:  # a `finally` task may follow tasks that are not in this run
            if question.field == "state":
                return "not-started"
            raise Mistake("no-result", f"`{name}` is not part of this run and has no result")
        view = views(name)
        state = str.__str__(view.state)
        if question.field == "state":
            return state
        if state != "succeeded":
            raise Mistake("no-result", f"`{name}` has no result: {_what_became(state)}")
        if view.result is None and question.task.python is None:
            raise Mistake("no-result", f"`{name}` has handed on no result: no `output KEY=VALUE` came from it")
        return descend(view.result, question.below, f"tasks.{question.task.name}.result")

    def _several(self, names: tuple[str, ...], question: Question, views: Callable[[str], TaskView]) -> list[Any]:
        asked = [views(name) for name in names]
        if question.field == "state":
            return [str.__str__(view.state) for view in asked]
        return [view.result for view in asked if str.__str__(view.state) == "succeeded"]


def _what_became(state: str) -> str:
    match state:
        case "skipped" | "cancelled":
            return f"it was {state}"
        case "failed":
            return "it failed"
        case "timed-out":
            return "it timed out"
        case "not-started":
            return "it was not started"
        case _:
            return f"it is {state}"
