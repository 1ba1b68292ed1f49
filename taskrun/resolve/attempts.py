"""Puts attempts together: command, folder, environment, clocks. Decides nothing about when they run."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from taskrun.model import Attempt, BinaryCommand, Command, PythonCall
from taskrun.resolve.lookups import has_look_up
from taskrun.resolve.mistakes import Mistake, Place
from taskrun.resolve.paths import Folder
from taskrun.resolve.rendering import Rendering, as_argument, holds_unknown
from taskrun.resolve.values import UNKNOWN, CallSite, Instance, LookUpError, Request, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskrun.config.project import Project, TaskSpec
    from taskrun.resolve.environment import Environments

_READS_ARGUMENTS = r"\$[@*#1-9{]|\bgetopts\b|\bshift\b|\bfor\s+\w+\s*(?:;|\n|do\b)"


def is_plain(spec: TaskSpec) -> bool:
    """Whether nothing of a task has to be looked up or read: the strings of the file are the attempt."""
    if spec.env or spec.dotenv or spec.args or spec.stdin is not None or spec.cwd != "." or spec.when:
        return False
    text = "\n".join(spec.run) if spec.run is not None else spec.shell
    return text is None or "{{" not in text


def reads_arguments(shell: str) -> bool:
    """Whether a command line seems to use its positional parameters."""
    return has_look_up(shell, "extra") or re.search(_READS_ARGUMENTS, shell) is not None


class Attempts:
    """Builds attempts, and the call sites that the inspection looks at."""

    def __init__(self, project: Project, request: Request, environments: Environments) -> None:
        self._project = project
        self._request = request
        self._environments = environments
        self._folders: dict[str, Folder] = {}
        self._root = self._folder(".")

    def build(
        self,
        instance: Instance,
        number: int,
        slots: int,
        rendering: Rendering,
        *,
        extra: tuple[str, ...] | None,
        arguments: Mapping[str, str],
    ) -> Attempt | None:
        """Put an attempt together.

        Args:
            instance: One with a command.
            number: From 1.
            slots: That the attempt holds.
            rendering: Of this attempt.
            extra: For the one task that was named.
            arguments: ``KEY=VALUE`` that are arguments of this Python call.

        Returns:
            ``None`` where something of it is not known, which ``rendering`` has reported if it is a mistake.
        """
        spec = instance.spec
        folder = self._cwd(spec, rendering)
        base, names = self._environments.of_task(spec, rendering)
        made = self._command(spec, rendering, folder or self._root, extra, arguments)
        if folder is None or made is None:
            return None
        command, words = made
        environ = {**base, **words}
        return self._attempt(
            instance, command, number=number, slots=slots, cwd=folder.path, environ=environ, names=names
        )

    def build_plain(self, instance: Instance, number: int, slots: int) -> Attempt | None:
        """Put the attempt of a program together for which nothing has to be looked up; ``None``: it is no such one.

        It is what ``build`` would return, at a fifth of the price: in large plans most tasks are of this kind.
        """
        spec = instance.spec
        if spec.run is None or not spec.run[0] or not is_plain(spec):
            return None
        return self._attempt(
            instance,
            BinaryCommand(argv=spec.run),
            number=number,
            slots=slots,
            cwd=self._root.path,
            environ=self._environments.base(interactive=spec.interactive),
            names=self._environments.own_names,
        )

    def _attempt(
        self,
        instance: Instance,
        command: Command,
        *,
        number: int,
        slots: int,
        cwd: str,
        environ: Mapping[str, str],
        names: tuple[str, ...],
    ) -> Attempt:
        spec = instance.spec
        own = {"TASKRUN_TASK": instance.name, "TASKRUN_ATTEMPT": str(number), "TASKRUN_SLOTS": str(slots)}
        return Attempt(
            run=self._request.run_id,
            task=instance.name,
            number=number,
            command=command,
            cwd=cwd,
            env={**environ, **own},
            clocks=spec.clocks,
            grace=self._project.run.grace if spec.grace is None else spec.grace,
            stop_signal=spec.stop_signal,
            success_codes=spec.success_codes,
            progress=spec.progress,
            log=spec.log,
            leak=spec.leak,
            interactive=spec.interactive,
            slots=slots,
            extra_env=names,
        )

    # --- folders

    def _cwd(self, spec: TaskSpec, rendering: Rendering) -> Folder | None:
        rendering.folder = self._root
        rendering.names.environ = self._environments.base(interactive=spec.interactive)
        text = spec.cwd if spec.cwd == "." else rendering.text(spec.cwd, ("tasks", spec.name, "cwd"))
        if isinstance(text, Unknown):
            rendering.folder = self._root
            return None
        rendering.folder = folder = self._folder(text)
        return folder

    def _folder(self, text: str) -> Folder:
        found = self._folders.get(text)
        if found is None:
            root = self._project.root
            found = self._folders[text] = Folder(os.path.normpath(os.path.join(root, text)), root)
        return found

    # --- commands

    def _command(
        self,
        spec: TaskSpec,
        rendering: Rendering,
        folder: Folder,
        extra: tuple[str, ...] | None,
        arguments: Mapping[str, str],
    ) -> tuple[Command, Mapping[str, str]] | None:
        stdin = self._stdin(spec, rendering)
        if spec.run is not None:
            made = self._run(spec, rendering, folder, extra, stdin)
        elif spec.shell is not None:
            made = self._shell(spec, spec.shell, rendering, extra, stdin)
        else:
            made = self._python(spec, rendering, arguments)
        return None if isinstance(stdin, Unknown) else made

    def _stdin(self, spec: TaskSpec, rendering: Rendering) -> str | Unknown | None:
        if spec.stdin is None or spec.stdin == "-":
            return spec.stdin
        folder, rendering.folder = rendering.folder, None
        text = rendering.text(spec.stdin, ("tasks", spec.name, "stdin"))
        rendering.folder = folder
        return text if isinstance(text, Unknown) else os.path.normpath(os.path.join(self._project.root, text))

    def _run(
        self,
        spec: TaskSpec,
        rendering: Rendering,
        folder: Folder,
        extra: tuple[str, ...] | None,
        stdin: str | Unknown | None,
    ) -> tuple[Command, Mapping[str, str]] | None:
        assert spec.run is not None
        place = ("tasks", spec.name, "run")
        argv = spec.run if is_plain(spec) else self._argv(spec.run, rendering, place)
        if isinstance(argv, Unknown) or isinstance(stdin, Unknown):
            return None
        if extra and not any(has_look_up(word, "extra") for word in spec.run):
            argv += extra
        if not argv or not argv[0]:
            rendering.report(Mistake("empty-command", "there is no program to run"), (*place, 0) if argv else place)
            return None
        if folder is not self._root and "/" in argv[0]:
            argv = (os.path.normpath(os.path.join(self._project.root, argv[0])), *argv[1:])
        return BinaryCommand(argv=argv, stdin=stdin), {}

    def _argv(self, run: tuple[str, ...], rendering: Rendering, place: Place) -> tuple[str, ...] | Unknown:
        folder, rendering.folder = rendering.folder, None  # the program is relative to the file's folder
        program = rendering.arguments(run[:1], place, is_program=True)
        rendering.folder = folder
        arguments = rendering.arguments(run[1:], place, start=1)
        return UNKNOWN if isinstance(program, Unknown) or isinstance(arguments, Unknown) else program + arguments

    def _shell(
        self,
        spec: TaskSpec,
        shell: str,
        rendering: Rendering,
        extra: tuple[str, ...] | None,
        stdin: str | Unknown | None,
    ) -> tuple[Command, Mapping[str, str]] | None:
        line = rendering.command_line(shell, spec.shell_argv, ("tasks", spec.name, "shell"))
        if line is None or isinstance(stdin, Unknown):
            return None
        argv = (*spec.shell_argv, line.text)
        if extra and not line.has_extra:
            argv += (os.path.basename(spec.shell_argv[0]), *extra)  # $0, then "$@"
        return BinaryCommand(argv=argv, shell=line.shown, stdin=stdin), line.words

    def _python(
        self, spec: TaskSpec, rendering: Rendering, arguments: Mapping[str, str]
    ) -> tuple[Command, Mapping[str, str]] | None:
        site = self._call(spec, spec.name, rendering, arguments)
        if site.unknown:
            return None
        command = PythonCall(target=site.target, args=site.args, kwargs=site.kwargs, lax=site.lax, pool=spec.pool)
        return command, {}

    # --- Python calls

    def call_site(self, instance: Instance, rendering: Rendering, arguments: Mapping[str, str]) -> CallSite:
        """Return the call of a Python task as far as it is known."""
        self._cwd(instance.spec, rendering)
        self._environments.of_task(instance.spec, rendering)
        return self._call(instance.spec, instance.name, rendering, arguments)

    def _call(self, spec: TaskSpec, name: str, rendering: Rendering, arguments: Mapping[str, str]) -> CallSite:
        assert spec.python is not None
        place = ("tasks", spec.name, "args")
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        unknown: list[str] = []
        lax = list(arguments)
        given = spec.args if spec.args is not None else {}
        for key, raw in given.items() if isinstance(given, dict) else enumerate(given):
            value = rendering.value(raw, (*place, key))
            if holds_unknown(value):
                unknown.append(str(key))
                value = None
            plain, loose = as_argument(value, rendering.folder)
            if loose:
                lax.append(str(key))
            if isinstance(key, int):
                args.append(plain)
            elif str(key) not in unknown:
                kwargs[key] = plain
        kwargs.update(arguments)
        return CallSite(
            instance=name,
            task=spec.name,
            target=spec.python,
            pool=spec.pool or "",
            args=tuple(args),
            kwargs=kwargs,
            unknown=tuple(unknown),
            lax=tuple(lax),
        )


def fail(mistake: Mistake, _place: object) -> None:
    """Report a mistake of an attempt: it depends on a result, since all else has been checked before.

    Raises:
        LookUpError: Always.
    """
    within = f"{mistake.within}: " if mistake.within and mistake.within not in mistake.message else ""
    label = f" ({mistake.label})" if mistake.label else ""
    raise LookUpError(f"{within}{mistake.message}{label}")
