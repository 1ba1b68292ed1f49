"""A project from TOML and what resolve makes of it, for tests that start nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taskrun.config.loading import load_text
from taskrun.model import Attempt, BinaryCommand, Diagnostic, ProjectError, PythonCall
from taskrun.resolve import Request, Resolver, Selection, TaskView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/home/nobody"}


class Resolved:
    """One request against one file, selected; the test fails with the mistakes where there are any.

    Attributes:
        results: What other instances say, by name: a result, or a ``TaskView``.
    """

    def __init__(self, resolver: Resolver, selection: Selection) -> None:
        self.resolver = resolver
        self.selection = selection
        self.results: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        return list(self.selection.instances)

    def needs(self, name: str) -> list[str]:
        return list(self.selection.instances[name].needs)

    def attempt(self, name: str, number: int = 1, slots: int = 1, **results: Any) -> Attempt:
        views = {**self.results, **results}

        def view(asked: str) -> TaskView:
            found = views[asked]
            return found if isinstance(found, TaskView) else TaskView(state="succeeded", result=found)

        return self.resolver.attempt(self.selection.instances[name], number, view, slots)

    def argv(self, name: str, **results: Any) -> list[str]:
        command = self.attempt(name, **results).command
        assert isinstance(command, BinaryCommand)
        return list(command.argv)

    def call(self, name: str, **results: Any) -> PythonCall:
        command = self.attempt(name, **results).command
        assert isinstance(command, PythonCall)
        return command

    def env(self, name: str, **results: Any) -> dict[str, str]:
        return self.attempt(name, **results).env


def resolver_for(
    toml: str,
    *targets: str,
    root: Path | str = "/nowhere",
    keys: dict[str, str] | None = None,
    shell: Callable[[str, dict[str, str]], str] | None = None,
    environ: dict[str, str] | None = None,
    cwd: str | None = None,
    **request: Any,
) -> Resolver:
    """A resolver for a file's text; `{ shell }` sources fail the test where no ``shell`` is given."""

    def refuse(command: str, environ: dict[str, str]) -> str:
        raise AssertionError(f"a shell source was read: {command}")

    root = os.fspath(root)
    asked = Request(
        targets=targets,
        assignments=keys or {},
        environ=ENVIRON if environ is None else environ,
        cwd=root if cwd is None else cwd,
        **{"run_id": "r-1", "run_folder": f"{root}/.taskrun/runs/r-1", **request},
    )
    return Resolver(load_text(toml, root=root), asked, shell or refuse)


def resolve(toml: str, *targets: str, **how: Any) -> Resolved:
    """Selects; see ``resolver_for``."""
    resolver = resolver_for(toml, *targets, **how)
    return Resolved(resolver, resolver.select())


def mistakes(toml: str, *targets: str, **how: Any) -> list[Diagnostic]:
    """The mistakes that ``select`` finds; the test fails where there are none."""
    try:
        resolve(toml, *targets, **how)
    except ProjectError as error:
        return list(error.diagnostics)
    raise AssertionError("no mistake was found")


def mistake(toml: str, *targets: str, **how: Any) -> Diagnostic:
    """The one mistake that ``select`` finds."""
    found = mistakes(toml, *targets, **how)
    assert len(found) == 1, [each.message for each in found]
    return found[0]


def marked(diagnostic: Diagnostic) -> str:
    """The text that a diagnostic points at."""
    assert diagnostic.span is not None
    assert diagnostic.source is not None
    end = diagnostic.span.end_column if diagnostic.span.end_line == diagnostic.span.line else None
    return diagnostic.source[diagnostic.span.column - 1 : None if end is None else end - 1]
