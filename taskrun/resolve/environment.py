"""The environment of tasks: the caller's, filled up from dotenv files, then `[env]`, then the task's own `env`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from taskrun.resolve.mistakes import Mistake, Mistakes, Place, unfit
from taskrun.resolve.paths import Anywhere
from taskrun.resolve.rendering import WORD, Rendering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskrun.config.project import Project, TaskSpec
    from taskrun.model import Diagnostic
    from taskrun.resolve.values import Request, Unknown

_WORDS = re.compile(rf"{WORD}\d+")


class Environments:
    """Environments of tasks; what all tasks share is put together once.

    Args:
        rendering: Makes a ``Rendering`` for strings of the file's level, which sees the caller's environment.
    """

    def __init__(
        self, project: Project, request: Request, mistakes: Mistakes, rendering: Callable[[], Rendering]
    ) -> None:
        self._project = project
        self._request = request
        self._mistakes = mistakes
        self._rendering = rendering
        self._own: dict[str, str] | None = None
        self._own_names: tuple[str, ...] | None = None
        self._bases: dict[bool, dict[str, str]] = {}
        self._files: dict[str, tuple[dict[str, str], list[Diagnostic]] | str] = {}

    def base(self, *, interactive: bool) -> dict[str, str]:
        """Return the environment of a task without tables of its own. Shared: not to be changed."""
        found = self._bases.get(interactive)
        if found is None:
            found = self._bases[interactive] = self._finished({**self._caller(), **self.own}, interactive=interactive)
        return found

    @property
    def own(self) -> dict[str, str]:
        """The variables of `[env]`."""
        if self._own is None:
            rendering = self._rendering()
            rendering.folder = Anywhere(self._project.root)  # tasks have different folders
            table = self._table(self._project.env, rendering, ("env",))
            self._own = {name: value for name, value in table.items() if isinstance(value, str)}
        return self._own

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names that `[env]` sets."""
        if self._own_names is None:
            self._own_names = tuple(self.own)
        return self._own_names

    def of_task(self, spec: TaskSpec, rendering: Rendering) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the environment of a task with tables of its own, and the names that these and `[env]` set.

        ``rendering`` sees, while the task's `env` is read, what that is laid over, and afterwards the whole of it.
        """
        if not spec.env and not spec.dotenv:
            base = self.base(interactive=spec.interactive)
            rendering.names.environ = base
            return base, self.own_names
        files = self._dotenv(spec, rendering)
        below = {**files, **self._caller(), **self.own}
        rendering.names.environ = below
        table = self._table(spec.env, rendering, ("tasks", spec.name, "env"))
        rendering.names.environ = {**below, **table}
        known = {name: value for name, value in rendering.names.environ.items() if isinstance(value, str)}
        filled = [name for name in files if name not in self._request.environ]
        names = tuple(dict.fromkeys([*self.own, *filled, *table]))
        return self._finished(known, interactive=spec.interactive), names

    def _caller(self) -> dict[str, str]:
        """The caller's environment, without the words of an outer run's shells."""
        environ = self._request.environ
        words = [name for name in environ if name.startswith(WORD) and _WORDS.fullmatch(name)]
        return {name: value for name, value in environ.items() if name not in words} if words else environ

    def _table(self, table: Mapping[str, str], rendering: Rendering, place: Place) -> dict[str, str | Unknown]:
        return {name: rendering.text(raw, (*place, name)) for name, raw in table.items()}

    def _finished(self, environ: dict[str, str], *, interactive: bool) -> dict[str, str]:
        """Add what every task sees. Settings of the user's stay as they are."""
        environ = {**environ, "TASKRUN_RUN": self._request.run_id}
        if self._request.job is not None:
            environ["TASKRUN_JOB"] = str(self._request.job)
        environ.setdefault("PYTHONUNBUFFERED", "1")
        # An interactive task has the terminal itself, and can see that.
        if self._request.colour and not interactive and not environ.get("NO_COLOR"):
            if not environ.get("FORCE_COLOR") and not environ.get("CLICOLOR_FORCE"):
                environ.update(FORCE_COLOR="1", CLICOLOR_FORCE="1")
            environ.setdefault("TTY_INTERACTIVE", "0")  # colour is no reason to animate into a pipe
        return environ

    # --- dotenv

    def _dotenv(self, spec: TaskSpec, rendering: Rendering) -> dict[str, str]:
        values: dict[str, str] = {}
        rendering.names.environ = self.base(interactive=spec.interactive)
        folder, rendering.folder = rendering.folder, None  # these files are relative to the file's folder
        for index, written in enumerate(spec.dotenv):
            place = ("tasks", spec.name, "dotenv", index)
            name = rendering.text(written, place)
            if isinstance(name, str):
                values.update(self._file(name.removeprefix("?"), place, optional=name.startswith("?")))
        rendering.folder = folder
        return values

    def _file(self, name: str, place: Place, *, optional: bool) -> dict[str, str]:
        if name not in self._files:
            self._files[name] = self._read(name)
        found = self._files[name]
        if isinstance(found, str):
            missing = found == _MISSING
            if not (missing and (optional or self._request.later)):
                label = "write `?` in front if it may be missing" if missing else ""
                self._mistakes.add(Mistake("dotenv", f"`{name}` cannot be read: {found}", label=label), place)
            return {}
        values, diagnostics = found
        for diagnostic in diagnostics:
            self._mistakes.add_ready(diagnostic)
        return values

    def _read(self, name: str) -> tuple[dict[str, str], list[Diagnostic]] | str:
        path = os.path.join(self._project.root, name)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                text = file.read()
        except FileNotFoundError:
            return _MISSING
        except OSError as error:
            return error.strerror or str(error)
        except UnicodeDecodeError:
            return "it is not UTF-8"
        from taskrun.resolve import dotenv  # most projects have no such file

        shown = os.path.relpath(path, self._request.cwd)
        values, diagnostics = dotenv.read(text, min(path, shown, key=len))
        for key, value in values.items():
            problem = unfit(value)
            if problem:
                return f"the value of `{key}` {problem}"
        return values, diagnostics


_MISSING = "there is no such file"
