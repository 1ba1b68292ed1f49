"""Circles: tasks that need each other, and `finally` tasks that something needs which they must come after.

Linear in the number of tasks and dependencies, and without recursion. Each circle is drawn once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskrun.config.mistakes import Mistakes
    from taskrun.config.source import Path

Edges: TypeAlias = "dict[str, dict[str, int]]"
"""By task, in file order: the tasks it needs, with the index of the entry in `needs` that says so."""

MOST = 20
"""Circles that are drawn: each takes a walk over the file, and no message shows more."""


def check_circles(edges: Edges, mistakes: Mistakes) -> bool:
    """Notes circles of `needs`; says whether there are any."""
    left = _in_circles(edges)
    drawn = 0
    while left and drawn < MOST:
        circle = _circle(next(name for name in edges if name in left), edges, left)
        first = next(name for name in edges if name in circle)
        start = circle.index(first)
        _add_circle([*circle[start:], *circle[:start]], edges, mistakes)
        drawn += 1
        # As if it were solved, so that others are found.
        left = _in_circles({name: edges[name] for name in edges if name in left and name not in circle})
    return drawn > 0


def _in_circles(edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Takes away what depends on nothing, again and again; what is left is in a circle or depends on one."""
    waiting: dict[str, int] = {}
    dependents = _reversed(edges)
    free = []
    for name, needs in edges.items():
        waiting[name] = sum(need in edges for need in needs)
        if not waiting[name]:
            free.append(name)
    while free:
        name = free.pop()
        del waiting[name]
        for dependent in dependents.get(name, ()):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                free.append(dependent)
    return set(waiting)


def _reversed(edges: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    dependents: dict[str, list[str]] = {}
    for name, needs in edges.items():
        for need in needs:
            if need in dependents:
                dependents[need].append(name)
            else:
                dependents[need] = [name]
    return dependents


def _circle(start: str, edges: Mapping[str, Iterable[str]], left: set[str]) -> list[str]:
    """Follows dependencies that are left until a task comes again; there always is one."""
    trail: dict[str, None] = {}
    name = start
    while name not in trail:
        trail[name] = None
        name = next(need for need in edges[name] if need in left)
    names = list(trail)
    return names[names.index(name) :]


def _add_circle(circle: list[str], edges: Edges, mistakes: Mistakes) -> None:
    following = [*circle[1:], circle[0]]
    path: Path = ("tasks", circle[0], "needs", edges[circle[0]][following[0]])
    if len(circle) == 1:
        mistakes.add("circle", f"task `{circle[0]}` needs itself", path, label="remove it")
        return
    message = f"tasks need each other in a circle: {_drawn(circle)}"
    others = list(zip(circle, following, strict=True))[1:6]
    notes = tuple(_edge(name, need, edges[name][need], mistakes) for name, need in others)
    mistakes.add("circle", message, path, label="one of these dependencies must go", notes=notes)


def _drawn(circle: list[str]) -> str:
    """``a -> b -> a``; the middle of a long one is left out."""
    shown = circle if len(circle) <= 12 else [*circle[:6], "...", circle[-1]]
    return " -> ".join([*shown, circle[0]])


def _edge(name: str, need: str, index: int, mistakes: Mistakes) -> str:
    span = mistakes.source.span(("tasks", name, "needs", index))
    place = "" if span is None else f" at {mistakes.source.path}:{span.line}:{span.column}"
    return f"note: `{name}` needs `{need}`{place}"


# --- finally ----------------------------------------------------------------------------------------------------------


def check_finally(edges: Edges, owners: dict[str, list[str]], mistakes: Mistakes) -> None:
    """A `finally` task runs after its task and all that depends on it: so nothing of that may wait for it.

    Args:
        edges: Without circles.
        owners: By `finally` task: the tasks that name it.
        mistakes: Grows.
    """
    if not owners:
        return
    dependents = _reversed(edges)
    found = False
    for cleaner, owned in owners.items():
        both = _reachable(owned, dependents) & _reachable([cleaner], dependents)
        if both:
            name = next(each for each in edges if each in both)
            needed = _reachable([name], edges)
            _add_finally(cleaner, next(owner for owner in owned if owner in needed), name, mistakes)
            found = True
    if not found:
        _check_each_other(edges, owners, mistakes)


def _check_each_other(edges: Edges, owners: dict[str, list[str]], mistakes: Mistakes) -> None:
    """Several `finally` tasks may wait for each other: `a` comes after `b`, and `b` after what depends on `a`.

    For each task there is a second node, its end: when it and all that depends on it have ended.
    """
    waits: dict[str, list[str]] = {name: list(needs) for name, needs in edges.items()}
    waits |= {_end(name): [name] for name in edges}
    for name, needs in edges.items():
        for need in needs:
            waits[_end(need)].append(_end(name))
    for cleaner, owned in owners.items():
        waits[cleaner] += [_end(owner) for owner in owned]
    left = _in_circles(waits)
    if left:
        circle = _circle(next(name for name in waits if name in left), waits, left)
        names = [name for name in edges if name in circle or _end(name) in circle]
        cleaner = next(name for name in names if name in owners)
        owner = next(owner for owner in owners[cleaner] if owner in names)
        message = f"tasks wait for each other through `finally`: {', '.join(f'`{name}`' for name in names[:12])}"
        mistakes.add("circle", message, _place(owner, mistakes), within=cleaner, label="one of these must go")


def _end(name: str) -> str:
    return f"the end of {name}"  # no name has a space


def _reachable(starts: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen = set(starts)
    stack = list(seen)
    while stack:
        for following in edges.get(stack.pop(), ()):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return seen


def _add_finally(cleaner: str, owner: str, both: str, mistakes: Mistakes) -> None:
    if both == owner == cleaner:
        why = "they are the same"
    elif both == cleaner:
        why = f"`{cleaner}` needs `{owner}`, and would not run when that fails"
    elif both == owner:
        why = f"`{owner}` needs `{cleaner}`"
    else:
        why = f"`{both}` needs both"
    message = f"task `{cleaner}` cannot run after `{owner}` and all that needs it: {why}"
    mistakes.add("circle", message, _place(owner, mistakes), within=cleaner, label="a `finally` task comes last")


def _place(owner: str, mistakes: Mistakes) -> Path:
    path: Path = ("tasks", owner, "finally")
    return path if mistakes.source.span(path) is not None else ("defaults", "finally")
