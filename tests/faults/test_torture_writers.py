"""Random writers, every way of showing what they write, slow readers: every byte is in the log, each line shown once."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from support import runs
from support.torture import torture
from support.writers import STREAMS, Written, random_writer

from taskrun.record.reading import RunRecord

if TYPE_CHECKING:
    from support.torture import Case, Torture

__all__ = ["torture"]
pytestmark = pytest.mark.slow

MODES = ("stream", "group", "failed", "none", "auto")
PLACES = {"a pipe": {}, "GitHub": {"CI": "true", "GITHUB_ACTIONS": "true"}, "some CI": {"CI": "true"}}


def test_every_byte_is_in_the_log_and_every_line_is_shown_once(torture: Torture) -> None:
    torture.each(one_run, usual=8.0, least=6)


def one_run(case: Case) -> None:
    """Some writers at once, shown in some way to some reader."""
    case.project.env["TASKRUN_COLOR"] = "never"
    choices = case.random
    count = choices.choice([1, 2, 4])
    tables, writers = zip(
        *(random_writer(choices, case.project, f"t{number}", 400 // count) for number in range(count)), strict=True
    )
    case.project.tasks("[run]\njobs = 4\n" + "".join(tables))
    mode = choices.choice(MODES)
    kind = choices.choice([*PLACES, "a slow reader", "a terminal"])
    case.told |= {"mode": mode, "shown in": kind, "writers": [{s: len(w.data[s]) for s in STREAMS} for w in writers]}
    words = ["run", *[writer.task for writer in writers], "-k"] + (["--output", mode] if mode != "auto" else [])
    out, err, status = shown_in(case, kind, words)
    assert status == (1 if any(writer.status for writer in writers) else 0), (status, out[-2000:], err[-2000:])
    for writer in writers:
        expect_log(case, writer)
    if count == 1 and mode in {"auto", "stream"} and kind != "a terminal":
        expect_raw(writers[0], out, err)
    else:
        expect_shown(writers, mode, kind, out, err)


# --- readers


def shown_in(case: Case, kind: str, words: list[str]) -> tuple[bytes, bytes, int]:
    """What was shown on stdout and stderr, which at a terminal are one; and the exit status."""
    if kind == "a slow reader":
        return read_slowly(case, words)
    if kind == "a terminal":
        terminal = case.project.terminal(*words, columns=120)
        finished = terminal.finish()
        return finished.out, b"", finished.status
    finished = case.project.taskrun(*words, env=PLACES[kind])
    return finished.out, finished.err, finished.status


def read_slowly(case: Case, words: list[str]) -> tuple[bytes, bytes, int]:
    """Reads little, and late, and now and then not at all; after a while as quickly as it can."""
    reading, writing = os.pipe()
    running = case.project.start(*words, stdout=writing)
    os.close(writing)
    received = bytearray()
    until = time.monotonic() + 1.0
    try:
        while piece := os.read(reading, case.random.choice([1, 100, 4096, 65536])):
            received += piece
            if time.monotonic() < until:
                time.sleep(case.random.choice([0.0, 0.0005, 0.02]))
            else:
                while piece := os.read(reading, 1 << 20):
                    received += piece
    finally:
        os.close(reading)
    finished = running.finish()
    return bytes(received), finished.err, finished.status


# --- what must hold


def expect_log(case: Case, writer: Written) -> None:
    """Every byte of both streams, each for itself; and no byte more."""
    record = RunRecord(str(runs.folder(case.project)))
    for stream in STREAMS:
        log = b"".join(record.read_log(writer.task, 1, stream))
        assert log == writer.data[stream], (
            f"the log of {writer.task}'s {stream}: {first_difference(log, writer, stream)}"
        )
    assert sum(map(len, record.read_log(writer.task, 1))) == sum(map(len, writer.data.values()))


def expect_raw(writer: Written, out: bytes, err: bytes) -> None:
    """The one task named: its stdout is stdout, byte for byte; its stderr is between taskrun's own lines."""
    assert out == writer.data["stdout"]
    token = re.compile(rf"{writer.task}e\d+:".encode())
    lines = [line for line in err.split(b"\n") if token.match(line)]
    assert lines == [line for line in writer.data["stderr"].split(b"\n") if line]


def expect_shown(writers: tuple[Written, ...], mode: str, kind: str, out: bytes, err: bytes) -> None:
    """Of each stream exactly its lines, once and in order, where they belong."""
    for writer in writers:
        for stream in STREAMS:
            where = out if stream == "stdout" or kind in {"a terminal", "GitHub", "some CI"} else err
            lines = lines_of(writer.task, stream, where)
            wanted = writer.shown(stream) if is_shown(writer, mode, kind, len(writers)) else []
            assert lines == wanted, f"{stream} of {writer.task}: {compared(lines, wanted)}"


def is_shown(writer: Written, mode: str, kind: str, count: int) -> bool:
    """Whether this writer's output is to be seen at all."""
    if mode == "auto":
        mode = {"a terminal": "failed", "GitHub": "group", "some CI": "group"}.get(kind, "stream")
        if count == 1:
            mode = "stream"
    return mode in {"stream", "group"} or (mode == "failed" and writer.status != 0)


def lines_of(task: str, stream: str, text: bytes) -> list[str]:
    """The lines in a text that are a stream's, without the label that they may have."""
    is_its = re.compile(rf"(?:{task} \| )?({task}{stream[3]}\d+:.*)", re.DOTALL)
    lines = (is_its.fullmatch(line.removesuffix("\r")) for line in text.decode().split("\n"))
    return [found[1] for found in lines if found]


def compared(lines: list[str], wanted: list[str]) -> str:
    for number, (line, other) in enumerate(zip(lines, wanted, strict=False)):
        if line != other:
            return f"line {number} is {line[:200]!r}, not {other[:200]!r}"
    return f"{len(lines)} lines, not {len(wanted)}"


def first_difference(log: bytes, writer: Written, stream: str) -> str:
    wanted = writer.data[stream]
    at = next((at for at, (one, other) in enumerate(zip(log, wanted, strict=False)) if one != other), None)
    at = min(len(log), len(wanted)) if at is None else at
    return f"{len(log)} bytes, not {len(wanted)}; at {at} {log[at : at + 60]!r}, not {wanted[at : at + 60]!r}"
