"""The names that look-ups may use, and going into their values. Knows nothing of strings and places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from taskrun.config.sources import RESERVED
from taskrun.config.wording import suggestion
from taskrun.model import Value
from taskrun.resolve.lookups import LookUp, describe
from taskrun.resolve.mistakes import Mistake, listed
from taskrun.resolve.paths import ATTRIBUTES, FilePath
from taskrun.resolve.values import UNKNOWN, Loose, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Variables(Protocol):
    """What `vars.X` looks up."""

    @property
    def names(self) -> Iterable[str]:
        """The entries of `[vars]`."""
        ...

    def var(self, name: str) -> Any:
        """Return the value of one; ``UNKNOWN`` where its mistake has been reported.

        Raises:
            Mistake: There is no such entry.
        """
        ...


class Facts(Value, frozen=True, kw_only=True):
    """What `run.X` looks up; the same for all tasks. ``later``: the environment will be another one."""

    id: str
    folder: str
    root: str
    cwd: str
    later: bool = False


class Tries:
    """What only an attempt knows.

    Args:
        number: Of the attempt, from 1.
        slots: That it holds.
        extra: Arguments after ``--``, for the one task that was named.
        ask: Answers ``tasks.X.result`` and ``.state``; returns ``UNKNOWN`` as long as nothing has run.
    """

    __slots__ = ("ask", "extra", "number", "slots")

    def __init__(self, number: int, slots: int, extra: tuple[str, ...], ask: Callable[[LookUp], Any]) -> None:
        self.number = number
        self.slots = slots
        self.extra = extra
        self.ask = ask


class Names:
    """The names of one place, and their values.

    Attributes:
        environ: For `env`; replaced while an attempt is put together.
        keys: Values of the instance's `foreach` keys; ``None`` where there is no instance (`[vars]`, `[env]`).
    """

    __slots__ = ("_facts", "_tries", "_variables", "environ", "keys")

    def __init__(
        self,
        variables: Variables,
        facts: Facts,
        environ: Mapping[str, str | Unknown],
        keys: Mapping[str, Any] | None = None,
        tries: Tries | None = None,
    ) -> None:
        self._variables = variables
        self._facts = facts
        self.environ = environ
        self.keys = keys
        self._tries = tries

    def look_up(self, look_up: LookUp) -> Any:
        """Return the value of a look-up; ``UNKNOWN`` where it is not known yet, or its mistake has been reported.

        Raises:
            Mistake: There is no such name, here or at all.
        """
        first, *rest = look_up.parts
        if first not in RESERVED and self.keys is not None and first in self.keys:
            return descend(self.keys[first], rest, first)
        match first, rest:
            case "vars", [name, *below]:
                return descend(self._variables.var(name), below, f"vars.{name}")
            case "env", [name]:
                return self._environment(name)
            case "run", [name]:
                return self._run(name)
            case "tasks", [_, *_]:
                return self._attempted(look_up).ask(look_up)
            case "attempt", []:
                return self._attempted(look_up).number
            case "slots", []:
                return self._attempted(look_up).slots
            case "extra", []:
                return self._attempted(look_up).extra
        raise self._unknown(look_up)

    def _attempted(self, look_up: LookUp) -> Tries:
        if self._tries is None:
            where = "of its task" if self.keys is not None else "of the tasks"
            label = f"`{look_up.parts[0]}` can stand in `run`, `shell`, `args`, `env`, `cwd` and `stdin` {where}"
            raise Mistake(
                "unknown-name", f"`{look_up.name}` is not known here: nothing has been started yet", label=label
            )
        return self._tries

    def _environment(self, name: str) -> str | Unknown:
        value = self.environ.get(name)
        if value is None and self._facts.later:
            return UNKNOWN
        if value is None:
            raise Mistake(
                "unknown-name",
                f"the environment has no variable `{name}`",
                label=suggestion(name, self.environ) or "set it, or look up a source that has a default",
                notes=(f'help: [vars] may have an entry {{ env = "{name}", default = "..." }}',),
            )
        return value if isinstance(value, Unknown) else Loose(value)

    def _run(self, name: str) -> str:
        names = ("id", "folder", "root", "cwd")
        if name not in names:
            label = suggestion(name, names) or f"there are {listed(f'run.{each}' for each in names)}"
            raise Mistake("unknown-name", f"there is no `run.{name}`", label=label)
        return str(getattr(self._facts, name))

    def _unknown(self, look_up: LookUp) -> Mistake:
        first = look_up.parts[0]
        if first in RESERVED:
            forms = {"vars": "vars.NAME", "env": "env.NAME", "run": "run.id", "tasks": "tasks.NAME.result"}
            label = f"write `{{{{ {forms.get(first, first)} }}}}`"
            return Mistake("unknown-name", f"`{look_up.name}` is not a name that can be looked up", label=label)
        keys = list(self.keys or ())
        label = suggestion(first, [*keys, *RESERVED])
        if not label and first in self._variables.names:
            label = f"did you mean `vars.{first}`?"
        if not label and first in self.environ:
            label = f"did you mean `env.{first}`?"
        known = f"the task's `foreach` has {listed(keys)}" if keys else "the task has no `foreach`"
        return Mistake(
            "unknown-name",
            f"there is no `{first}` to look up",
            label=label or (known if self.keys is not None else f"there are {listed(('vars', 'env', 'run'))}"),
        )


def descend(value: Any, parts: Sequence[str], name: str) -> Any:
    """Go into a value by the parts of a name: attributes of paths, keys of tables, indexes of lists.

    Raises:
        Mistake: It has no such part.
    """
    for part in parts:
        if value is UNKNOWN:
            return UNKNOWN
        value = _below(value, part, name)
        name = f"{name}.{part}"
    return value


def _below(value: Any, part: str, name: str) -> Any:
    if isinstance(value, FilePath):
        if part not in ATTRIBUTES:
            label = suggestion(part, ATTRIBUTES) or f"a path has {listed(ATTRIBUTES)}"
            raise Mistake("unknown-name", f"`{name}` is a path and has no `.{part}`", label=label)
        found = getattr(value, part)
        if found is None:
            raise Mistake("unknown-name", f"`{name}` has no `.match`: no wildcard of a glob found it")
        return found
    if isinstance(value, dict):
        if part not in value:
            label = suggestion(part, value) or (f"it has {listed(value)}" if value else "it is empty")
            raise Mistake("unknown-name", f"`{name}` has no `{part}`", label=label)
        return value[part]
    if isinstance(value, (list, tuple)):
        if not part.isdecimal() or int(part) >= len(value):
            raise Mistake("unknown-name", f"`{name}` has no `.{part}`", label=f"it is a list of {len(value)}")
        return value[int(part)]
    label = "only paths, of a `glob` or a parameter of type `path`, have it" if part in ATTRIBUTES else ""
    raise Mistake("unknown-name", f"`{name}` is {describe(value)} and has no `.{part}`", label=label)
