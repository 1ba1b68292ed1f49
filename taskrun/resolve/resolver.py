"""The face of the room: one ``Resolver`` per run, from the request to selection, checks and attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.config.project import Project, TaskSpec, When
from taskrun.model import Attempt, Diagnostic, UsageError
from taskrun.resolve import again
from taskrun.resolve.attempts import Attempts, fail, is_plain
from taskrun.resolve.environment import Environments
from taskrun.resolve.instances import kind
from taskrun.resolve.lookups import strings
from taskrun.resolve.mistakes import Mistake, Mistakes, Place, diagnose, listed
from taskrun.resolve.names import Facts, Names, Tries
from taskrun.resolve.rendering import Rendering
from taskrun.resolve.results import Results
from taskrun.resolve.select import Selector
from taskrun.resolve.sources import Sources
from taskrun.resolve.values import UNKNOWN, CallSite, Instance, LookUpError, Request, Selection, TaskView, Unknown
from taskrun.resolve.when import ruled_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_NOTHING: dict[str, str] = {}


class Resolver:
    """Resolves one request against one project.

    Args:
        read_shell: Runs the command line of a ``{ shell }`` source with an environment, in the file's folder, and
            returns its stdout; raises ``ShellFailed``. Not called where ``request.dry`` is set.
        lenient: A required parameter without a value is unknown, and no mistake (``check_all``).
    """

    def __init__(
        self,
        project: Project,
        request: Request,
        read_shell: Callable[[str, dict[str, str]], str],
        *,
        lenient: bool = False,
    ) -> None:
        self._project = project
        self._request = request
        self._read_shell = read_shell
        self._facts = Facts(
            id=request.run_id, folder=request.run_folder, root=project.root, cwd=request.cwd, later=request.later
        )
        self._mistakes = Mistakes(project.source)
        self._sources = Sources(project, request, read_shell, self._mistakes, self._of_file, lenient=lenient)
        self._environments = Environments(project, request, self._mistakes, self._of_file)
        self._attempts = Attempts(project, request, self._environments)
        self._selector = Selector(project, request, self._sources, self._mistakes)
        self._results = Results(project, self._selector, {})
        self._arguments: dict[str, dict[str, str]] = {}  # KEY=VALUE accepted as arguments, by instance
        self._parameters: Mapping[str, tuple[str, ...]] = {}  # by target, once they have been inspected

    def recorded_in(self, folder: str) -> None:
        """The run's folder, once it is there: it may be another one than the request says."""
        self._facts = msgspec.structs.replace(self._facts, folder=folder)

    def select(self) -> Selection:
        """Work out the selection, and check all of it that does not depend on results.

        Raises:
            UsageError: The command line is wrong.
            ProjectError: The file is wrong; all mistakes at once.
            NothingMatched: A glob or a pick matches nothing.
        """
        selection = self._selector.select()
        self._check(selection)
        self._mistakes.raise_if_any()
        return selection

    def remarks(self) -> tuple[str, ...]:
        """Return what is no mistake in the selection, and yet seldom meant, one sentence each."""
        return tuple(
            f"`{spec.name}` has no instances: no file matches {listed(patterns)}"
            for spec, patterns in self._selector.unmatched()
        )

    def check_all(self) -> list[Diagnostic]:
        """Return the mistakes in the look-ups and sources of every task."""
        request = msgspec.structs.replace(self._request, targets=(), assignments={}, extra=None)
        every = Resolver(self._project, request, self._read_shell, lenient=True)
        return every._check_every_task()

    def _check_every_task(self) -> list[Diagnostic]:
        for name in self._project.vars:
            self._sources.var(name)
        self._check(self._selector.select_all())
        return self._mistakes.diagnostics

    # --- while it runs

    def ruled_out(self, instance: Instance) -> str | None:
        """Say why `when` rules an instance out, as a clause; ``None``: it does not."""
        tables = instance.spec.when
        if not tables:
            return None
        environ = self._environments.base(interactive=False)
        done = self._when(instance, fail)
        return ruled_out(done, environ, self._project.root)

    def attempt(self, instance: Instance, number: int, views: Callable[[str], TaskView], slots: int) -> Attempt:
        """Put an attempt together.

        Args:
            instance: One with a command, not a group.
            number: From 1.
            views: States and results of instances by name.
            slots: That the attempt holds.

        Raises:
            LookUpError: A look-up depends on a result that is not there.
        """
        made = self._build_plain(instance, number, slots)
        if made is not None:
            return made
        rendering = self._of_attempt(instance, number, slots, views, fail)
        made = self._build(instance, number, slots, rendering)
        if made is None:
            raise LookUpError("something that it looks up is not known")
        return made

    def preview(self, instance: Instance, slots: int) -> Attempt:
        """Return the first attempt as far as it is known: what depends on results stands as it is written."""
        made = self._build_plain(instance, 1, slots)
        if made is not None:
            return made
        tries = Tries(1, slots, self._extra(instance.spec) or (), lambda look_up: look_up.text)
        environ = self._request.environ
        rendering = Rendering(Names(self._sources, self._facts, environ, instance.keys, tries), fail)
        made = self._build(instance, 1, slots, rendering)
        assert made is not None
        return made

    def again(self, instance: Instance, selection: Selection) -> list[str]:
        """Return what to write behind ``taskrun run`` to have one instance run again."""
        open_keys = {
            key
            for site in (self.python_calls(selection) if instance.keys and self._parameters else ())
            for key in instance.keys
            if _leaves_open(site, key, self._parameters.get(site.target, ()))
        }
        words = again.words(
            instance,
            selection,
            self._request.assignments,
            variables=self._project.vars,
            arguments=self._arguments,
            ambiguous={*self._project.vars, *open_keys},
        )
        extra = self._extra(instance.spec)
        return words if extra is None else [*words, "--", *extra]

    # --- Python calls

    def common_environment(self) -> dict[str, str]:
        """The environment of a task without tables of its own, but for what says which task it is."""
        return dict(self._environments.base(interactive=False))

    def pool_calls(self, selection: Selection) -> list[CallSite]:
        """Return what the workers of the selection's pools import and call before any task."""
        names = {instance.spec.pool for instance in selection.instances.values()}
        found = []
        for name, pool in self._project.pools.items():
            if name in names:
                made = CallSite(instance=f"pool {name}", task="", target="", pool=name)
                places: list[tuple[Place, str]] = [(("preload", n), module) for n, module in enumerate(pool.preload)]
                if pool.setup is not None:
                    places.append((("setup",), pool.setup))
                for place, target in places:
                    found.append(msgspec.structs.replace(made, target=target, place=("pools", name, *place)))
        return found

    def python_calls(self, selection: Selection) -> list[CallSite]:
        """Return the Python calls of a selection as far as they are known before anything runs."""
        sites = []
        for instance in selection.instances.values():
            if instance.spec.python is not None and not instance.is_group:
                rendering = self._of_attempt(instance, 1, 1, None, _ignore)
                arguments = self._arguments.get(instance.name, _NOTHING)
                sites.append(self._attempts.call_site(instance, rendering, arguments))
        return sites

    def accept_open_keys(self, selection: Selection, parameters: Mapping[str, tuple[str, ...]]) -> None:
        """Hand ``KEY=VALUE`` to the Python calls that have such a parameter and leave it open.

        Args:
            selection: What ``select`` returned.
            parameters: Names of parameters by target, in order.

        Raises:
            UsageError: Nothing knows a KEY, or two things do.
        """
        self._arguments.clear()
        self._parameters = parameters
        if not self._request.assignments:
            return
        sites = self.python_calls(selection)
        problems: list[str] = []
        for key, value in self._request.assignments.items():
            takers = [site for site in sites if _leaves_open(site, key, parameters.get(site.target, ()))]
            if key in selection.open_keys:
                for site in takers:
                    self._arguments.setdefault(site.instance, {})[key] = value
                if not takers:
                    problems.append(self._not_open(key, selection, sites, parameters))
            elif takers:
                other = "an entry of [vars]" if key in self._project.vars else "a `foreach` key"
                tasks = listed(dict.fromkeys(site.task for site in takers))
                problems.append(f"`{key}` is both {other} and an open argument of {tasks}: which is meant?")
        if problems:
            raise UsageError("\n".join(problems))

    def call_diagnostic(
        self, site: CallSite, code: str, message: str, *, argument: str | None = None, label: str = ""
    ) -> Diagnostic:
        """Return a mistake of a Python call, found by the inspection, at its place in the file.

        Args:
            site: The call.
            code: Of the diagnostic.
            message: What is wrong with it.
            label: What to do.
            argument: The argument (name, or position as text) that it is about; ``None``: the target.
        """
        place: Place = site.place or ("tasks", site.task, "python")
        if argument is not None and site.place:
            argument = None
        if argument is not None:
            place = ("tasks", site.task, "args", int(argument) if argument.isdecimal() else argument)
            if self._project.source.span(place) is None:
                place = ("tasks", site.task, "python")
        return diagnose(self._project.source, Mistake(code, message, label=label), place)

    def _not_open(
        self, key: str, selection: Selection, sites: list[CallSite], parameters: Mapping[str, tuple[str, ...]]
    ) -> str:
        fixed = [site.task for site in sites if key in parameters.get(site.target, ())]
        if fixed:
            return f"`{key}` is fixed by the `args` of {listed(dict.fromkeys(fixed))}"
        specs = {instance.spec.name: instance.spec for instance in selection.instances.values()}
        names = dict.fromkeys(name for site in sites for name in parameters.get(site.target, ()))
        return self._selector.unknown_key(key, specs.values(), names)

    # --- checks

    def _check(self, selection: Selection) -> None:
        """Resolve everything that does not depend on results; the mistakes go to the collector."""
        self._results = Results(self._project, self._selector, selection.instances)
        self._environments.base(interactive=False)
        for instance in _representatives(selection.instances.values()):
            self._check_instance(instance)
        for spec in self._selector.unexpanded():
            keys = dict.fromkeys(spec.foreach, UNKNOWN)
            self._check_instance(Instance(spec.name, spec, keys, (), (), 0, False))

    def _check_instance(self, instance: Instance) -> None:
        if instance.spec.when:
            self._when(instance, self._mistakes.add)
        if instance.spec.is_group:
            return
        slots = instance.spec.slots or self._request.jobs
        self._build(instance, 1, slots, self._of_attempt(instance, 1, slots, None, self._mistakes.add))

    def _when(self, instance: Instance, report: Callable[[Mistake, Place], None]) -> list[When]:
        environ = self._environments.base(interactive=False)
        rendering = Rendering(Names(self._sources, self._facts, environ, instance.keys), report)
        tables: list[When] = []
        for index, table in enumerate(instance.spec.when):
            place = ("tasks", instance.spec.name, "when", index)
            env = [rendering.text(each, (*place, "env", position)) for position, each in enumerate(table.env)]
            exists = [rendering.text(each, (*place, "exists", position)) for position, each in enumerate(table.exists)]
            known_env = tuple(each for each in env if not isinstance(each, Unknown))
            known_exists = tuple(each for each in exists if not isinstance(each, Unknown))
            tables.append(When(platform=table.platform, env=known_env, exists=known_exists))
        return tables

    # --- renderings

    def _of_file(self) -> Rendering:
        return Rendering(Names(self._sources, self._facts, self._request.environ), self._mistakes.add)

    def _of_attempt(
        self,
        instance: Instance,
        number: int,
        slots: int,
        views: Callable[[str], TaskView] | None,
        report: Callable[[Mistake, Place], None],
    ) -> Rendering:
        tries = Tries(number, slots, self._extra(instance.spec) or (), self._results.asker(instance, views))
        environ = self._request.environ
        return Rendering(Names(self._sources, self._facts, environ, instance.keys, tries), report)

    def _build_plain(self, instance: Instance, number: int, slots: int) -> Attempt | None:
        if self._extra(instance.spec):
            return None
        return self._attempts.build_plain(instance, number, slots)

    def _build(self, instance: Instance, number: int, slots: int, rendering: Rendering) -> Attempt | None:
        arguments = self._arguments.get(instance.name, _NOTHING)
        return self._attempts.build(
            instance, number, slots, rendering, extra=self._extra(instance.spec), arguments=arguments
        )

    def _extra(self, spec: TaskSpec) -> tuple[str, ...] | None:
        return self._request.extra if spec.name == self._selector.extra_task else None


def _ignore(_mistake: Mistake, _place: Place) -> None:
    """Report nothing: what is wrong has been reported by the check."""


def _leaves_open(site: CallSite, key: str, parameters: tuple[str, ...]) -> bool:
    given = {*site.kwargs, *site.unknown}
    return key in parameters and key not in given and parameters.index(key) >= len(site.args)


def _representatives(instances: Iterable[Instance]) -> Iterator[Instance]:
    """Yield instances such that every mistake that does not depend on results shows in one of them.

    Mistakes depend on the kinds of the `foreach` values and not on the values, but for what asks other tasks.
    """
    seen: set[object] = set()
    asking: dict[str, bool] = {}
    for instance in instances:
        spec = instance.spec
        if is_plain(spec) or (spec.foreach and not instance.keys):
            continue
        if instance.keys:
            if spec.name not in asking:
                asking[spec.name] = _asks(spec)
            kinds = (spec.name, *(kind(value) for value in instance.keys.values()))
            if kinds in seen and not asking[spec.name]:
                continue
            seen.add(kinds)
        yield instance


def _asks(spec: TaskSpec) -> bool:
    fields: tuple[Any, ...] = (spec.run, spec.shell, spec.args, spec.env, spec.cwd, spec.stdin)
    return any("tasks." in text for field in fields for text, _ in strings(field, ()))
