"""What `taskrun check` looks at beyond the file itself: look-ups, sources, Python targets and their arguments.

No task is started. Command lines of sources are run and modules of Python tasks imported, both below a host as in a
run, which leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from taskrun.model import Diagnostic, ProjectError, TaskrunError, UsageError, Value
from taskrun.resolve import Resolver
from taskrun.run.folders import missing_folders
from taskrun.run.prepare import prepare
from taskrun.run.setting import Setting, ShellReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskrun.config import Project, TaskSpec
    from taskrun.link import Link
    from taskrun.resolve import Selection
    from taskrun.run.options import RunOptions


class Checked(Value, frozen=True, kw_only=True):
    """What a check found.

    Attributes:
        tasks: That were looked at, in the order of the file.
        diagnostics: Errors and warnings.
    """

    project: Project
    tasks: tuple[TaskSpec, ...]
    diagnostics: tuple[Diagnostic, ...] = ()


def check(options: RunOptions, environ: Mapping[str, str]) -> Checked:
    """Checks the tasks named with all that they need, else every task.

    Raises:
        UsageError: There is no file, or no task of a name.
        NothingMatched: A glob or a pick matches nothing.
        ProjectError: The file has mistakes.
    """
    this = _Check(options, environ)
    if not this.starts_processes:
        return this.look()
    import trio

    result = trio.run(this.look_below_a_host)
    if isinstance(result, TaskrunError):
        raise result
    return result


class _Check:
    """One check. Mistakes of the file and its look-ups end it, since calls cannot be put together from them."""

    def __init__(self, options: RunOptions, environ: Mapping[str, str]) -> None:
        self._shell = ShellReader()
        prepared = prepare(options, environ=environ, read_shell=_Once(self._shell))
        project = prepared.project
        request = msgspec.structs.replace(prepared.request, targets=options.targets or tuple(project.tasks))
        # A parameter that has to be given on the command line is no mistake of the file.
        resolver = Resolver(project, request, _Once(self._shell), lenient=True)
        self._prepared = msgspec.structs.replace(prepared, request=request, resolver=resolver)
        self._options = options
        self._environ = dict(environ)

    @property
    def starts_processes(self) -> bool:
        """Whether there is anything to ask a process."""
        tasks = self._prepared.project.tasks.values()
        return self._prepared.reads_shell or any(task.python is not None for task in tasks)

    def look(self) -> Checked:
        """The look-ups and sources."""
        return self._checked(self._select(), ())

    async def look_below_a_host(self) -> Checked | TaskrunError:
        """The look-ups and sources, then the Python calls. Errors are returned, since nurseries would wrap them."""
        import trio

        from taskrun.execute.shell_source import read_shell
        from taskrun.link import open_link

        root = self._prepared.project.root
        async with open_link(None) as link:

            def read(command: str, env: dict[str, str]) -> str:
                return trio.from_thread.run(read_shell, link, command, env, root)

            self._shell.read = read
            try:
                selection = await trio.to_thread.run_sync(self._select)
                return self._checked(selection, await self._inspect(link, selection))
            except TaskrunError as error:
                return error

    def _select(self) -> Selection:
        resolver = self._prepared.resolver
        if not self._options.targets:
            mistakes = resolver.check_all()  # of variables that no task uses too
            if mistakes:
                raise ProjectError(tuple(mistakes))
            self._check_recurring()
        return resolver.select()

    def _check_recurring(self) -> None:
        """What runs by itself is given nothing on a command line.

        Raises:
            ProjectError: Some task needs that.
        """
        project = self._prepared.project
        found = []
        for name, task in project.tasks.items():
            key = "every" if task.every is not None else "cron"
            if task.every is None and task.cron is None:
                continue
            request = msgspec.structs.replace(self._prepared.request, targets=(name,), assignments={}, later=True)
            try:
                Resolver(project, request, _Once(self._shell)).select()
            except UsageError as error:
                for line in str(error).splitlines():
                    message = f"task `{name}` recurs, and nobody gives it anything: {line.partition(':')[0]}"
                    label = "a `default` in [vars] would do"
                    place = ("tasks", name, key)
                    found.append(project.source.diagnostic("missing-key", message, path=place, part="key", label=label))
        if found:
            raise ProjectError(tuple(found))

    async def _inspect(self, link: Link, selection: Selection) -> tuple[Diagnostic, ...]:
        from taskrun.run.python import inspect_sites

        sites = self._prepared.resolver.python_calls(selection)
        if not sites:
            return ()
        sites += self._prepared.resolver.pool_calls(selection)
        found = await inspect_sites(link, self._setting(), sites, {})
        warnings = (Diagnostic(code="python-module", message=text, level="warning") for text in found.warnings)
        return (*found.diagnostics, *warnings)

    def _setting(self) -> Setting:
        return Setting(
            options=self._options,
            run_id="",
            environ=self._environ,
            prepared=self._prepared,
            selection=None,
            shell=self._shell,
        )

    def _checked(self, selection: Selection, diagnostics: tuple[Diagnostic, ...]) -> Checked:
        tasks = {instance.spec.name: instance.spec for instance in selection.instances.values()}
        project = self._prepared.project
        # Another task, or what is done before the run, may make them by then: no mistake yet.
        missing = missing_folders(project, selection, level="warning")
        return Checked(project=project, tasks=tuple(tasks.values()), diagnostics=(*diagnostics, *missing))


class _Once:
    """Reads each command line once, though look-ups are resolved twice."""

    def __init__(self, read: ShellReader) -> None:
        self._read = read
        self._known: dict[str, str] = {}

    def __call__(self, command: str, env: dict[str, str]) -> str:
        """What a command line writes to stdout."""
        if command not in self._known:
            self._known[command] = self._read(command, env)
        return self._known[command]
