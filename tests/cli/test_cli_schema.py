"""`taskrun schema`: a JSON Schema, without a file and without noise."""

from __future__ import annotations


def test_it_prints_a_schema_that_knows_the_keys(project):
    schema = project.taskrun("schema").succeeds().says_exactly("").json()
    assert "draft-07" in schema["$schema"]
    assert {"tasks", "run", "limits", "vars", "env", "defaults", "pools"} <= set(schema["properties"])


def test_it_needs_no_file_and_ends_with_one_newline(project):
    text = project.taskrun("schema").succeeds().stdout
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")


def test_it_is_the_same_each_time(project):
    assert project.taskrun("schema").stdout == project.taskrun("schema").stdout


def test_the_events_have_a_schema_that_knows_their_kinds(project):
    schema = project.taskrun("schema", "--events").succeeds().json()
    kinds = {
        kind["properties"]["event"]["enum"][0] for kind in schema["$defs"].values() if "event" in kind["properties"]
    }
    assert {"run.start", "task.start", "task.progress", "task.end", "run.end"} <= kinds
