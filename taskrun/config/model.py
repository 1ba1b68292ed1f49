"""The file as users write it: every table and key, its type, what it means.

One model, by which a file is checked and from which its JSON Schema is made. It converts nothing; what holds between
keys stands in ``rules``. Importing it takes as long as all of click: files that ``plain`` can judge do without.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from taskrun.config.kinds import (
    Duration,
    DurationOrZero,
    Environment,
    Filled,
    Identifier,
    Names,
    Positive,
    Scalar,
    Size,
    Table,
    Target,
    TaskName,
    Texts,
)
from taskrun.config.parts import VariableTable
from taskrun.config.task_model import DefaultsTable, TaskTable


class RunTable(Table, frozen=True, kw_only=True):
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
        Annotated[
            Filled,
            Meta(
                description="Where the durable queue lives: a file, or a PostgreSQL server; `$TASKRUN_QUEUE` wins. "
                "Default: `queue.db` in the folder of the records.",
                examples=["jobs.db", "postgresql://localhost/jobs"],
            ),
        ]
        | UnsetType
    ) = UNSET


class PoolTable(Table, frozen=True, kw_only=True):
    """Persistent Python workers."""

    size: Annotated[Positive, Meta(description="How many workers. Default: `[run]` `jobs`.")] | UnsetType = UNSET
    preload: (
        Annotated[Texts, Meta(description="Modules imported before the workers are forked.", examples=[["PIL.Image"]])]
        | UnsetType
    ) = UNSET
    setup: (
        Annotated[
            Target,
            Meta(
                description="A Python function that is called once in each worker, before its first task. A context "
                "manager that it returns is entered, and left when the worker ends.",
                examples=["media:open_models"],
            ),
        ]
        | UnsetType
    ) = UNSET
    max_requests: Annotated[Positive, Meta(description="A worker is replaced after so many tasks.")] | UnsetType = UNSET
    max_memory: Annotated[Size, Meta(description="A worker is replaced above this resident size.")] | UnsetType = UNSET
    startup_timeout: (
        Annotated[Duration, Meta(description="Limit of a worker's start, imports and `setup` included.")] | UnsetType
    ) = UNSET


class FileTable(Table, frozen=True, kw_only=True):
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
            dict[
                Identifier,
                Annotated[
                    str | int | float | bool | list[Scalar] | VariableTable,
                    Meta(title="a value, an array of values, or a table with a source or a parameter"),
                ],
            ],
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
