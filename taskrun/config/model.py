"""The file as users write it: every table and key, its type, what it means. One model, by which a file is checked and
from which its JSON Schema is made. It converts nothing and compares nothing across keys but by the tables at its end.

Annotations are evaluated at once, not as strings: compiling two hundred strings would cost more than the rest of it.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskrun.config.units import DURATION, DURATION_ABOVE_ZERO, LONGEST, RETRY_RULE, SIGNAL, SIZE

END = "$(?!\n)"
"""In Python `$` also matches before a last newline. The schema gets a plain `$`, which in its dialect does not."""


def exactly(pattern: str) -> str:
    """A pattern that all of a string must match."""
    return f"^(?:{pattern}){END}"


class Table(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of all tables: keys are written with dashes, unknown ones are mistakes."""


# --- values -----------------------------------------------------------------------------------------------------------
# A string with a pattern must not share a union with an array or a table: msgspec 0.22 frees the pattern as if it were
# a type when the interpreter exits, and the process dies of SIGABRT. In such a union the pattern stands in
# `extra_json_schema`, and the value's reader sees to it.

Off: TypeAlias = Annotated[bool, Meta(extra_json_schema={"const": False})]
"""``false``: takes a default away."""

Filled: TypeAlias = Annotated[str, Meta(min_length=1, title="a string that is not empty")]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]

Duration: TypeAlias = Annotated[
    Annotated[int, Meta(gt=0, le=LONGEST)]
    | Annotated[float, Meta(gt=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION_ABOVE_ZERO))],
    Meta(title="a duration above zero", examples=[90, "90s", "1h30m"]),
]
DurationOrOff: TypeAlias = Annotated[
    Annotated[int, Meta(gt=0, le=LONGEST)]
    | Annotated[float, Meta(gt=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION_ABOVE_ZERO))]
    | Off,
    Meta(title="a duration above zero, or false", examples=[90, "90s", "1h30m"]),
]
DurationOrZero: TypeAlias = Annotated[
    Annotated[int, Meta(ge=0, le=LONGEST)]
    | Annotated[float, Meta(ge=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION))],
    Meta(title="a duration", examples=[5, "5s", "250ms"]),
]
Size: TypeAlias = Annotated[
    Positive | Annotated[str, Meta(pattern=exactly(SIZE))],
    Meta(title="a size", examples=[1048576, "512MiB", "1.5GB"]),
]
Signal: TypeAlias = Annotated[
    Annotated[int, Meta(ge=1, le=64)] | Annotated[str, Meta(pattern=exactly(SIGNAL))],
    Meta(title="a signal", examples=["SIGINT", "TERM", 15]),
]
ExitCode: TypeAlias = Annotated[int, Meta(ge=0, le=255, title="an exit code from 0 to 255")]
Texts: TypeAlias = list[Filled]
Names: TypeAlias = Annotated[list[Filled], Meta(extra_json_schema={"uniqueItems": True})]
OneOrMore: TypeAlias = Annotated[
    Filled | Annotated[list[Filled], Meta(min_length=1)], Meta(title="a string or an array of strings")
]

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
TaskName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=exactly(NAME),
        title="a name of at most 100 letters, digits, `-`, `_` and `.` that starts with a letter, a digit or `_`",
    ),
]
Identifier: TypeAlias = Annotated[
    str,
    Meta(
        pattern=exactly(r"[A-Za-z_][A-Za-z0-9_-]{0,99}"),
        title="a name of at most 100 letters, digits, `-` and `_` that starts with a letter or `_`",
    ),
]
Variable: TypeAlias = Annotated[
    str, Meta(pattern=exactly("[^=]+"), title="the name of an environment variable, which has no `=`")
]
Scalar: TypeAlias = str | int | float | bool
Environment: TypeAlias = dict[Variable, str]
Target: TypeAlias = Annotated[
    str,
    Meta(pattern=exactly(r"[^\s:]+:[^\s:]+"), title="a function as module:function", examples=["media.video:probe"]),
]
Output: TypeAlias = Literal["stream", "group", "failed", "none"]


# --- sources and parameters -------------------------------------------------------------------------------------------


class SourceTable(Table):
    """Where values come from: exactly one of `glob`, `lines`, `range`, `shell` and `env`. It is read once per run, and
    only if the plan needs it.
    """

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


class VariableTable(SourceTable):
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


class RetryTable(Table):
    """When and how often a failed attempt is repeated."""

    attempts: Annotated[Positive, Meta(description="Tries in all, the first included.", examples=[3])] | UnsetType = (
        UNSET
    )
    delay: (
        Annotated[
            Annotated[int, Meta(ge=0, le=LONGEST)]
            | Annotated[float, Meta(ge=0, le=LONGEST)]
            | Annotated[str, Meta(extra_json_schema={"pattern": exactly(DURATION)})]
            | Annotated[list[DurationOrZero], Meta(min_length=2, max_length=2)],
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
            list[
                Annotated[
                    str,
                    Meta(
                        pattern=exactly(RETRY_RULE),
                        title="a rule such as exit:75, signal:KILL, timeout or exception:OSError",
                    ),
                ]
            ],
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


class WhenTable(Table):
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


class ProgressTable(Table):
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


class ReadyTable(Table):
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


class ServiceTable(Table):
    """A task that goes on running while its dependents run."""

    ready: Annotated[ReadyTable, Meta(description="When its dependents may start.", examples=[{"port": 8000}])]


# --- tasks ------------------------------------------------------------------------------------------------------------


class DefaultsTable(Table):
    """Keys that hold for every task that does not have them itself. `retry` and `limits` are merged table by table."""

    finally_: (
        Annotated[
            Names,
            Meta(
                description="Tasks that join every plan with this one and run when it and what depends on it have "
                "ended, however it ended.",
                examples=[["tidy"]],
            ),
        ]
        | UnsetType
    ) = msgspec.field(name="finally", default=UNSET)
    hidden: (
        Annotated[bool, Meta(description="Not in `taskrun list` and matched by no glob. Default: false.")] | UnsetType
    ) = UNSET
    shell_argv: (
        Annotated[
            Annotated[Texts, Meta(min_length=1)],
            Meta(
                description='The shell of `shell`, which is added as last argument. Default: `["sh", "-eu", "-c"]`.',
                examples=[["bash", "-euo", "pipefail", "-c"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    dotenv: (
        Annotated[
            Texts,
            Meta(
                description="Files of `NAME=VALUE` lines that fill in what the caller's environment lacks; of several, "
                "the later wins. `?` in front: the file may be missing.",
                examples=[[".env", "?.env.local"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    cwd: (
        Annotated[Filled, Meta(description="Folder to start in, relative to the file's folder. Default: that folder.")]
        | UnsetType
    ) = UNSET
    when: (
        Annotated[
            WhenTable | Annotated[list[WhenTable], Meta(min_length=1)] | Off,
            Meta(
                title="a table, an array of tables, or false",
                description="Conditions without which the task is skipped; of several tables, one must hold.",
                examples=[{"platform": "linux", "env": "!CI"}],
            ),
        ]
        | UnsetType
    ) = UNSET
    success_codes: (
        Annotated[
            Annotated[list[ExitCode], Meta(min_length=1)],
            Meta(description="Exit codes that mean success. Default: `[0]`.", examples=[[0, 3]]),
        ]
        | UnsetType
    ) = UNSET
    allow_failure: (
        Annotated[
            bool,
            Meta(
                description="A failure does not stop dependents and does not change the exit status; the summary names "
                "it. Default: false."
            ),
        ]
        | UnsetType
    ) = UNSET
    stop_signal: (
        Annotated[Signal, Meta(description="What asks the task to stop when a clock has run out. Default: `TERM`.")]
        | UnsetType
    ) = UNSET
    stdin: (
        Annotated[
            Filled | Off,
            Meta(
                title="a file, `-`, or false",
                description="A file to read from, or `-` for taskrun's own stdin. Default: nothing to read.",
                examples=["list.txt", "-"],
            ),
        ]
        | UnsetType
    ) = UNSET
    output: (
        Annotated[
            Output | Off,
            Meta(
                title='"stream", "group", "failed", "none", or false',
                description="How this task's output is shown. `--output` wins.",
                examples=["group"],
            ),
        ]
        | UnsetType
    ) = UNSET
    log: (
        Annotated[
            Positive | Annotated[str, Meta(pattern=exactly(SIZE))] | bool,
            Meta(
                title="a size, or false",
                description="Cap of an attempt's log; `false` keeps none. Default, and `true`: the whole output.",
                examples=["100MiB", False],
            ),
        ]
        | UnsetType
    ) = UNSET
    leak: (
        Annotated[
            Literal["warn", "fail"],
            Meta(
                description="What it means that a task leaves processes or open pipes behind, which are killed. "
                "Default: `warn`."
            ),
        ]
        | UnsetType
    ) = UNSET
    interactive: (
        Annotated[bool, Meta(description="The task gets the terminal; no two such at once. Default: false.")]
        | UnsetType
    ) = UNSET
    grace: (
        Annotated[
            DurationOrZero,
            Meta(description="Time between asking the task to stop and killing it. Default: that of `[run]`."),
        ]
        | UnsetType
    ) = UNSET
    timeout: (
        Annotated[DurationOrOff, Meta(description="Limit of one attempt from its start. Default: none.")] | UnsetType
    ) = UNSET
    start_timeout: (
        Annotated[
            DurationOrOff,
            Meta(description="Limit until the first output or progress; for Python, of the imports. Default: none."),
        ]
        | UnsetType
    ) = UNSET
    idle_timeout: (
        Annotated[DurationOrOff, Meta(description="Limit without output or progress. Default: none.")] | UnsetType
    ) = UNSET
    stall_timeout: (
        Annotated[DurationOrOff, Meta(description="Limit of progress that is reported but does not move.")] | UnsetType
    ) = UNSET
    retry: (
        Annotated[
            Positive | RetryTable | Off,
            Meta(
                title="a number of attempts, a table, or false",
                description="When and how often a failed attempt is repeated; a number is `retry.attempts`.",
                examples=[3, {"attempts": 3, "delay": "5s"}],
            ),
        ]
        | UnsetType
    ) = UNSET
    limits: (
        Annotated[
            dict[Identifier, Positive] | list[Identifier] | Off,
            Meta(
                title="a table of numbers, an array of names, or false",
                description="How much of each named limit the task takes while it runs; in an array, one each.",
                examples=[{"gpu": 1}, ["gpu", "network"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    slots: (
        Annotated[
            Positive | Literal["all"],
            Meta(
                title='a number of 1 or more, or "all"',
                description="How many of the `[run]` `jobs` the task takes; more than there are means all. Default: 1.",
                examples=[2, "all"],
            ),
        ]
        | UnsetType
    ) = UNSET
    progress: (
        Annotated[
            Literal[
                "ffmpeg", "percent", "fraction", "tqdm", "rsync", "yt-dlp", "curl", "wget", "7zip", "git", "pv", "osc"
            ]
            | ProgressTable
            | Off,
            Meta(
                title="the name of a parser, a table with a regex, or false",
                description="How progress is found in the output. Default: `ffmpeg` where `run` starts ffmpeg, else "
                "none.",
                examples=["tqdm", {"regex": "step (?P<current>\\d+)/(?P<total>\\d+)"}],
            ),
        ]
        | UnsetType
    ) = UNSET
    pool: (
        Annotated[Identifier | Off, Meta(title="the name of a pool, or false", description="Workers of `[pools]`.")]
        | UnsetType
    ) = UNSET


class TaskTable(DefaultsTable):
    """One task: exactly one of `run`, `shell` and `python`; with none of them, a group of its `needs`."""

    description: (
        Annotated[str, Meta(description="What the task does, in a few words, for `taskrun list`.")] | UnsetType
    ) = UNSET
    run: (
        Annotated[
            Annotated[list[str], Meta(min_length=1)],
            Meta(
                description="A program and its arguments; no shell is involved.",
                examples=[["ffmpeg", "-i", "in.mov", "out.mp4"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    shell: (
        Annotated[Filled, Meta(description="A shell command line.", examples=["tar -cf site.tar out"])] | UnsetType
    ) = UNSET
    python: (
        Annotated[Target, Meta(description="A Python function, called in a worker process of its own.")] | UnsetType
    ) = UNSET
    args: (
        Annotated[
            dict[str, Any] | list[Any],
            Meta(
                title="a table of arguments by name, or an array of them by position",
                description="Arguments of the Python function, by name or by position; checked against its type hints.",
                examples=[{"path": "in.png", "width": 800}],
            ),
        ]
        | UnsetType
    ) = UNSET
    needs: (
        Annotated[
            Names,
            Meta(
                description="Tasks that must have succeeded before; also patterns and instances.",
                examples=[["probe", "test-*", "compile[target=arm64]"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    foreach: (
        Annotated[
            Annotated[dict[Identifier, list[Scalar] | SourceTable | Filled], Meta(min_length=1)],
            Meta(
                title="a table of keys and their values",
                description="Makes one instance of the task per value: of an array, a source, or a look-up of one; of "
                "several keys, their cross product.",
                examples=[{"clip": {"glob": "in/*.mov"}}],
            ),
        ]
        | UnsetType
    ) = UNSET
    aliases: (
        Annotated[
            list[TaskName],
            Meta(
                extra_json_schema={"uniqueItems": True},
                description="Further names, on the command line only.",
                examples=[["t"]],
            ),
        ]
        | UnsetType
    ) = UNSET
    env: (
        Annotated[
            Environment,
            Meta(
                description="Environment variables, added to those of `[env]`; values may use look-ups.",
                examples=[{"TAR_OPTIONS": "--sort=name"}],
            ),
        ]
        | UnsetType
    ) = UNSET
    inputs: (
        Annotated[Texts, Meta(description="Files it reads, as paths or patterns.", examples=[["src/**/*.c"]])]
        | UnsetType
    ) = UNSET
    outputs: (
        Annotated[Texts, Meta(description="Files it makes; where they are fresh, it is not run.", examples=[["out/a"]])]
        | UnsetType
    ) = UNSET
    service: Annotated[ServiceTable, Meta(description="It goes on running while its dependents run.")] | UnsetType = (
        UNSET
    )


# --- the file ---------------------------------------------------------------------------------------------------------


class RunTable(Table):
    """The run as a whole."""

    default: (
        Annotated[
            Names, Meta(description="What a bare `taskrun run` runs: tasks, patterns, instances.", examples=[["site"]])
        ]
        | UnsetType
    ) = UNSET
    jobs: (
        Annotated[
            Positive, Meta(description="Slots: how much may run at once. Default: the usable CPUs.", examples=[4])
        ]
        | UnsetType
    ) = UNSET
    on_failure: (
        Annotated[
            Literal["finish", "stop", "continue"],
            Meta(
                description="After a failure, `finish` starts nothing new and lets running tasks end (default), `stop` "
                "stops them too, `continue` runs all that can still succeed."
            ),
        ]
        | UnsetType
    ) = UNSET
    deadline: Annotated[Duration, Meta(description="Limit of the whole run. Default: none.")] | UnsetType = UNSET
    grace: (
        Annotated[
            DurationOrZero,
            Meta(description='Time between asking a task to stop and killing it. Default: `"5s"`.'),
        ]
        | UnsetType
    ) = UNSET
    cleanup: (
        Annotated[
            DurationOrZero,
            Meta(description='What `finally` tasks have in all after a run was cancelled. Default: `"2s"`.'),
        ]
        | UnsetType
    ) = UNSET
    python: (
        Annotated[
            Filled,
            Meta(
                description="The Python of Python tasks; it must have taskrun installed. Default: that of the active "
                "virtual environment or of `.venv` beside the file, if they have it; else taskrun's own.",
                examples=[".venv/bin/python"],
            ),
        ]
        | UnsetType
    ) = UNSET
    state: (
        Annotated[
            Filled,
            Meta(description="Folder of the records; `$TASKRUN_STATE` wins. Default: `.taskrun`."),
        ]
        | UnsetType
    ) = UNSET
    keep_runs: Annotated[Positive, Meta(description="How many records are kept. Default: 20.")] | UnsetType = UNSET
    queue: (
        Annotated[Filled, Meta(description="Where the durable queue lives.", examples=["postgresql://localhost/jobs"])]
        | UnsetType
    ) = UNSET


class PoolTable(Table):
    """Persistent Python workers."""

    size: Annotated[Positive, Meta(description="How many workers. Default: `[run]` `jobs`.")] | UnsetType = UNSET
    preload: (
        Annotated[Texts, Meta(description="Modules imported before the workers are forked.", examples=[["PIL.Image"]])]
        | UnsetType
    ) = UNSET
    max_requests: Annotated[Positive, Meta(description="A worker is replaced after so many requests.")] | UnsetType = (
        UNSET
    )
    max_memory: Annotated[Size, Meta(description="A worker is replaced above this resident size.")] | UnsetType = UNSET
    startup_timeout: Annotated[Duration, Meta(description="Limit of a worker's start.")] | UnsetType = UNSET


class FileTable(Table):
    """A project of taskrun: `tasks.toml`, or `[tool.taskrun]` of a pyproject.toml."""

    tasks: Annotated[
        Annotated[dict[TaskName, TaskTable], Meta(min_length=1)], Meta(description="The tasks by their names.")
    ]
    run: Annotated[RunTable, Meta(description="The run as a whole.")] | UnsetType = UNSET
    limits: (
        Annotated[
            dict[Identifier, Positive],
            Meta(description="Named limits: how much of each is there.", examples=[{"gpu": 1}]),
        ]
        | UnsetType
    ) = UNSET
    vars: (
        Annotated[
            dict[Identifier, str | int | float | bool | list[Scalar] | VariableTable],
            Meta(description="Values, sources and parameters, which look-ups give as `vars.NAME`."),
        ]
        | UnsetType
    ) = UNSET
    env: Annotated[Environment, Meta(description="Environment variables of every task.")] | UnsetType = UNSET
    defaults: (
        Annotated[DefaultsTable, Meta(description="Keys that hold for every task that does not have them itself.")]
        | UnsetType
    ) = UNSET
    pools: (
        Annotated[dict[Identifier, PoolTable], Meta(description="Persistent Python workers by their names.")]
        | UnsetType
    ) = UNSET


# --- rules between keys, for the checks and the schema alike ----------------------------------------------------------

COMMANDS = ("run", "shell", "python")

ONE_AT_MOST: dict[type[Table], tuple[str, ...]] = {
    TaskTable: COMMANDS,
    SourceTable: ("glob", "lines", "range", "shell", "env"),
    VariableTable: ("glob", "lines", "range", "shell", "env"),
    ReadyTable: ("port", "output", "run"),
}
"""Of these keys a table has one or none."""

ONE_AT_LEAST: dict[type[Table], tuple[str, ...]] = {
    TaskTable: (*COMMANDS, "needs"),
    SourceTable: ("glob", "lines", "range", "shell", "env"),
    VariableTable: ("glob", "lines", "range", "shell", "env", "type", "choices", "default", "help"),
    WhenTable: ("platform", "env", "exists"),
}
"""Of these keys a table has one or more."""

GOES_WITH: dict[type[Table], dict[str, tuple[str, ...]]] = {
    TaskTable: {
        "args": ("python",),
        "shell-argv": ("shell",),
        "stdin": ("run", "shell"),
        "pool": ("python",),
    }
    | dict.fromkeys(
        ("env", "dotenv", "cwd", "success-codes", "allow-failure", "stop-signal", "output", "log", "leak"), COMMANDS
    )
    | dict.fromkeys(("interactive", "grace", "timeout", "start-timeout", "idle-timeout", "stall-timeout"), COMMANDS)
    | dict.fromkeys(("retry", "limits", "slots", "progress", "inputs", "outputs", "service"), COMMANDS),
    SourceTable: {"default": ("env",)},
}
"""A key that has no meaning without one of the others."""

NOT_WITH: dict[type[Table], dict[str, tuple[str, ...]]] = {
    VariableTable: dict.fromkeys(("type", "choices", "help"), ("glob", "lines", "range", "shell", "env"))
    | {"default": ("glob", "lines", "range", "shell")},
}
"""A key that excludes the others."""

NOT_YET: dict[type[Table], tuple[str, ...]] = {
    TaskTable: ("inputs", "outputs", "service", "pool"),
    DefaultsTable: ("pool",),
    RunTable: ("queue",),
    FileTable: ("pools",),
}
"""Keys that are part of the language and that this version does not carry out."""

PARSERS_NOT_YET = ("rsync", "yt-dlp", "curl", "wget", "7zip", "git", "pv", "osc")
"""Names of `progress` that this version does not carry out."""
