"""A task as users write it, and what `[defaults]` may say for all of them. The same rules as in `model`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskrun.config.kinds import (
    Duration,
    DurationOrOff,
    DurationOrZero,
    Environment,
    ExitCode,
    Filled,
    Identifier,
    Names,
    Off,
    Output,
    Positive,
    Scalar,
    Signal,
    SizeText,
    Table,
    Target,
    TaskName,
    Texts,
)
from taskrun.config.parts import ProgressTable, RetryTable, ServiceTable, SourceTable, WhenTable


class DefaultsTable(Table, frozen=True, kw_only=True):
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
            Positive | SizeText | bool,
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
            Meta(description="Limit until the first output or progress; for Python from the call on. Default: none."),
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
                title='a whole number of 1 or more, or "all"',
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


class TaskTable(DefaultsTable, frozen=True, kw_only=True):
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
            Annotated[
                dict[
                    Identifier,
                    Annotated[
                        list[Scalar] | SourceTable | Filled,
                        Meta(title="an array of values, a table with a source, or a look-up"),
                    ],
                ],
                Meta(min_length=1),
            ],
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
    every: (
        Annotated[
            Duration,
            Meta(description="Workers run it as a recurring job, so often. Multiples count from 1970 in UTC."),
        ]
        | UnsetType
    ) = UNSET
    cron: (
        Annotated[
            Filled,
            Meta(
                description="Workers run it as a recurring job at these times: minute, hour, day, month, weekday, in "
                "local time.",
                examples=["30 3 * * 1-5"],
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
