"""The entry: forks the host for the commands that start processes, before anything heavy is imported, then the CLI.

It parses no options: whether a host is needed is guessed from the words, and a host that was not needed after all
ends by itself when its socket closes.
"""

from __future__ import annotations

import sys

_STARTS_PROCESSES = frozenset({"run", "worker"})
_STARTS_NOTHING = frozenset({"--help", "-h", "--dry-run"})
_START_UP_OBJECTS = 100_000  # a run has made 55,000 when it begins


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
    # Until the run installs its own handling, an interrupt just ends us: nothing has started, and nobody wants a
    # traceback out of an import. Where SIGINT is ignored (a background job), it stays so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    host = None
    if not os.environ.get("_TASKRUN_COMPLETE") and needs_host(sys.argv[1:]):
        from taskrun.host.start import fork_host

        host = fork_host()
    # What is imported from here on lives on: looking for garbage in it again and again would be a part of the start.
    # Not switched off, so that no command that goes on for long can forget to switch it on; a run sets it right.
    gc.set_threshold(_START_UP_OBJECTS)
    from taskrun.cli import main as run_cli

    run_cli(sys.argv[1:], host)


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
