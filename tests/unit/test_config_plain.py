"""Plain documents are seen without the file model: never one that the model refuses, and hardly one that is simple."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli

from taskrun.config.model import FileTable, RunTable
from taskrun.config.parts import RetryTable, SourceTable, VariableTable, WhenTable
from taskrun.config.plain import is_plain
from taskrun.config.task_model import TaskTable

EXAMPLE = Path(__file__).resolve().parents[2] / "tasks.example.toml"

# At and beyond every edge that the model has.
NUMBERS = [0, 1, -1, 64, 65, 255, 256, 1_000_000_000, 1_000_000_001, 2**63 - 1, 2**63, -(2**63), 0.0, 0.5, 1e9, 2e9]
NUMBERS += [float("inf"), float("-inf"), float("nan"), True, False]
WORDS = """
    a A _ - . a-b a_b a.b -a .a _a 9 9a a:b :b a: a:b:c m.n:f.g m..n:f a=b =b a= !a !a=b * a[b=c] é a/b
    90s 0s 1.5s 1h30m 30m1h 250ms s ms ٣s 9999999999s -1s +1s 1_0s 1ms2 1d 1dd 1dhms
    1MiB 1.5GiB 0MiB 1MB 1iB MiB 5B 12345678901234KiB ²MiB
    TERM SIGTERM term SIG 9TERM TERM9 SIGé TÉRM
    exit:75 exit: exit:7x exit:1-2 exit:1000 !exit:2 !!exit:2 signal:KILL signal:9 signal: signal:kill exception:OSError
    exception: exception:a.b exception:a:b timeout !timeout timeout: timeout:1 failure lost none all
    str int warn fail stream group finish stop linux macos windows ffmpeg tqdm rsync true
"""
TEXTS = WORDS.split()
TEXTS += [
    "",
    " ",
    "a b",
    "a\n",
    "90s\n",
    "TERM\n",
    "a:b\n",
    "exit:75\n",
    "a" * 100,
    "a" * 101,
    "{{ x }}",
    "\ud800",
    "a\0",
]
SINGLE = [*NUMBERS, *TEXTS, dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.time(1)]
VALUES: list[Any] = [
    *SINGLE,
    *([each] for each in SINGLE),
    *([each, each] for each in SINGLE),
    *({"a": each} for each in SINGLE),
    *({each: 1} for each in TEXTS),
    *({each: "x"} for each in TEXTS),
    *({each: ["x"]} for each in TEXTS),
    *({key: each} for key in ("glob", "attempts", "platform", "regex", "port") for each in SINGLE),
    *([{"platform": each}] for each in SINGLE),
    [],
    {},
    [[]],
    [{}],
    [1, "a", 2.5],
    ["a", 1, None],
]


def keys_of(table: type) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(table)] + ["nope"]


def around(path: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    """A document in which one key has a value."""
    document: dict[str, Any] = {"tasks": {"a": {"run": ["true"]}}}
    table = document
    for step in path:
        table = table.setdefault(step, {})
    table[key] = value
    return document


PLACES: list[tuple[tuple[str, ...], type]] = [
    ((), FileTable),
    (("tasks", "a"), TaskTable),
    (("defaults",), TaskTable),
    (("run",), RunTable),
    (("tasks", "a", "retry"), RetryTable),
    (("tasks", "a", "when"), WhenTable),
    (("tasks", "a", "foreach", "k"), SourceTable),
    (("vars", "v"), VariableTable),
]


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, table in PLACES for key in keys_of(table)])
def test_no_value_is_plain_that_the_model_refuses(path: tuple[str, ...], key: str):
    for value in VALUES:
        document = around(path, key, value)
        if is_plain(document):
            msgspec.convert(document, FileTable)


@pytest.mark.parametrize("place", ["tasks", "vars", "limits", "env", "foreach"])
def test_no_name_is_plain_that_the_model_refuses(place: str):
    for name in TEXTS:
        document: dict[str, Any] = {"tasks": {"a": {"run": ["true"]}}}
        if place == "tasks":
            document = {"tasks": {name: {"run": ["true"]}}}
        elif place == "foreach":
            document["tasks"]["a"]["foreach"] = {name: ["x"]}
        else:
            document[place] = {name: 1 if place == "limits" else "x"}
        if is_plain(document):
            msgspec.convert(document, FileTable)


@pytest.mark.parametrize(
    "document", [{}, {"tasks": {}}, {"tasks": []}, {"tasks": 1}, {"tasks": {"a": []}}, {"run": {}}]
)
def test_a_file_without_tasks_is_not_plain(document: dict[str, Any]):
    assert not is_plain(document)


def test_a_document_of_every_simple_kind_is_plain():
    document = tomli.loads("""
        [run]
        default = ["a"]
        jobs = 4
        on-failure = "stop"
        deadline = "30m"
        [limits]
        gpu = 1
        [vars]
        files = { glob = "in/*.mov" }
        target = { type = "str", choices = ["a", "b"], default = "a", help = "where" }
        list = [1, "b"]
        [env]
        LC_ALL = "C"
        [defaults]
        timeout = "10m"
        [tasks.a]
        run = ["ffmpeg", "-i", "{{ clip }}"]
        foreach.clip = "{{ vars.files }}"
        description = "x"
        needs = ["b*", "c[x=1]"]
        limits = ["gpu"]
        stall-timeout = 120
        retry = { attempts = 3, delay = ["1s", "30s"], on = ["exit:75", "signal:KILL", "!timeout", "exception:OSError"] }
        when = { platform = "linux", env = ["!CI"] }
        [tasks.b1]
        python = "media.video:probe"
        args = { path = "x", deep = [{ a = 1 }] }
        log = "100MiB"
        stop-signal = "INT"
        [tasks.c]
        foreach.x = [1, 2]
        shell = "true"
        finally = ["d.e-f"]
        [tasks."d.e-f"]
        needs = []
    """)
    assert is_plain(document)
    msgspec.convert(document, FileTable)


def test_the_example_is_plain():
    assert is_plain(tomli.loads(EXAMPLE.read_text(encoding="utf-8")))


def test_a_large_file_is_left_to_the_model():
    document = {"tasks": {f"t{number}": {"run": ["true"]} for number in range(1001)}}
    assert not is_plain(document)
    del document["tasks"]["t0"]
    assert is_plain(document)
