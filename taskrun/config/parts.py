"""Tables that stand inside others: sources and parameters, and the parts of a task. The same rules as in `model`."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from taskrun.config.kinds import Delay, Filled, OneOrMore, Positive, RetryOn, Scalar, Table, Texts, Variable

# --- sources and parameters -------------------------------------------------------------------------------------------


class SourceTable(Table, frozen=True, kw_only=True):
    """Where values come from: exactly one key. It is read once per run, and only if the plan needs it."""

    glob: (
        Annotated[
            OneOrMore,
            Meta(
                description="Files that a pattern (or one of several) matches, sorted, relative to the file's folder. "
                "`**` stands for any number of folders.",
                examples=["in/**/*.mov", ["*.png", "*.jpg"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    lines: (
        Annotated[
            Filled, Meta(description="The lines of a text file; empty ones are left out.", examples=["hosts.txt"])
        ]
        | UnsetType
    ) = UNSET
    range: (
        Annotated[
            list[int],
            Meta(
                min_length=2,
                max_length=2,
                title="an array of the first and the last number",
                description="Whole numbers from the first to the last, both included.",
                examples=[[1, 9]],
            ),
        ]
        | UnsetType
    ) = UNSET
    shell: (
        Annotated[
            Filled,
            Meta(
                description="What a shell command line prints within 10 s, without its last newline; in `foreach`, "
                "its lines.",
                examples=["git rev-parse --short HEAD"],
            ),
        ]
        | UnsetType
    ) = UNSET
    env: (
        Annotated[Variable, Meta(description="A variable of the caller's environment.", examples=["PORT"])] | UnsetType
    ) = UNSET
    default: (
        Annotated[
            Scalar,
            Meta(description="What holds where the variable is not set (a string), or the command line says nothing."),
        ]
        | UnsetType
    ) = UNSET


class VariableTable(SourceTable, frozen=True, kw_only=True):
    """A source, or a parameter that the command line sets as `KEY=VALUE`. A parameter without a default must be set."""

    type: (
        Annotated[
            Literal["str", "int", "float", "bool", "path"],
            Meta(description="Type of a parameter. Default: that of its default or choices, else `str`."),
        ]
        | UnsetType
    ) = UNSET
    choices: (
        Annotated[
            list[Scalar],
            Meta(
                min_length=1,
                description="The values that a parameter may have.",
                examples=[["staging", "production"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    help: Annotated[str, Meta(description="What a parameter is for, in a few words.")] | UnsetType = UNSET


# --- parts of a task --------------------------------------------------------------------------------------------------


class RetryTable(Table, frozen=True, kw_only=True):
    """When and how often a failed attempt is repeated."""

    attempts: Annotated[Positive, Meta(description="Tries in all, the first included.", examples=[3])] | UnsetType = (
        UNSET
    )
    delay: (
        Annotated[
            Delay,
            Meta(
                title="a duration, or an array of the first and the longest",
                description="Time between two attempts: one value is fixed; of two, the first is doubled up to the "
                "longest, and a random share of it is waited (full jitter). Default: none.",
                examples=["5s", ["1s", "30s"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    on: (
        Annotated[
            list[RetryOn],
            Meta(
                min_length=1,
                description="What is tried again: `exit:CODE`, `exit:FIRST-LAST`, `signal:NAME`, `timeout`, `start`, "
                "`idle`, `stall` (the clocks), `exception:CLASS`, `lost`, `failure` (any). `!` in front excludes. "
                "Default: every failure but a command that was not found.",
                examples=[["exit:75", "timeout", "!exit:2"]],
            ),
        ]
        | UnsetType
    ) = UNSET


class WhenTable(Table, frozen=True, kw_only=True):
    """Conditions that must all hold."""

    platform: (
        Annotated[
            Literal["linux", "macos"] | Annotated[list[Literal["linux", "macos"]], Meta(min_length=1)],
            Meta(title='"linux", "macos" or an array of both', description="The operating system is (one of) these."),
        ]
        | UnsetType
    ) = UNSET
    env: (
        Annotated[
            OneOrMore,
            Meta(
                description="`NAME`: the variable is set and not empty; `!NAME`: it is not; `NAME=VALUE`: it is that. "
                "Of several, all must hold.",
                examples=["!CI", ["CI", "DEPLOY=yes"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    exists: (
        Annotated[
            OneOrMore,
            Meta(
                description="A path or a pattern that something matches; `!` in front: that nothing does. Of several, "
                "all must hold.",
                examples=["out", "!*.lock"],
            ),
        ]
        | UnsetType
    ) = UNSET


class ProgressTable(Table, frozen=True, kw_only=True):
    """Progress found by a pattern of one's own."""

    regex: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2000)],
        Meta(
            description="Python regular expression, tried on each line. At least one of the named groups `percent` (0 "
            "to 100), `fraction` (0 to 1) and `current`; also `total` and `message`.",
            examples=["(?P<current>\\d+) of (?P<total>\\d+) files"],
        ),
    ]
    total: (
        Annotated[
            Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)],
            Meta(title="a number above zero", description="What `current` goes up to, where the output does not say."),
        ]
        | UnsetType
    ) = UNSET
    stream: (
        Annotated[
            Literal["stdout", "stderr", "both"], Meta(description="Where the lines are looked for. Default: `both`.")
        ]
        | UnsetType
    ) = UNSET


class ReadyTable(Table, frozen=True, kw_only=True):
    """How a service says that it is ready; empty: at its start."""

    port: (
        Annotated[
            Annotated[int, Meta(ge=1, le=65535)],
            Meta(description="A TCP port that accepts connections.", examples=[80]),
        ]
        | UnsetType
    ) = UNSET
    output: (
        Annotated[Filled, Meta(description="Text that one of its lines has.", examples=["Listening on"])] | UnsetType
    ) = UNSET
    run: (
        Annotated[
            Annotated[Texts, Meta(min_length=1)],
            Meta(description="A command that succeeds.", examples=[["pg_isready", "-q"]]),
        ]
        | UnsetType
    ) = UNSET


class ServiceTable(Table, frozen=True, kw_only=True):
    """A task that goes on running while its dependents run."""

    ready: Annotated[ReadyTable, Meta(description="When its dependents may start.", examples=[{"port": 8000}])]
