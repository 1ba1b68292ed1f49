"""Promises of the event file and its schema: what is written fits the schema and reads back the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun import events
from taskrun.model import Diagnostic, Leftover, Span
from taskrun.record.eventlog import EventLog
from taskrun.record.trouble import Trouble

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "events.md"
LEFT = (Leftover(pid=3, command="sleep 50"),)
EXAMPLES: list[events.AnyEvent] = [
    events.RunStart(taskrun="0.1", file="tasks.toml", argv=("a",), cwd="/", jobs=1, tasks=("t",), folder="/x"),
    events.TaskQueued(task="t"),
    events.TaskStart(task="t", attempt=1, argv=("ls",), shell="ls", cwd="/", pid=4, env=("A",)),
    events.TaskProgress(
        task="t", attempt=1, fraction=0.5, current=1.0, total=2.0, rate=0.1, eta=10.0, phase=1, phases=2
    ),
    events.TaskMessage(task="t", attempt=1, level="warning", text="x"),
    events.TaskRetry(task="t", attempt=1, why="exit 3", delay=0.5, exit_code=3),
    events.TaskEnd(
        task="t", attempt=2, state="failed", exit_code=3, leaked=LEFT, result={"a": [1]}, detail="Traceback"
    ),
    events.PoolState(pool="p", size=2, workers=2, busy=1, starting=0, restarts=1),
    events.RunSuspend(),
    events.RunResume(paused=1.5),
    events.RunCancel(reason="interrupted"),
    events.DiagnosticEvent(
        diagnostic=Diagnostic(
            code="x", message="m", file="f", span=Span(line=1, column=1, end_line=1, end_column=2), notes=("n",)
        )
    ),
    events.RunEnd(exit_status=0, counts={"failed": 1}, first_cause="t", leaked=LEFT),
    events.WorkerStart(taskrun="0.1", file="f", argv=("a",), cwd="/", queue="/q", slots=2, tasks=("t",), pid=5),
    events.JobStart(job=7, task="t", attempt=1, max_attempts=3, carried_by="r2"),
    events.JobEnd(job=7, task="t", attempt=1, max_attempts=3, outcome="retry", error="exit 3", elapsed=0.5),
    events.WorkerStopping(reason="SIGTERM", running=2),
    events.WorkerEnd(exit_status=0, elapsed=1.5, jobs={"done": 2}, leaked=LEFT),
]


def stamped(event: events.AnyEvent, seq: int = 1) -> events.Stamped:
    return events.Stamped(seq=seq, ts=1_800_000_000.25, run="r", event=event)


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value fits a schema; as much of JSON Schema as ours uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return any(fits(value, option, root) for option in schema["anyOf"])
    if ("const" in schema and value != schema["const"]) or ("enum" in schema and value not in schema["enum"]):
        return False
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    kind = schema.get("type")
    if kind == "null":
        return value is None
    if kind is not None and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if isinstance(value, dict):
        entries = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        return set(schema.get("required", ())) <= set(value) and all(
            fits(entry, entries.get(key, others if isinstance(others, dict) else {}), root)
            for key, entry in value.items()
        )
    return not isinstance(value, list) or all(fits(entry, schema.get("items", {}), root) for entry in value)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_fits_the_schema_and_reads_back(event: events.AnyEvent):
    line = events.encode(stamped(event))
    schema = events.schema()
    value = json.loads(line)
    assert fits(value, schema, schema)
    assert events.decode(line) == stamped(event)
    assert set(value) == {"v", "seq", "ts", "run", "event", *event.__struct_fields__}
    assert not fits({**value, "event": "nope"}, schema, schema)
    del value["seq"]
    assert not fits(value, schema, schema)


def test_output_fits_the_schema_as_text():
    output = events.TaskOutput(task="t", attempt=1, stream="stdout", data=b"\xff")
    value, schema = json.loads(events.encode_output(stamped(output), output, "�")), events.schema()
    assert fits(value, schema, schema)
    assert value["text"] == "�"
    assert "data" not in value


def test_every_kind_of_event_is_tried_here():
    kinds = {definition["properties"]["event"]["enum"][0] for definition in _kinds().values()}
    assert kinds == {type(event).__struct_config__.tag for event in EXAMPLES} | {"task.output"}


def _kinds() -> dict[str, Any]:
    definitions = events.schema()["$defs"]
    return {name: kind for name, kind in definitions.items() if "event" in kind["properties"]}


def test_the_page_names_every_kind_and_every_field():
    page = PAGE.read_text(encoding="utf-8")
    for kind in _kinds().values():
        name = kind["properties"]["event"]["enum"][0]
        _, found, section = page.partition(f"### `{name}`")
        assert found, f"{name} is not on the page"
        section = section.partition("\n#")[0]
        for field in kind["properties"].keys() - {"v", "seq", "ts", "run", "event"}:
            assert f"`{field}`" in section, f"{name}: {field} is not on the page"


@given(text=st.text(alphabet=st.characters(categories=("Cs", "Lu", "Cc", "Zs"))))
def test_names_that_are_no_utf8_do_no_harm(text: str):
    event = events.TaskStart(task=f"t[{text}]", attempt=1, argv=(text,))
    read = events.decode(events.encode(stamped(event))).event
    assert isinstance(read, events.TaskStart)
    assert read.argv[0] == "".join("�" if "\ud800" <= character <= "\udfff" else character for character in text)


def test_a_failed_write_is_told_once_and_the_end_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    warnings: list[str] = []
    log = EventLog(str(tmp_path / "events.jsonl"), lambda: 0.0, Trouble(warnings.append))
    log.write(stamped(EXAMPLES[0]))
    log.flush()
    calls: list[bytes] = []

    def refuse(fd: int, data: bytes) -> None:
        calls.append(data)
        import os

        os.write(fd, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("taskrun.record.eventlog.write_all", refuse)
    for seq in range(2, 50):
        log.write(stamped(events.TaskEnd(task="t", attempt=1, state="succeeded"), seq))
    monkeypatch.undo()
    log.write(stamped(events.RunEnd(exit_status=1), 50))
    log.close()
    assert len(calls) == len(warnings) == 1
    read = []
    for line in (tmp_path / "events.jsonl").read_bytes().splitlines():
        try:
            read.append(events.decode(line))
        except msgspec.DecodeError:
            assert line == calls[0][:10]
    assert read == [stamped(EXAMPLES[0]), stamped(events.RunEnd(exit_status=1), 50)]
