"""The program's main module in its workers: found out here, and run there under another name when it is needed.

A worker is no fork of the program. What a pickle names as ``__main__.something`` is looked up in a stand-in, which runs
the program's file once, as ``__mp_main__``, so that what stands under ``if __name__ == "__main__":`` does not run.
"""

from __future__ import annotations

import os
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType

ALIAS = "__mp_main__"
"""The main module's name in workers, as multiprocessing calls it."""
VARIABLE = "TASKRUN_MAIN"
"""What tells a template to run it beforehand."""

_loaded: types.ModuleType | None = None

running = False
"""The main module is being run as a module, in this process, right now."""


def of_program() -> dict[str, Any]:
    """What a worker must know of this program's main module: ``name`` or ``path``, if it has any, and ``argv``."""
    main = sys.modules.get("__main__")
    known: dict[str, Any] = {"argv": list(sys.argv)}
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    if spec is not None:
        if spec.name != "__main__" and not spec.name.endswith(".__main__"):  # those have no guard: they are to run
            known["name"] = spec.name
    elif file is not None:
        known["path"] = os.path.abspath(file)
    return known


def stand_in(main: dict[str, Any]) -> None:
    """Puts a module in the place of ``__main__`` that runs the real one when something of it is asked for."""
    if _loaded is not None:
        return
    module = types.ModuleType("__main__")

    def look_up(name: str) -> object:
        if name.startswith("__"):  # libraries look there for a file, a session, a shell
            raise AttributeError(name)
        return getattr(load(main), name)

    vars(module)["__getattr__"] = look_up
    sys.modules["__main__"] = module


def load(main: dict[str, Any]) -> types.ModuleType:
    """Runs the program's main module as ``__mp_main__``; once.

    Raises:
        ImportError: It cannot be found again: it was typed in, or is the ``__main__`` of a package.
        BaseException: What it raises.
    """
    global running, _loaded  # noqa: PLW0603 - of this process, which has one main module
    if _loaded is not None:
        return _loaded
    sys.argv = list(main["argv"])
    module = types.ModuleType(ALIAS)
    code = _code(main, module)
    before = {name: sys.modules[name] for name in (ALIAS, "__main__") if name in sys.modules}
    sys.modules[ALIAS] = sys.modules["__main__"] = module
    running = True
    try:
        exec(code, vars(module))  # noqa: S102 - as Python does with a main module
    except BaseException:
        del sys.modules[ALIAS], sys.modules["__main__"]
        sys.modules.update(before)
        raise
    finally:
        running = False
    _loaded = module
    return module


def _code(main: dict[str, Any], module: types.ModuleType) -> CodeType:
    if "name" in main:
        import importlib.util

        spec = importlib.util.find_spec(main["name"])
        code = None if spec is None or spec.loader is None else getattr(spec.loader, "get_code")(spec.name)  # noqa: B009 - not of every loader
        if spec is not None and isinstance(code, types.CodeType):
            vars(module).update(__file__=spec.origin, __package__=spec.parent, __loader__=spec.loader, __spec__=spec)
            return code
    elif "path" in main:
        vars(module).update(__file__=main["path"], __package__=None)
        with open(main["path"], "rb") as file:
            return compile(file.read(), main["path"], "exec")
    raise ImportError(  # pickle has words of its own for an AttributeError
        "what is defined in this program's `__main__` cannot be found by its workers, which are no forks of the "
        "program: put it into a module, or into a script that is run by its path"
    )
