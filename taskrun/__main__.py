"""The entry: forks the host for the commands that start processes, before anything heavy is imported, then the CLI.

It parses no options: whether a host is needed is guessed from the words, and a host that was not needed after all
ends by itself when its socket closes. What trio and others import and a run never uses, it has loaded when it is used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as type checkers take it; ``typing`` would double the host's start
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_STARTS_PROCESSES = frozenset({"run", "worker"})
_STARTS_NOTHING = frozenset({"--help", "-h", "--dry-run"})
_NO_RESOURCES = 125  # the exit status; the other statuses are the command line's affair
_START_UP_OBJECTS = 100_000  # a run has made 55,000 when it begins

# What is imported for nothing, an eighth of an empty `trio.run`: hmac (with OpenSSL's hashes), idna, ssl and subprocess
# by trio, msgspec's inspect and textwrap by msgspec, the others by the standard library. A module may stand here if its
# importers look into it in functions only; with another nothing is gained, and nothing lost.
_MOSTLY_UNUSED = frozenset(
    {"bz2", "hmac", "idna", "ipaddress", "lzma", "msgspec.inspect", "ssl", "subprocess", "textwrap", "tokenize"}
)


def needs_host(arguments: list[str]) -> bool:
    """Whether these words will start tasks: a subcommand that runs them, and no option that prevents it."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not _STARTS_NOTHING.isdisjoint(words):
        return False
    return next((word for word in words if not word.startswith("-")), "") in _STARTS_PROCESSES


def main() -> None:
    """Runs the command line and ends the process with its exit status, or by the signal that ended the run."""
    if sys.platform == "win32":
        sys.stderr.write("taskrun: Windows is not supported: taskrun needs POSIX processes and signals (WSL works)\n")
        sys.exit(2)
    import _signal  # type: ignore[import-not-found]  # the C half of signal, which mypy knows no stub of
    import gc
    import os

    _open_missing_descriptors()
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        _start_anew_in_utf8()
    # Until the run installs its own handling, an interrupt just ends us: nothing has started, and nobody wants a
    # traceback out of an import. Where SIGINT is ignored (a background job), it stays so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    host = None
    if not os.environ.get("_TASKRUN_COMPLETE") and needs_host(sys.argv[1:]):
        from taskrun.host.start import fork_host

        try:
            host = fork_host()
        except OSError as error:
            sys.stderr.write(f"error: the process that supervises tasks cannot be started: {error.strerror}\n")
            sys.exit(_NO_RESOURCES)
    # What is imported from here on lives on: looking for garbage in it again and again would be a part of the start.
    # Not switched off, so that no command that goes on for long can forget to switch it on; a run sets it right.
    gc.set_threshold(_START_UP_OBJECTS)
    sys.meta_path.insert(0, _LoadedWhenUsed())
    from taskrun.cli import main as run_cli

    run_cli(sys.argv[1:], host)


def _start_anew_in_utf8() -> None:
    """Becomes the same program in Python's UTF-8 mode; returns only where that cannot be done.

    The file is UTF-8 whatever the locale, and in another encoding not everything that a task is given could be written.
    """
    import os

    if sys.executable:
        try:  # noqa: SIM105 - contextlib is slow to import
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
        except OSError:
            pass  # it would be a convenience


class _LoadedWhenUsed:
    """Finds the modules that are mostly unused as ever, but has them executed when the first name in them is asked for.

    The standard library's ``importlib.util.LazyLoader`` does the same, but a second ``import`` of such a module would
    load it. This process alone imports so: the host was forked before, and the tasks' Python code runs below that.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """For the import system: the module's own spec, with a loader that waits."""
        if name not in _MOSTLY_UNUSED:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Waiting(spec.loader)  # type: ignore[assignment]  # it does what import asks of a Loader
        return spec


class _Waiting:
    """A loader that gives the module a ``__getattr__`` (PEP 562), which calls the real loader and goes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """For the import system."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """For the import system: does not execute it yet."""
        from threading import RLock

        lock = RLock()  # whoever asks in another thread meanwhile waits
        loading = False

        def load(name: str) -> object:
            nonlocal loading
            with lock:
                if loading:
                    raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} yet")
                if vars(module).get("__getattr__") is load:
                    loading = True
                    try:
                        self._loader.exec_module(module)
                    finally:
                        loading = False
                    if vars(module).get("__getattr__") is load:
                        del vars(module)["__getattr__"]
            return getattr(module, name)

        vars(module)["__getattr__"] = load


def _open_missing_descriptors() -> None:
    """Fills descriptors 0 to 2 if the caller closed them, so that no pipe of a task ever lands there."""
    import os

    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    # Python has made no streams for them; whoever writes an answer need not ask whether there are any.
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", errors="backslashreplace", closefd=False))  # noqa: SIM115 - for good


if __name__ == "__main__":
    main()
