"""The command line: click, one module per command, imported when it is called; errors become messages and statuses.

This is the only room that prints, asks click or ends the process.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from taskrun.cli.exits import EXIT_FAILED, EXIT_NOTHING_MATCHED, EXIT_RESOURCES, EXIT_USAGE, say_error

if TYPE_CHECKING:
    from taskrun.host.start import HostStart


# What the machine lacks is no bug of ours, wherever it shows.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT})

# name -> (module, one line for --help); the line stands here too so that `taskrun --help` imports no command.
COMMANDS = {
    "run": ("run", "Run tasks and what they need."),
    "list": ("list", "List the tasks."),
    "graph": ("graph", "Show how tasks depend on each other."),
    "check": ("check", "Check the file and everything that it names."),
    "init": ("init", "Write a first tasks.toml here."),
    "schema": ("schema", "Print the JSON Schema of tasks.toml."),
    "runs": ("runs", "List the recorded runs."),
    "logs": ("logs", "Show what tasks of a recorded run wrote."),
    "enqueue": ("enqueue", "Store a job for workers."),
    "worker": ("worker", "Take jobs from the queue and run them."),
    "jobs": ("jobs", "Look at jobs, retry and cancel them."),
    "completion": ("completion", "Print the shell's completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports ``taskrun.cli.<module>`` and returns its ``command``."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        import importlib

        module = importlib.import_module(f"taskrun.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or says which one was probably meant; a task's name is an easy mistake here."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from taskrun.config.wording import nearest

            near = nearest(name, COMMANDS)
            hint = f"did you mean `{near}`?" if near else f"to run a task: taskrun run {name}"
            ctx.fail(f"there is no command `{name}`; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands' one-liners without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        from taskrun import __version__

        click.echo(f"taskrun {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run the tasks of tasks.toml: programs and Python functions, with limits, timeouts, retries and progress."""
    if ctx.invoked_subcommand is None:
        from taskrun.cli.bare import show_tasks

        ctx.exit(show_tasks())


def main(arguments: list[str], host: HostStart | None = None) -> NoReturn:
    """Runs one command line and leaves the process; ``host`` is the supervisor forked for it, if one was."""
    leave(invoke(arguments, host))


def invoke(arguments: list[str], host: HostStart | None = None) -> int:
    """Runs one command line; returns the exit status, negative for the signal to die of."""
    instruction = os.environ.get("_TASKRUN_COMPLETE")
    if instruction:
        from taskrun.cli.complete import serve

        return serve(cli, instruction)
    try:
        result: Any = cli.main(
            args=arguments, prog_name="taskrun", standalone_mode=False, obj={"host": host, "arguments": arguments}
        )
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        _blame_variable(error)
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_FAILED
    except SystemExit as exit_:
        if exit_.code not in {None, 0, 1}:
            raise  # out of a module that is not what we meant to import: never a success
        return -13 if exit_.code == 1 else 0  # 1: click's answer to a closed pipe
    except BrokenPipeError:
        return -13
    except Exception as error:  # noqa: BLE001 - told below; whatever is not the user's mistake is our bug
        return tell(error)
    return result if isinstance(result, int) else 0


def _blame_variable(error: click.ClickException) -> None:
    """A value that came from the environment is that variable's mistake: the option named was not even given."""
    if isinstance(error, click.BadParameter) and error.ctx is not None and error.param is not None:
        source = error.ctx.get_parameter_source(error.param.name or "")
        if source is click.core.ParameterSource.ENVIRONMENT:
            error.param_hint = f"the variable {error.param.envvar}"


def tell(error: Exception) -> int:
    """Shows an error on stderr and returns its exit status. Imported here: help and completion do without msgspec."""
    from taskrun.model import NothingMatched, ProjectError, ResourceError, UsageError

    match error:
        case ProjectError():
            from taskrun.cli.messages import show_diagnostics

            show_diagnostics(error.diagnostics)
            return EXIT_USAGE
        case UsageError():
            status = EXIT_USAGE
        case NothingMatched():
            status = EXIT_NOTHING_MATCHED
        case ResourceError():
            status = EXIT_RESOURCES
        case OSError(errno=number) if number in _SHORTAGES:
            say_error(f"taskrun cannot do its part: {error.strerror}")
            return EXIT_RESOURCES
        case _:
            from taskrun.cli.messages import report_bug

            return report_bug(error)
    say_error(str(error))
    return status


def leave(status: int) -> NoReturn:
    """Ends the process with a status, or (negative) of a signal, so that a calling script sees the truth.

    The interpreter's own shutdown is left out: it costs 10 ms, and would report a closed stdout once more.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            if status == 0:
                status = EXIT_RESOURCES
    if status < 0:
        import signal

        number = -status
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # PID 1 survives its own signals
    os._exit(status)
