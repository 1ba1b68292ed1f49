"""The Python side of a run: which interpreter its workers have, and the inspection of every call before it begins."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import trio

from taskrun.config.wording import printed
from taskrun.link import HostLost, SpawnError, TemplateSpec
from taskrun.model import Diagnostic, ProjectError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from taskrun.config import Project
    from taskrun.execute.inspection import Inspection, MakeDiagnostic
    from taskrun.link import Link
    from taskrun.resolve import CallSite, Selection
    from taskrun.run.setting import Setting


def template_of(setting: Setting, pool: str = "") -> TemplateSpec:
    """Where the Python calls of a run are forked from, or the workers of this pool."""
    return template_in(setting.prepared.project, setting.environ, pool)


def template_in(project: Project, environ: dict[str, str], pool: str = "") -> TemplateSpec:
    """Where Python calls of a project are forked from, or the workers of one of its pools."""
    return TemplateSpec(
        python=interpreter(project, environ),
        sys_path=(project.root,),
        cwd=project.root,
        env=environ,
        name=pool,
    )


def interpreter(project: Project, environ: Mapping[str, str]) -> str | None:
    """The interpreter for Python tasks; ``None`` is taskrun's own.

    `[run] python` if it is set; else the active virtual environment's or that of ``.venv`` beside the file, if they
    have taskrun-cli installed; else taskrun's own.
    """
    if project.run.python is not None:
        path = os.path.join(project.root, os.path.expanduser(project.run.python))
        return None if _is_own(path) else path
    for folder in (environ.get("VIRTUAL_ENV"), os.path.join(project.root, ".venv")):
        if folder and os.path.isdir(folder) and _has_taskrun(folder):
            path = os.path.join(folder, "bin", "python")
            return None if _is_own(path) else path
    return None


def _has_taskrun(folder: str) -> bool:
    """Whether taskrun-cli is installed in a virtual environment."""
    import glob

    return bool(glob.glob(os.path.join(glob.escape(folder), "lib/python3.*/site-packages/taskrun_cli-*.dist-info")))


def _is_own(path: str) -> bool:
    """Whether ``path`` starts the interpreter, with the packages, that we run under."""
    try:
        # An environment's python is a link: what matters is the folder that it stands in.
        return os.path.samefile(os.path.dirname(os.path.abspath(path)), os.path.dirname(sys.executable))
    except OSError:
        return False


_MOST_SAID = 2000  # bytes of what imports printed that are worth showing
_NOT_INSPECTED = "Python tasks cannot be inspected"


def open_scratch() -> int:
    """A descriptor for what templates print while they import; it belongs to no folder and leaves none."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("taskrun-templates", os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


async def inspect_calls(link: Link, setting: Setting, selection: Selection, said: int) -> tuple[str, ...]:
    """Checks every Python call of the plan, and gives open ``KEY=VALUE`` to those that take them.

    Args:
        link: To the run's host.
        setting: The run's.
        selection: What will run.
        said: Where the link's templates print to, see ``open_scratch``.

    Returns:
        Warnings.

    Raises:
        ProjectError: A target cannot be imported or called, or arguments do not fit; all mistakes at once.
        UsageError: A KEY that nothing knows.
    """
    resolver = setting.prepared.resolver
    sites = resolver.python_calls(selection)
    if not sites:
        return ()
    sites += resolver.pool_calls(selection)
    found = await inspect_sites(link, setting, sites, selection.open_keys)
    if found.diagnostics:
        raise ProjectError(found.diagnostics)
    resolver.accept_open_keys(selection, found.parameters)
    return (*found.warnings, *printed("imports", os.pread(said, _MOST_SAID, 0)))


async def inspect_sites(
    link: Link, setting: Setting, sites: Sequence[CallSite], open_keys: dict[str, str]
) -> Inspection:
    """Asks templates about calls, each about those that will be made in its forks.

    Raises:
        ProjectError: The template cannot be had, or does not answer.
        ResourceError: The machine has no room for it, or somebody killed its supervisor.
    """
    diagnostic = setting.prepared.resolver.call_diagnostic
    return await inspect_in_templates(link, lambda pool: template_of(setting, pool), sites, open_keys, diagnostic)


async def inspect_in_templates(
    link: Link,
    template: Callable[[str], TemplateSpec],
    sites: Sequence[CallSite],
    open_keys: dict[str, str],
    diagnostic: MakeDiagnostic,
) -> Inspection:
    """As ``inspect_sites``; ``template`` says, by the pool, where calls will be forked."""
    from taskrun.execute.inspection import Inspection, inspect

    found = Inspection()
    try:
        for pool in dict.fromkeys(site.pool for site in sites):
            own = [site for site in sites if site.pool == pool]
            found = found.joined(await inspect(link, template(pool), own, open_keys, diagnostic))
    except HostLost as lost:
        raise ResourceError(f"{_NOT_INSPECTED}: the process supervising them was lost ({lost})") from None
    except (SpawnError, trio.TooSlowError) as error:
        why = "their template does not answer" if isinstance(error, trio.TooSlowError) else str(error)
        message = f"{_NOT_INSPECTED}: {why}"
        if isinstance(error, SpawnError) and error.failure.kind == "resources":
            raise ResourceError(message) from None
        raise ProjectError((Diagnostic(code="python", message=message),)) from None
    return found
