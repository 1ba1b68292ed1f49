"""All that is known of a run before trio is imported: the checked project, how it is shown, and what was selected."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.model import Value
from taskrun.record.places import state_folder
from taskrun.report.settings import Options, Settings, ci_service, decide
from taskrun.run.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskrun.resolve import Selection
    from taskrun.run.options import RunOptions
    from taskrun.run.prepare import Prepared


class Setting(Value, frozen=True, kw_only=True):
    """A run that may begin.

    Attributes:
        selection: ``None`` where selecting has to read from command lines first.
        state: The folder for its record, absolute; empty: nothing will be recorded.
        keep: How many records stay there; ``None``: this one throws none away.
        durable: Its record shall survive a loss of power, as far as it is the run's own to say.
        shell: Gives the reader of command lines to the resolver once there is a host.
    """

    options: RunOptions
    run_id: str
    environ: dict[str, str]
    prepared: Prepared
    selection: Selection | None
    state: str = ""
    keep: int | None = None
    durable: bool = True
    shell: ShellReader


class ShellReader:
    """What the resolver calls for `{ shell = ... }`; how it is done is set when there is a host to do it."""

    def __init__(self) -> None:
        self.read: Callable[[str, dict[str, str]], str] | None = None

    def __call__(self, command: str, env: dict[str, str]) -> str:
        """Stdout of a command line."""
        assert self.read is not None, "a source was read before there was a host"
        return self.read(command, env)


def make_setting(options: RunOptions, run_id: str, environ: Mapping[str, str]) -> Setting:
    """Checks everything that can be checked without starting anything.

    Raises:
        UsageError, ProjectError, NothingMatched: See ``taskrun.run.run``.
    """
    shell = ShellReader()
    colour = decide(display_options(options), environ, stdout_tty=os.isatty(1), stderr_tty=os.isatty(2))
    prepared = prepare(
        options,
        environ=environ,
        run_id=run_id,
        colour=colour.colour_stderr,
        read_shell=shell,
    )
    selection = None if prepared.reads_shell else prepared.resolver.select()
    return Setting(
        options=options,
        run_id=run_id,
        environ=dict(environ),
        prepared=prepared,
        selection=selection,
        state=state_folder(prepared.project, environ),
        keep=prepared.project.run.keep_runs,
        shell=shell,
    )


def display_options(options: RunOptions) -> Options:
    """The part of the options that is about showing."""
    return Options(
        ui=options.ui,
        output=options.output,
        events=options.events,
        quiet=options.quiet,
        verbose=options.verbose,
    )


def one_named(selection: Selection) -> str | None:
    """The one instance that was asked for, if it was one that writes: a group has no output to stream."""
    if len(selection.requested) != 1:
        return None
    (name,) = selection.requested
    return None if selection.instances[name].is_group else name


def display(setting: Setting, named: str | None) -> Settings:
    """How the run is shown, once it is known which one task it is about, if it is about one.

    A task that only the file's `default` asks for was not named: in CI its output is grouped like any other.
    """
    if not setting.options.targets and ci_service(None, setting.environ) is not None:
        named = None
    width = None
    for fd in (2, 1):
        try:
            width = os.get_terminal_size(fd).columns
            break
        except OSError:
            continue
    return decide(
        display_options(setting.options),
        setting.environ,
        stdout_tty=os.isatty(1),
        stderr_tty=os.isatty(2),
        named=named,
        terminal_width=width,
    )
