"""Asks the functions of Python tasks what they take, before jobs for them are stored. No task is started.

Their modules are imported below a host, in processes of their own, as ``taskrun run`` and ``taskrun check`` do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import trio

from taskrun.config.wording import printed
from taskrun.link import open_link
from taskrun.model import Diagnostic, ProjectError, TaskrunError, UsageError
from taskrun.run.python import inspect_in_templates, open_scratch, template_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from taskrun.config import Project
    from taskrun.execute.inspection import Inspection
    from taskrun.jobqueue.enqueueing import Checked
    from taskrun.link import Link, TemplateSpec
    from taskrun.resolve import CallSite

_MOST_SAID = 2000  # bytes of what imports printed that are worth showing


def check_calls(
    project: Project, environ: Mapping[str, str], jobs: Mapping[int, Checked], whose: Callable[[int], str]
) -> tuple[str, ...]:
    """Checks what jobs give to Python functions against their type hints.

    Args:
        project: The jobs' file.
        environ: For the interpreter and its modules.
        jobs: Those that call Python, by their index.
        whose: Before what is said of a job, by its index: ``"line 3: "``.

    Returns:
        Warnings.

    Raises:
        ProjectError: A function cannot be called, or not with these arguments; all mistakes at once.
        UsageError: A KEY that nothing knows.
        ResourceError: The machine has no room for it.
    """
    result = trio.run(_Asking(project, dict(environ), list(jobs.items()), whose).run)
    if isinstance(result, TaskrunError):
        raise result
    return result


class _Asking:
    """One inspection of many calls: first what the functions take, then whether what they are given fits."""

    def __init__(
        self,
        project: Project,
        environ: dict[str, str],
        jobs: Sequence[tuple[int, Checked]],
        whose: Callable[[int], str],
    ) -> None:
        self._project = project
        self._environ = environ
        self._jobs = jobs
        self._whose = whose
        self._owners: dict[int, tuple[int, Checked]] = {}  # by the identity of a call site

    async def run(self) -> tuple[str, ...] | TaskrunError:
        """Warnings, or what is wrong: returned, since nurseries would wrap it."""
        said = open_scratch()
        try:
            async with open_link(None, templates_log=said) as link:
                try:
                    warnings = await self._ask(link)
                    return (*warnings, *printed("imports", os.pread(said, _MOST_SAID, 0)))
                except TaskrunError as error:
                    return error
        finally:
            os.close(said)

    async def _ask(self, link: Link) -> tuple[str, ...]:
        has_open = any(job.selection.open_keys for _, job in self._jobs)
        first = await self._inspect(link, self._sites())
        wrong = [each for each in first.diagnostics if not has_open or each.code in {"python-import", "python-target"}]
        if wrong:
            raise ProjectError(tuple(wrong))
        problems = []
        for index, job in self._jobs:
            try:
                job.resolver.accept_open_keys(job.selection, first.parameters)
            except UsageError as error:
                problems += [f"{self._whose(index)}{line}" for line in str(error).splitlines()]
        if problems:
            raise UsageError("\n".join(problems))
        if has_open:
            second = await self._inspect(link, self._sites())
            if second.diagnostics:
                raise ProjectError(second.diagnostics)
        return first.warnings

    def _sites(self) -> list[CallSite]:
        """The calls of all jobs, those that are alike once."""
        self._owners.clear()
        found: dict[bytes, CallSite] = {}
        for index, job in self._jobs:
            sites = job.resolver.python_calls(job.selection)
            for site in (*sites, *job.resolver.pool_calls(job.selection)):
                key = msgspec.json.encode(site, enc_hook=str)
                if key not in found:
                    found[key] = site
                    self._owners[id(site)] = (index, job)
        return list(found.values())

    async def _inspect(self, link: Link, sites: Sequence[CallSite]) -> Inspection:
        def template(pool: str) -> TemplateSpec:
            return template_in(self._project, self._environ, pool)

        return await inspect_in_templates(link, template, sites, {}, self._diagnostic)

    def _diagnostic(
        self, site: CallSite, code: str, message: str, *, argument: str | None = None, label: str = ""
    ) -> Diagnostic:
        index, job = self._owners[id(site)]
        made = job.resolver.call_diagnostic(site, code, self._whose(index) + message, argument=argument, label=label)
        if argument not in job.selection.open_keys:
            return made
        note = f"note: from the command line: {argument}={job.selection.open_keys[argument]}"
        return msgspec.structs.replace(made, notes=(*made.notes, note))
