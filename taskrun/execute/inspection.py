"""Before anything starts: imports the Python targets of a plan in a template, and checks every call's arguments.

User code runs in the template's probes only, never here. What is found becomes diagnostics at the places of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from taskrun.model import Diagnostic, Value
from taskrun.worker.wire import CallProblem, InspectReply, InspectRequest, Mistake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.link import Link, TemplateSpec
    from taskrun.resolve import CallSite
    from taskrun.worker.wire import CallSite as WireSite

IMPORT_TIMEOUT = 60.0
"""Seconds for the import of one module."""
_MARGIN = 10.0  # seconds


class MakeDiagnostic(Protocol):
    """``Resolver.call_diagnostic``."""

    def __call__(
        self, site: CallSite, code: str, message: str, *, argument: str | None = None, label: str = ""
    ) -> Diagnostic:
        """A mistake of a call at its place in the file."""
        ...


class Inspection(Value, frozen=True, kw_only=True):
    """What an inspection found.

    Attributes:
        diagnostics: Errors, at most one per target that cannot be called, one per argument that does not fit.
        parameters: Names of the parameters of each target that could be imported.
        warnings: Modules that will be imported in each worker, and why.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    parameters: dict[str, tuple[str, ...]] = {}
    warnings: tuple[str, ...] = ()

    def joined(self, other: Inspection) -> Inspection:
        """This one and another."""
        return Inspection(
            diagnostics=self.diagnostics + other.diagnostics,
            parameters=self.parameters | other.parameters,
            warnings=tuple(dict.fromkeys(self.warnings + other.warnings)),
        )


async def inspect(
    link: Link,
    template: TemplateSpec,
    sites: Sequence[CallSite],
    open_keys: dict[str, str],
    diagnostic: MakeDiagnostic,
) -> Inspection:
    """Asks the template about every call.

    Args:
        link: To the run's host.
        template: Where the calls will be forked from.
        sites: The calls as far as they are known.
        open_keys: ``KEY=VALUE`` that may be arguments.
        diagnostic: Puts a mistake of a call at its place in the file.

    Raises:
        HostLost: The supervising process died.
        SpawnError: There is no such interpreter, or it has no taskrun.
        trio.TooSlowError: The template does not answer.
    """
    calls = tuple(_wire_site(number, site) for number, site in enumerate(sites))
    request = InspectRequest(calls=calls, open_keys=open_keys, import_timeout=IMPORT_TIMEOUT)
    modules = len({call.target.partition(":")[0] for call in calls})
    # The probe itself bounds each import; this is for a template that does not answer at all.
    answer = await link.inspect(template, msgspec.msgpack.encode(request), IMPORT_TIMEOUT * modules + _MARGIN)
    reply = msgspec.msgpack.decode(answer, type=InspectReply)
    return Inspection(
        diagnostics=_diagnostics(reply, sites, open_keys, diagnostic),
        parameters={
            target: tuple(parameter.name for parameter in report.parameters)
            for target, report in reply.targets.items()
            if report.error is None
        },
        warnings=tuple(
            f"module `{name}` {report.unclean}: it is imported anew for each task"
            for name, report in reply.modules.items()
            if report.unclean
        ),
    )


def _wire_site(number: int, site: CallSite) -> WireSite:
    from taskrun.worker.wire import CallSite as WireSite

    return WireSite(
        id=number, target=site.target, args=site.args, kwargs=site.kwargs, unknown=site.unknown, lax=site.lax
    )


def _diagnostics(
    reply: InspectReply, sites: Sequence[CallSite], open_keys: dict[str, str], diagnostic: MakeDiagnostic
) -> tuple[Diagnostic, ...]:
    found: list[Diagnostic] = []
    told: set[tuple[str, str]] = set()  # a foreach repeats its mistakes
    for site in sites:
        module = site.target.partition(":")[0]
        report = reply.modules.get(module)
        target = reply.targets.get(site.target)
        mistake, code = None, ""
        if report is not None and report.error is not None:
            mistake, code = report.error, "import"
        elif target is not None and target.error is not None:
            mistake, code = target.error, "target"
        if mistake is not None and (site.target, site.whose) not in told:
            told.add((site.target, site.whose))
            found.append(_of_target(site, mistake, code, diagnostic))
    seen: set[tuple[str, str, str]] = set()
    for problem in reply.problems:
        site = sites[problem.site]
        key = (site.whose, problem.argument, problem.message)
        if key not in seen:
            seen.add(key)
            made = _of_argument(site, problem, reply, diagnostic)
            if problem.argument in open_keys and problem.argument not in site.kwargs:
                note = f"note: from the command line: {problem.argument}={open_keys[problem.argument]}"
                made = msgspec.structs.replace(made, notes=(*made.notes, note))
            found.append(made)
    return tuple(found)


def _of_target(site: CallSite, mistake: Mistake, code: str, diagnostic: MakeDiagnostic) -> Diagnostic:
    notes = []
    if mistake.file and mistake.line:
        where = f"{mistake.file}:{mistake.line}" + (f":{mistake.column}" if mistake.column else "")
        notes.append(f"at {where}" + (f": {mistake.text.strip()}" if mistake.text else ""))
    verb = "called" if ":" in site.target else "imported"
    message = f"`{site.target}` of {site.whose} cannot be {verb}: {mistake.message}"
    found = diagnostic(site, f"python-{code}", message, label=mistake.hint)
    return msgspec.structs.replace(found, notes=(*notes, *found.notes))


def _of_argument(site: CallSite, problem: CallProblem, reply: InspectReply, diagnostic: MakeDiagnostic) -> Diagnostic:
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.path)
    name = f"argument `{problem.argument}{inside}` of " if problem.argument else ""
    notes = []
    target = reply.targets.get(site.target)
    if target is not None and target.parameters and problem.code != "wrong-type":
        listed = ", ".join(p.name if p.required else f"[{p.name}]" for p in target.parameters)
        notes.append(f"`{site.target}` takes {listed}")
    message = f"{name}`{site.target}` in {site.whose}: {problem.message}"
    found = diagnostic(site, problem.code, message, argument=problem.argument or None, label=problem.hint)
    return msgspec.structs.replace(found, notes=(*notes, *found.notes))
