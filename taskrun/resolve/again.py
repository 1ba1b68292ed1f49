"""What to say on the command line to run one instance of a run again, with the same variables and arguments. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.resolve.lookups import as_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from taskrun.resolve.values import Instance, Selection


def words(
    instance: Instance,
    selection: Selection,
    assignments: Mapping[str, str],
    *,
    variables: Collection[str],
    arguments: Mapping[str, Mapping[str, str]],
    ambiguous: Collection[str],
) -> list[str]:
    """Return target and ``KEY=VALUE``.

    Args:
        instance: Which is meant.
        selection: It is one of.
        assignments: What this run was given; of it is left what the other one would know as well.
        variables: Names of ``[vars]``.
        arguments: ``KEY=VALUE`` that became arguments of Python calls, by instance.
        ambiguous: Keys that cannot pick, since they mean something else too.
    """
    picks = {key: as_text(value, None) for key, value in instance.keys.items()}
    by_picks = all(text.isprintable() and key not in ambiguous for key, text in picks.items())
    found = [instance.spec.name if by_picks else instance.name]
    if assignments:
        needed = list(_needed(instance, selection))
        known = {*variables, *(key for each in needed for key in each.spec.foreach)}
        known.update(key for each in needed for key in arguments.get(each.name, ()))
        found += [f"{key}={value}" for key, value in assignments.items() if key in known and key not in picks]
    return found + [f"{key}={text}" for key, text in picks.items() if by_picks]


def _needed(instance: Instance, selection: Selection) -> Iterable[Instance]:
    """Yield an instance and all that would be in a plan with it."""
    stack, seen = [instance.name], {instance.name}
    while stack:
        each = selection.instances[stack.pop()]
        yield each
        new = {*each.needs, *each.finally_} - seen
        seen |= new
        stack += new
