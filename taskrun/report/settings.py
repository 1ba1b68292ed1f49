"""Decides, once and purely, how a run is shown: what is drawn, which output of tasks is shown where, and colours.

Flags beat the environment, the environment beats what is found out. Colour never implies animation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from taskrun.model import Value

Environ: TypeAlias = Mapping[str, str]

UIS = ("auto", "live", "plain", "none")
OUTPUTS = ("auto", "stream", "group", "failed", "none")

NARROWEST = 20
"""Columns below which a live area would be nothing but line breaks."""

_ASSUMED_WIDTH = 80

# Checked in order. The value is the service's name; those that render colours are in the set below.
_SERVICES = (
    ("GITHUB_ACTIONS", "github"),
    ("GITLAB_CI", "gitlab"),
    ("BUILDKITE", "buildkite"),
    ("TF_BUILD", "azure"),
    ("SYSTEM_TEAMFOUNDATIONCOLLECTIONURI", "azure"),
    ("TEAMCITY_VERSION", "teamcity"),
    ("JENKINS_URL", "jenkins"),
    ("CIRCLECI", "circleci"),
    ("TRAVIS", "travis"),
    ("APPVEYOR", "appveyor"),
    ("BITBUCKET_COMMIT", "bitbucket"),
    ("CODEBUILD_BUILD_ARN", "codebuild"),
    ("DRONE", "drone"),
    ("CIRRUS_CI", "cirrus"),
    ("SEMAPHORE", "semaphore"),
)
SERVICES = (*dict.fromkeys(name for _variable, name in _SERVICES), "generic")
_COLOURED = {"github", "gitlab", "buildkite", "azure", "teamcity", "circleci", "travis", "appveyor", "drone", "cirrus"}


class Options(Value, frozen=True, kw_only=True):
    """What the command line says about showing; ``None``: nothing.

    Attributes:
        ui: One of ``UIS``.
        output: One of ``OUTPUTS``.
        color: ``"always"`` or ``"never"``; else it is found out.
        ci: ``"auto"``, ``"none"`` or one of ``SERVICES``.
        events: Path, ``"-"`` for stdout, or ``None``.
        quiet: Only failures.
        verbose: How often ``-v`` was given.
    """

    ui: str | None = None
    output: str | None = None
    color: str | None = None
    ci: str | None = None
    events: str | None = None
    quiet: bool = False
    verbose: int = 0


class Settings(Value, frozen=True, kw_only=True):
    """How a run is shown.

    Attributes:
        ui: ``"live"``, ``"plain"`` or ``"none"``.
        output: ``"stream"``, ``"group"``, ``"failed"`` or ``"none"``: for tasks that say nothing of their own.
        forced: ``output`` comes from the user, so that tasks' own ``output`` gives way.
        named: The one instance that was asked for, if it was one: it streams without a label.
        exact: The named one's stdout goes to descriptor 1 byte for byte, and nothing else does.
        ci: The CI service, or ``None``.
        status_fd: Where what taskrun itself says goes.
        stdout_fd: Where the stdout of tasks goes, but of the named one.
        stderr_fd: Where their stderr goes.
        named_fd: Where the named one's stdout goes.
        colour_stdout: Colours may go to descriptor 1.
        colour_stderr: Colours may go to descriptor 2.
        stdout_tty: Descriptor 1 is a terminal.
        stderr_tty: Descriptor 2 is a terminal.
        width: Columns, as far as known.
        columns: Columns where ``COLUMNS`` sets them, which then hold whatever the terminal's size becomes.
        unicode: More than ASCII may be drawn.
        warnings: What to tell the user about options that could not be honoured.
    """

    ui: str = "plain"
    output: str = "stream"
    forced: bool = False
    named: str | None = None
    exact: bool = False
    ci: str | None = None
    status_fd: int = 2
    stdout_fd: int = 1
    stderr_fd: int = 2
    named_fd: int = 1
    colour_stdout: bool = False
    colour_stderr: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    width: int = _ASSUMED_WIDTH
    columns: int | None = None
    unicode: bool = True
    verbose: int = 0
    warnings: tuple[str, ...] = ()

    def colour(self, fd: int) -> bool:
        """Whether colours may go to a descriptor."""
        return self.colour_stdout if fd == 1 else self.colour_stderr

    def tty(self, fd: int) -> bool:
        """Whether a descriptor is a terminal."""
        return self.stdout_tty if fd == 1 else self.stderr_tty


def decide(
    options: Options,
    environ: Environ,
    *,
    stdout_tty: bool = False,
    stderr_tty: bool = False,
    named: str | None = None,
    terminal_width: int | None = None,
) -> Settings:
    """Decides everything that is shown or not.

    Args:
        options: The command line's part.
        environ: The caller's environment.
        stdout_tty: Whether descriptor 1 is a terminal.
        stderr_tty: Whether descriptor 2 is a terminal.
        named: The instance's name where exactly one task, of one instance, with a command was asked for.
        terminal_width: Columns of the terminal, where there is one.
    """
    warnings: list[str] = []
    service = ci_service(options.ci, environ)
    columns = _positive(environ.get("COLUMNS", ""))
    width = columns or terminal_width or _ASSUMED_WIDTH
    ui = _ui(options, environ, stderr_tty=stderr_tty, service=service, width=width, warnings=warnings)
    asked = _asked("output", options.output, environ, known=OUTPUTS, warnings=warnings)
    output = _output(asked, service=service, named=named, both_ttys=stdout_tty and stderr_tty)
    streams_named = named is not None and asked in {"auto", "stream"}
    events_own_stdout = options.events == "-"
    exact = streams_named and not stdout_tty and not events_own_stdout
    human_fd = 1 if service is not None and not exact and not events_own_stdout else 2
    return Settings(
        ui=ui,
        output=output,
        forced=asked != "auto",
        named=named if streams_named else None,
        exact=exact,
        ci=service,
        status_fd=human_fd,
        stdout_fd=2 if streams_named or events_own_stdout else 1,
        stderr_fd=human_fd,
        named_fd=2 if events_own_stdout else 1,
        colour_stdout=wants_colour(options.color, environ, tty=stdout_tty, service=service),
        colour_stderr=wants_colour(options.color, environ, tty=stderr_tty, service=service),
        stdout_tty=stdout_tty,
        stderr_tty=stderr_tty,
        width=width,
        columns=columns,
        unicode=_draws_unicode(environ),
        verbose=options.verbose,
        warnings=tuple(warnings),
    )


def ci_service(asked: str | None, environ: Environ) -> str | None:
    """The CI service that this runs under, or ``None``. ``CI=false`` means none, whatever else is set."""
    asked = asked or environ.get("TASKRUN_CI") or "auto"
    if asked == "none":
        return None
    if asked in SERVICES:
        return asked
    ci = environ.get("CI", "").lower()
    if ci in {"false", "0"}:
        return None
    for variable, name in _SERVICES:
        if environ.get(variable):
            return name
    return "generic" if ci else None


def wants_colour(asked: str | None, environ: Environ, *, tty: bool, service: str | None) -> bool:
    """Whether a stream gets colours. The first of these that speaks decides."""
    for word in (asked, environ.get("TASKRUN_COLOR")):
        if word in {"always", "never"}:
            return word == "always"
    if environ.get("NO_COLOR"):
        return False
    force = environ.get("FORCE_COLOR", "").lower()
    if force:
        return force not in {"0", "false"}
    if environ.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    if environ.get("TERM") in {"dumb", "unknown"}:
        return False
    if environ.get("CLICOLOR") == "0":
        return False
    return service in _COLOURED or tty


def _ui(
    options: Options, environ: Environ, *, stderr_tty: bool, service: str | None, width: int, warnings: list[str]
) -> str:
    asked = _asked("ui", options.ui, environ, known=UIS, warnings=warnings)
    if asked == "auto":
        if options.quiet:
            return "none"
        return "live" if service is None and _can_animate(environ, stderr_tty=stderr_tty, width=width) else "plain"
    if asked == "live" and not _can_animate(environ, stderr_tty=stderr_tty, width=width):
        warnings.append("a live view needs a terminal of at least 20 columns on stderr; plain lines instead")
        return "plain"
    return asked


def _can_animate(environ: Environ, *, stderr_tty: bool, width: int) -> bool:
    return stderr_tty and environ.get("TERM", "dumb") not in {"", "dumb", "unknown"} and width >= NARROWEST


def _output(asked: str, *, service: str | None, named: str | None, both_ttys: bool) -> str:
    """What tasks do that say nothing of their own and were not the one named."""
    if named is not None and asked in {"auto", "stream"}:
        # What the one task needs is shown only where it failed: the user asked to see that one.
        return "failed" if asked == "auto" else "stream"
    if asked != "auto":
        return asked
    if service is not None:
        return "group"
    return "failed" if both_ttys else "stream"


def _asked(option: str, flag: str | None, environ: Environ, *, known: tuple[str, ...], warnings: list[str]) -> str:
    if flag is not None:
        return flag
    variable = f"TASKRUN_{option.upper()}"
    word = environ.get(variable, "")
    if word in known:
        return word
    if word:
        warnings.append(f"{variable}={word} is ignored: it may be {', '.join(known)}")
    return "auto"


def _positive(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


def _draws_unicode(environ: Environ) -> bool:
    """Only a locale that says otherwise keeps us to ASCII: containers often say nothing and show UTF-8 all the same."""
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "UTF-8"
    name = locale.upper()
    return "UTF-8" in name or "UTF8" in name or ("." not in name and name not in {"C", "POSIX"})
