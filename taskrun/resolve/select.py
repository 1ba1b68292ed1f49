"""From what was asked for to a ``Selection``: targets, picks, the closure, and the joins between instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.config.wording import suggestion
from taskrun.model import NothingMatched, UsageError
from taskrun.resolve.globs import has_wildcard
from taskrun.resolve.instances import (
    Expansion,
    Reference,
    matching,
    product,
    read_pins,
    split_reference,
)
from taskrun.resolve.lookups import as_text
from taskrun.resolve.mistakes import Mistake, Mistakes, Place, listed, unfit
from taskrun.resolve.targets import Target, read_targets, task_for_extra
from taskrun.resolve.values import Instance, Request, Selection

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from taskrun.config.project import Project, TaskSpec
    from taskrun.resolve.sources import Sources

_NO_KEYS: dict[str, Any] = {}


class Selector:
    """Works out one selection; afterwards it answers which instances belong together."""

    def __init__(self, project: Project, request: Request, sources: Sources, mistakes: Mistakes) -> None:
        self._project = project
        self._tasks = project.tasks
        self._request = request
        self._sources = sources
        self._mistakes = mistakes
        self._expansions: dict[str, Expansion | None] = {}  # None: a mistake in its `foreach` has been reported
        self._references: dict[tuple[str, ...], list[Reference]] = {}
        self.extra_task: str | None = None

    def select(self) -> Selection:
        """Work out what the request asks for; mistakes of the file go to the collector.

        Raises:
            UsageError: Targets, keys or ``extra`` are wrong.
            NothingMatched: A glob or a pick matches nothing.
        """
        targets = read_targets(self._request.targets or self._project.run.default, self._tasks)
        return self._selection(targets, closed=False)

    def select_all(self) -> Selection:
        """Select every task, hidden ones too."""
        return self._selection([Target(name) for name in self._tasks], closed=True)

    def _selection(self, targets: list[Target], *, closed: bool) -> Selection:
        plan = self._closure([target.task for target in targets])
        open_keys = {} if closed else self._assign(plan)
        self._sources.check_assignments()
        self._expand(plan)
        if not closed:
            self._pick(plan)
            if self._request.extra:
                self.extra_task = task_for_extra(self._request.extra, targets, self._tasks)
        requested = self._requested(targets)
        instances = self._instances(plan, requested)
        return Selection(instances=instances, requested=requested, open_keys=open_keys)

    # --- targets

    def _requested(self, targets: list[Target]) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for target in targets:
            if target.pins is None and not self._tasks[target.task].foreach:
                names[target.task] = None
            else:
                names.update(dict.fromkeys(self._names_of(target)))
        return tuple(names)

    def _names_of(self, target: Target) -> Iterable[str]:
        spec = self._tasks[target.task]
        expansion = self._expansions.get(target.task)
        if target.pins is None:
            if expansion is None:
                return ()
            return expansion.partners({}, {}) or (spec.name,)
        if expansion is None and spec.foreach:
            return ()
        return self._pinned_names(spec, expansion, target.pins)

    def _pinned_names(self, spec: TaskSpec, expansion: Expansion | None, text: str) -> tuple[str, ...]:
        if expansion is None:
            raise UsageError(f"`{spec.name}` has no `foreach`, and so no instance `{spec.name}[{text}]`")
        exact = f"{spec.name}[{text}]"
        pins = read_pins(text, spec.foreach)
        found = (exact,) if exact in expansion.names else expansion.partners({}, pins) if pins else ()
        if found:
            left = expansion.left(found)
            if not left:
                picks = listed(f"{key}={value}" for key, value in self._request.assignments.items())
                raise NothingMatched(f"no instance is both `{exact}` and {picks}")
            return left
        if pins is None:
            keys = listed(f"{key}=..." for key in spec.foreach)
            raise UsageError(f"`{exact}` names no instance of `{spec.name}`: its keys are {keys}")
        if any(has_wildcard(pin) for pin in pins.values()):
            raise NothingMatched(f"no instance matches `{exact}`")
        near = suggestion(exact, expansion.names)
        raise UsageError(f"there is no instance `{exact}`" + (f"; {near}" if near else ""))

    # --- the closure of tasks

    def _closure(self, names: Iterable[str]) -> dict[str, TaskSpec]:
        """Return the tasks that are needed, in the order of the file."""
        tasks = self._tasks
        stack = list(names)
        reached = set(stack)
        while stack and len(reached) < len(tasks):
            spec = tasks[stack.pop()]
            for entries, key in ((spec.needs, "needs"), (spec.finally_, "finally")):
                for entry in entries:
                    if entry in tasks:
                        if entry not in reached:
                            reached.add(entry)
                            stack.append(entry)
                        continue
                    for reference in self.references(spec, key):
                        if reference.task not in reached:
                            reached.add(reference.task)
                            stack.append(reference.task)
        return {name: spec for name, spec in tasks.items() if name in reached}

    def references(self, spec: TaskSpec, key: str = "needs") -> list[Reference]:
        """Return what a task's `needs` (or `finally`) name, globs expanded."""
        known = self._references.get((spec.name, key))
        if known is None:
            entries = spec.needs if key == "needs" else spec.finally_
            known = self._references[spec.name, key] = [
                reference
                for index, text in enumerate(entries)
                for reference in self._referenced(spec, text, ("tasks", spec.name, key, index))
            ]
        return known

    def _referenced(self, spec: TaskSpec, text: str, place: Place) -> list[Reference]:
        index = place[-1]
        assert isinstance(index, int)
        if text in self._tasks:
            return [Reference(text, {}, index)]
        split = split_reference(text)
        if split is not None and split[0] in self._tasks:
            pins = read_pins(split[1], self._tasks[split[0]].foreach)
            if pins is not None:
                return [Reference(split[0], pins, index)]
            keys = listed(self._tasks[split[0]].foreach)
            message = f"`{text}` names no instance of `{split[0]}`"
            self._mistakes.add(Mistake("unknown-task", message, label=f"its keys are {keys}" if keys else ""), place)
            return []
        names = [name for name in matching(text, self._tasks) if name != spec.name] if has_wildcard(text) else []
        if not names:
            label = suggestion(text, self._tasks)
            self._mistakes.add(Mistake("unknown-task", f"there is no task `{text}`", label=label), place)
        return [Reference(name, {}, index) for name in names]

    # --- KEY=VALUE

    def _assign(self, plan: dict[str, TaskSpec]) -> dict[str, str]:
        """Hand values to `[vars]`; return the keys that may be arguments of Python tasks."""
        open_keys: dict[str, str] = {}
        problems: list[str] = []
        has_python = any(spec.python is not None for spec in plan.values())
        for key, value in self._request.assignments.items():
            is_var = key in self._project.vars
            is_pick = any(key in spec.foreach for spec in plan.values())
            if is_var and is_pick:
                problems.append(f"`{key}` is both an entry of [vars] and a `foreach` key of this run: which is meant?")
            elif is_var:
                self._sources.assigned[key] = value
            elif not is_pick and has_python:
                if problem := unfit(value):
                    problems.append(f"the value of `{key}` {problem}")
                open_keys[key] = value
            elif not is_pick:
                problems.append(self.unknown_key(key, plan.values()))
        if problems:
            raise UsageError("\n".join(problems))
        return open_keys

    def unknown_key(self, key: str, plan: Iterable[TaskSpec], arguments: Iterable[str] = ()) -> str:
        """Say that nothing knows a key of the command line."""
        elsewhere = [name for name, spec in self._tasks.items() if key in spec.foreach]
        message = f"nothing in this run knows `{key}`"
        if elsewhere:
            return f"{message}: it is a `foreach` key of {listed(elsewhere)}, which it does not include"
        keys = [each for spec in plan for each in spec.foreach]
        near = suggestion(key, dict.fromkeys([*self._project.vars, *keys, *arguments]))
        return f"{message}; {near}" if near else f"{message}: no entry of [vars], `foreach` key or open argument"

    def _pick(self, plan: dict[str, TaskSpec]) -> None:
        for key, pattern in self._request.assignments.items():
            if key in self._sources.assigned:
                continue
            holders = [spec.name for spec in plan.values() if key in spec.foreach]
            expansions = [found for name in holders if (found := self._expansions.get(name)) is not None]
            left = [expansion.pick(key, pattern) for expansion in expansions]
            if len(expansions) == len(holders) and left and not any(left):
                values = list(dict.fromkeys(value for each in expansions for value in each.values(key)))
                near = suggestion(pattern, values) or (f"there are {listed(values)}" if values else "there is none")
                raise NothingMatched(f"no instance has `{key}={pattern}`: {near}")

    # --- instances

    def _expand(self, plan: dict[str, TaskSpec]) -> None:
        for spec in plan.values():
            if spec.foreach:
                self._expansions[spec.name] = self._expansion(spec)

    def _expansion(self, spec: TaskSpec) -> Expansion | None:
        place: Place = ("tasks", spec.name, "foreach")
        values = [self._sources.each(source, (*place, key)) for key, source in spec.foreach.items()]
        known = [each for each in values if each is not None]
        if len(known) < len(values):
            return None
        try:
            expansion = Expansion(spec, product(known))
        except Mistake as mistake:
            self._mistakes.add(mistake, place)
            return None
        duplicate = expansion.duplicate()
        if duplicate is not None:
            key = next(iter(spec.foreach))
            twice = Mistake("duplicate-instance", f"two instances would both be called `{duplicate}`")
            self._mistakes.add(twice, (*place, key) if len(spec.foreach) == 1 else place)
            return None
        return expansion

    def _instances(self, plan: dict[str, TaskSpec], requested: Iterable[str]) -> dict[str, Instance]:
        if not any(spec.foreach for spec in plan.values()):
            return {
                name: Instance(
                    name,
                    spec,
                    _NO_KEYS,
                    self._plain_names(spec, "needs"),
                    self._plain_names(spec, "finally") if spec.finally_ else (),
                    position,
                    spec.is_group,
                )
                for position, (name, spec) in enumerate(plan.items())
            }
        return self._reached(plan, requested)

    def _plain_names(self, spec: TaskSpec, key: str) -> tuple[str, ...]:
        """Return what a task needs in a plan without any `foreach`."""
        entries = spec.needs if key == "needs" else spec.finally_
        tasks = self._tasks
        for entry in entries:
            if entry not in tasks:
                return tuple(dict.fromkeys(reference.task for reference in self.references(spec, key)))
        return entries if len(set(entries)) == len(entries) else tuple(dict.fromkeys(entries))

    def _reached(self, plan: dict[str, TaskSpec], requested: Iterable[str]) -> dict[str, Instance]:
        """Go from what was asked for to all that it needs, instance by instance."""
        where = self._where(plan)
        links: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        stack = [*requested][::-1]  # mistakes come in order
        while stack:
            name = stack.pop()
            if name in links:
                continue
            spec, keys, _ = where[name]
            links[name] = (self._joined(spec, name, keys, "needs"), self._joined(spec, name, keys, "finally"))
            stack += links[name][0]
            stack += links[name][1]
        instances: dict[str, Instance] = {}
        for name, (spec, keys, is_empty) in where.items():
            if name in links:
                needs, finally_ = links[name]
                is_group = is_empty or spec.is_group
                instances[name] = Instance(name, spec, keys, needs, finally_, len(instances), is_group)
        return instances

    def _where(self, plan: dict[str, TaskSpec]) -> dict[str, tuple[TaskSpec, dict[str, Any], bool]]:
        where: dict[str, tuple[TaskSpec, dict[str, Any], bool]] = {}
        for name, spec in plan.items():
            expansion = self._expansions.get(name)
            if not spec.foreach:
                where[name] = (spec, _NO_KEYS, False)
            elif expansion is not None:
                for instance, keys in zip(expansion.names, expansion.keys, strict=True):
                    where[instance] = (spec, keys, expansion.is_empty)
                if not expansion.is_empty and not expansion.picked:
                    where[name] = (spec, _NO_KEYS, True)
        return where

    def _joined(self, spec: TaskSpec, name: str, keys: dict[str, Any], kind: str) -> tuple[str, ...]:
        references = self.references(spec, kind)
        if len(references) == 1:
            return self.partners(spec, name, keys, references[0], kind)
        names: dict[str, None] = {}
        for reference in references:
            names.update(dict.fromkeys(self.partners(spec, name, keys, reference, kind)))
        return tuple(names)

    def candidates(self, task: TaskSpec, keys: dict[str, Any]) -> tuple[str, ...]:
        """Return the instances of a task that have an instance's values, whether or not it needs them."""
        expansion = self._expansions.get(task.name)
        return () if expansion is None else expansion.partners(keys, {})

    def knows(self, task: TaskSpec) -> bool:
        """Whether the instances of a task are known; where not, the reason has been reported."""
        return self._expansions.get(task.name, task) is not None

    def unexpanded(self) -> list[TaskSpec]:
        """Return the tasks of the plan that have a `foreach` and no instances: their look-ups are checked as well."""
        return [
            self._tasks[name]
            for name, expansion in self._expansions.items()
            if expansion is None or expansion.is_empty or not expansion.picked
        ]

    def unmatched(self) -> list[tuple[TaskSpec, tuple[str, ...]]]:
        """Return the tasks of the plan that have no instances since a glob matches no file, with its patterns."""
        return [
            (expansion.spec, patterns)
            for expansion in self._expansions.values()
            if expansion is not None and expansion.is_empty
            for key, source in expansion.spec.foreach.items()
            if (patterns := self._sources.unmatched(source, ("tasks", expansion.spec.name, "foreach", key)))
        ]

    def partners(
        self, spec: TaskSpec, name: str, keys: dict[str, Any], reference: Reference, kind: str = "needs"
    ) -> tuple[str, ...]:
        """Return the instances that one entry of `needs` means for one instance; a missing one is a mistake."""
        task = self._tasks[reference.task]
        if not task.foreach:
            return (task.name,)
        expansion = self._expansions.get(task.name)
        if expansion is None:
            return ()
        found = expansion.partners(keys, reference.pins)
        if found:
            return found
        shared = [key for key in task.foreach if key in keys and key not in reference.pins]
        if not shared and not reference.pins:
            return (task.name,)
        wanted = [f"{key}={reference.pins[key]}" for key in task.foreach if key in reference.pins]
        wanted += _name_pairs(keys, shared)
        message = f"`{name}` has no partner: there is no `{task.name}[{','.join(wanted)}]`"
        self._mistakes.add(Mistake("missing-partner", message), ("tasks", spec.name, kind, reference.index))
        return ()


def _name_pairs(keys: dict[str, Any], shared: Iterable[str]) -> list[str]:
    """Return ``key=value`` as in an instance's name."""
    return [f"{key}={as_text(keys[key], None)}" for key in shared]
