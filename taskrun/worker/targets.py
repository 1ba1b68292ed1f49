"""From ``module:function`` to something to call, or to a mistake that a person can mend."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from taskrun.worker import failures, wire

Target: TypeAlias = Callable[..., Any]

importing = ""
"""The module that is being imported here, for workers, right now."""


class TargetMistake(Exception):  # noqa: N818 - it carries a Mistake
    """A target cannot be called; ``mistake`` says why and where."""

    def __init__(self, mistake: wire.Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


def split(target: str) -> tuple[str, str]:
    """Module and dotted name.

    Raises:
        TargetMistake: It is not ``module:function``.
    """
    module, colon, name = target.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise TargetMistake(
            wire.Mistake(type="name", message=f"`{target}` is no function", hint="write it as `module:function`")
        )
    return module, name


def load(target: str) -> Target:
    """Imports the module if need be, and finds the function.

    Raises:
        TargetMistake: The import failed, there is no such function, or it cannot be called as one.
    """
    module, name = split(target)
    import_module(module)
    return find(module, name)


def import_module(name: str) -> None:
    """Imports a module.

    Raises:
        TargetMistake: It cannot be imported, whatever it raised, ``SystemExit`` included.
        Cancelled: The run was stopped meanwhile.
    """
    from taskrun.worker.stopping import Cancelled

    global importing  # noqa: PLW0603 - of this process
    if name in sys.modules:
        return
    before, importing = importing, name
    try:
        importlib.import_module(name)
    except Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - a module may raise anything
        raise TargetMistake(explain_import(name, error)) from None
    finally:
        importing = before


def explain_import(module: str, error: BaseException) -> wire.Mistake:
    """Says why importing ``module`` failed, and where in the user's code."""
    failure = failures.describe(error)
    kind = type(error).__name__
    base = wire.Mistake(
        type=kind,
        message=f"importing `{module}` failed: {kind}: {failure.message}",
        file=failure.file,
        line=failure.line,
        traceback=failure.traceback,
    )
    if isinstance(error, SyntaxError) and error.filename:
        return _amend(
            base,
            message=f"`{module}` does not compile: {error.msg}",
            file=str(error.filename),
            line=error.lineno or 0,
            column=error.offset or 0,
            text=(error.text or "").rstrip("\n"),
        )
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return _amend(
            base,
            type="not-found",
            message=f"there is no module `{error.name}`",
            hint=_near_module(error.name),
            file="",
            line=0,
            traceback="",
        )
    if isinstance(error, SystemExit):
        return _amend(base, message=f"`{module}` calls sys.exit({error.code!r}) while it is imported")
    return _amend(base, text=_source_line(base.file, base.line))


def find(module: str, name: str) -> Target:
    """The function of an imported module.

    Raises:
        TargetMistake: There is none, or it is none that a task can call.
    """
    found: Any = sys.modules[module]
    path = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except Exception as error:  # noqa: BLE001 - a module's __getattr__ may raise anything
            raise TargetMistake(_no_attribute(path, part, found, module, error)) from None
        path += f".{part}"
    if not callable(found):
        text = f"`{module}:{name}` is not a function but of type `{type(found).__qualname__}`"
        raise TargetMistake(_where(module, wire.Mistake(type="not-callable", message=text)))
    _refuse_coroutines(found, f"{module}:{name}")
    return found  # type: ignore[no-any-return]  # callable() does not narrow Any


def _no_attribute(path: str, part: str, holder: object, module: str, error: Exception) -> wire.Mistake:
    kind = "module" if path == module else "object"
    text = f"{kind} `{path}` has no `{part}`"
    if not isinstance(error, AttributeError):
        text = f"reading `{path}.{part}` failed: {type(error).__name__}: {failures.message(error)}"
    return _where(module, wire.Mistake(type="not-found", message=text, hint=nearest(part, _names(holder))))


def _names(holder: object) -> list[str]:
    """What a person may have meant: own names that can be called or lead further."""
    names = []
    for name in dir(holder):
        value = getattr(holder, name, None)
        if not name.startswith("__") and (callable(value) or not hasattr(type(value), "__len__")):
            names.append(name)
    return names


def _where(module: str, mistake: wire.Mistake) -> wire.Mistake:
    return _amend(mistake, file=getattr(sys.modules[module], "__file__", None) or "")


def _refuse_coroutines(function: Target, target: str) -> None:
    """A call of such a function would return at once and have done nothing.

    Raises:
        TargetMistake: It is one.
    """
    plain: Any = function if inspect.isroutine(function) or inspect.isclass(function) else _call_method(function)
    if inspect.iscoroutinefunction(plain):
        kind, text, hint = "async", "an async function", "call it from a plain function, with trio.run or asyncio.run"
    elif inspect.isasyncgenfunction(plain):
        kind, text, hint = "generator", "an async generator", "loop over it in a plain function"
    elif inspect.isgeneratorfunction(plain):
        kind, text, hint = "generator", "a generator", "loop over it in a plain function"
    else:
        return
    file, line, _ = definition(function)
    message = f"`{target}` is {text}: calling it would do nothing"
    raise TargetMistake(wire.Mistake(type=kind, message=message, hint=hint, file=file, line=line))


def _call_method(function: Any) -> Any:
    """What is run when an object is called: its class's ``__call__``, or what a partial wraps."""
    while hasattr(function, "func") and hasattr(function, "keywords"):  # functools.partial
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def definition(function: Target) -> tuple[str, int, str]:
    """File, line, and first line of the docstring, as far as they can be known."""
    try:
        plain = inspect.unwrap(function)
    except ValueError:
        plain = function
    code = getattr(plain, "__code__", None)
    summary = (getattr(plain, "__doc__", None) or "").strip().partition("\n")[0] if inspect.isroutine(plain) else ""
    return (code.co_filename, code.co_firstlineno, summary) if code is not None else ("", 0, summary)


def nearest(name: str, names: list[str]) -> str:
    """The question whether ``name`` was meant to be one of ``names``, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def _near_module(name: str) -> str:
    """The nearest name of a module beside the missing one."""
    import pkgutil

    parent, _, last = name.rpartition(".")
    folders = getattr(sys.modules.get(parent), "__path__", []) if parent else sys.path[:1]
    return nearest(last, [module.name for module in pkgutil.iter_modules(list(folders))])


def _source_line(file: str, line: int) -> str:
    import linecache

    return linecache.getline(file, line).rstrip("\n") if file and line else ""


def _amend(mistake: wire.Mistake, **changes: Any) -> wire.Mistake:
    import msgspec

    return msgspec.structs.replace(mistake, **changes)
