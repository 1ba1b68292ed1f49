"""The schema and the loader are one: every key is in both, described, and they judge every document alike."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskrun import config
from taskrun.config import model, task_model
from taskrun.config.mistakes import Mistakes
from taskrun.config.model import FileTable
from taskrun.config.plain import is_plain
from taskrun.config.source import SourceFile
from taskrun.model import ProjectError

if TYPE_CHECKING:
    from taskrun.config.kinds import Table

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "toml.md"
SCHEMA = config.schema()


def tables() -> dict[str, type[Table]]:
    """Every table of the file model by the name of its definition."""
    found: dict[str, type[Table]] = {}
    todo: list[type] = [FileTable]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        inner = re.findall(r"cls=<class '[\w.]*\.(\w+)'>", str(msgspec.inspect.type_info(kind)))
        for name in inner:
            table = getattr(model, name, None) or getattr(task_model, name, None) or _part(name)
            if name not in found:
                todo.append(table)
    return found


def _part(name: str) -> type[Table]:
    from taskrun.config import parts

    return getattr(parts, name)


def definition(name: str) -> dict[str, Any]:
    return SCHEMA if name == "FileTable" else SCHEMA["definitions"][name]


# --- every key is there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_key_of_a_table_is_in_the_schema_and_described(name: str):
    keys = {field.encode_name for field in msgspec.structs.fields(tables()[name])}
    properties = definition(name)["properties"]
    assert set(properties) == keys
    for key, each in properties.items():
        assert each.get("description"), f"{name}.{key} has no description"
    assert definition(name)["additionalProperties"] is False


def test_the_schema_has_no_table_that_the_model_has_not():
    assert set(SCHEMA["definitions"]) == set(tables()) - {"FileTable"}


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_key_is_in_the_reference(name: str):
    text = REFERENCE.read_text(encoding="utf-8")
    for field in msgspec.structs.fields(tables()[name]):
        assert re.search(rf"^\| `(?:[\w-]+\.)?{field.encode_name}` \|", text, re.MULTILINE), field.encode_name


def test_the_schema_is_of_draft_07_and_refers_only_to_what_it_has():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = msgspec.json.encode(SCHEMA).decode()
    assert "$defs" not in text
    assert "(?!\\n)" not in text
    for name in re.findall(r'"#/definitions/(\w+)"', text):
        assert name in SCHEMA["definitions"]
    for each in everything(SCHEMA):
        if "$ref" in each:
            assert set(each) == {"$ref"}, "beside a $ref draft-07 reads nothing"


def test_examples_in_the_schema_are_valid_by_it():
    for each in everything(SCHEMA):
        for value in each.get("examples", ()):
            assert valid(each, value), (each, value)


def everything(value: Any) -> list[dict[str, Any]]:
    """All schemas inside a schema."""
    if isinstance(value, list):
        return [found for each in value for found in everything(each)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for key, each in value.items() if key != "examples" for found in everything(each))]


# --- a small validator: the part of draft-07 that the schema uses -----------------------------------------------------


def valid(schema: dict[str, Any], value: Any) -> bool:
    return all(RULES[rule](schema, value) for rule in schema)


def is_type(name: str, value: Any) -> bool:
    match name:
        case "integer":  # TOML tells 1 from 1.0
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "array": list, "object": dict}[name])


def _properties(schema: dict[str, Any], value: Any) -> bool:
    known = schema["properties"]
    return not isinstance(value, dict) or all(valid(known[key], value[key]) for key in value if key in known)


def _additional(schema: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    others = [each for key, each in value.items() if key not in schema.get("properties", {})]
    rule = schema["additionalProperties"]
    return all(valid(rule, each) for each in others) if isinstance(rule, dict) else rule or not others


def _reference(schema: dict[str, Any], value: Any) -> bool:
    return valid(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]], value)


def _dependencies(schema: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, dict) or all(
        valid(rule, value) for key, rule in schema["dependencies"].items() if key in value
    )


def _number(test: Any) -> Any:
    return lambda schema, value: not is_type("number", value) or test(schema, value)


def _of(kind: type, test: Any) -> Any:
    return lambda schema, value: not isinstance(value, kind) or test(schema, value)


def _ignored(_schema: dict[str, Any], _value: Any) -> bool:
    return True


RULES: dict[str, Any] = dict.fromkeys(["$schema", "title", "description", "examples", "definitions"], _ignored) | {
    "$ref": _reference,
    "type": lambda schema, value: is_type(schema["type"], value),
    "enum": lambda schema, value: any(type(each) is type(value) and each == value for each in schema["enum"]),
    "const": lambda schema, value: value is schema["const"],
    "anyOf": lambda schema, value: any(valid(each, value) for each in schema["anyOf"]),
    "allOf": lambda schema, value: all(valid(each, value) for each in schema["allOf"]),
    "not": lambda schema, value: not valid(schema["not"], value),
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _of(dict, lambda schema, value: all(key in value for key in schema["required"])),
    "dependencies": _dependencies,
    "propertyNames": _of(dict, lambda schema, value: all(valid(schema["propertyNames"], key) for key in value)),
    "minProperties": _of(dict, lambda schema, value: len(value) >= schema["minProperties"]),
    "items": _of(list, lambda schema, value: all(valid(schema["items"], each) for each in value)),
    "minItems": _of(list, lambda schema, value: len(value) >= schema["minItems"]),
    "maxItems": _of(list, lambda schema, value: len(value) <= schema["maxItems"]),
    "uniqueItems": _of(list, lambda _schema, value: all(each not in value[:index] for index, each in enumerate(value))),
    "minLength": _of(str, lambda schema, value: len(value) >= schema["minLength"]),
    "maxLength": _of(str, lambda schema, value: len(value) <= schema["maxLength"]),
    "pattern": _of(str, lambda schema, value: re.search(schema["pattern"].replace("$", r"\Z"), value) is not None),
    "minimum": _number(lambda schema, value: value >= schema["minimum"]),
    "maximum": _number(lambda schema, value: value <= schema["maximum"]),
    "exclusiveMinimum": _number(lambda schema, value: value > schema["exclusiveMinimum"]),
}


# --- both judge alike -------------------------------------------------------------------------------------------------

SOME_TEXTS = [
    "",
    "a",
    "b",
    "b-1",
    "a\n",
    "A=B",
    "90s",
    "0s",
    "1h30m",
    "1m1h",
    "512MiB",
    "0B",
    "1 kB",
    "TERM",
    "SIGINT",
    "exit:75",
    "!timeout",
    "exit:x",
    "m:f",
    "a.b:c.d",
    "m:",
    "all",
    "ffmpeg",
    "stream",
    "linux",
    "{{ vars.a }}",
    "-",
    "N",
    "!N",
    "(?P<percent>.)",
]
TEXTS = st.sampled_from(SOME_TEXTS)
ODD = st.one_of(
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 64, 255, 256, 65536, 10**9, 10**9 + 1, 2**63]),
    st.sampled_from([0.0, 0.5, -0.5, 1.0, 1e12, math.inf]),
    TEXTS,
    st.lists(TEXTS, max_size=3),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(0, 2)), max_size=2),
)

BEYOND_THE_SCHEMA = (
    # Each is a sentence that the loader says of a document which the schema lets through: what a schema cannot say.
    r"is not defined|matches no task|has no `foreach` key|is an alias|cannot run after",  # other tasks
    r"needs itself|need each other in a circle|differs from task|the alias `",
    r"not in \[limits\]|of which there are",
    r"is not carried out by|that this version of taskrun does not have",
    r"no signal of this system|does not end a process|names the exit code|has the empty range|no name of a class",
    r"in which `.*` is no Python name|no name that a Python argument can have",
    r"none of the groups|without a group `current`|is not a regular expression",
    r"is not a look-up|has `.*` twice|hides the look-up|goes (?:from .* )?down to|has more than 100000 values",
    r"is not one of the choices|the type is|must be a (?:whole )?number$|must be a string$|must be a boolean$",
    r"must be a string, as all variables are",
    r"does not say how many `attempts`|has a longest delay below the first|begins with zero, which stays",
    r"has `.*`, which names no variable|in task `.*` has `!.*=.*`",
    r"is longer than 31 years|larger than any file|whole number of more than 64 bits|is not a finite number",
    r"is less than one byte|an empty string for the program's name",
    r"since the task is interactive|is set by taskrun itself",
    r"no cron expression|which never comes|is less than a second|no module's name|none of PostgreSQL's",
)


@cache
def values(reference: str) -> st.SearchStrategy[Any]:
    """Values for a part of the schema, mostly right."""
    return build(SCHEMA["definitions"][reference.rpartition("/")[2]])


def build(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values for a schema: one in twenty is anything at all."""
    right = right_values(schema)
    return st.integers(0, 19).flatmap(lambda chance: right if chance else ODD)


def right_values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return st.deferred(lambda: values(schema["$ref"]))
    some = [st.sampled_from(schema["examples"])] if "examples" in schema else []
    if "properties" in schema:
        return table(schema)
    if "anyOf" in schema or "allOf" in schema:
        return st.one_of(*some, *(build(each) for each in schema.get("anyOf", schema.get("allOf"))))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    match schema.get("type"):
        case "array":
            most = schema.get("maxItems", 3)
            return st.one_of(
                *some, st.lists(build(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=most)
            )
        case "object":
            names = [text for text in SOME_TEXTS if valid(schema.get("propertyNames", {}), text)]
            return st.one_of(
                *some,
                st.dictionaries(
                    st.sampled_from(names),
                    build(schema.get("additionalProperties", {})),
                    min_size=schema.get("minProperties", 0),
                    max_size=2,
                ),
            )
        case "integer" | "number":
            return st.sampled_from([schema.get("minimum", 1), schema.get("maximum", 99), 1, 2])
        case "boolean":
            return st.booleans()
        case "string":
            return st.one_of(*some, st.sampled_from([text for text in SOME_TEXTS if valid(schema, text)]))
    return ODD


def table(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    keys = [*schema["properties"]]
    commands = [key for key in ("run", "shell", "python") if key in keys]

    @st.composite
    def draw_table(draw: Any) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(keys), max_size=3, unique=True))
        if not draw(st.integers(0, 19)):
            chosen.append("nope")
        chosen += [key for key in schema.get("required", ()) if key not in chosen and draw(st.integers(0, 19))]
        if commands and draw(st.integers(0, 9)):
            chosen = [key for key in chosen if key not in commands] + [draw(st.sampled_from(commands))]
        return {key: draw(parts[key]) for key in chosen}

    parts = {key: build(each) for key, each in schema["properties"].items()} | {"nope": ODD}
    return draw_table()


DOCUMENTS = st.fixed_dictionaries(
    {
        "tasks": st.dictionaries(
            st.sampled_from(["a", "b", "c", "a b", "a", "b"]), values("TaskTable"), min_size=1, max_size=2
        )
    },
    optional={key: build(each) for key, each in SCHEMA["properties"].items() if key != "tasks"},
)


def complaints(document: dict[str, Any]) -> list[str]:
    """What the loader says of a document, without a text that it stands in."""
    from taskrun.config import loading

    source = SourceFile("tasks.toml", "")
    mistakes = Mistakes(source)
    loading.check_document(document, source, "/", mistakes)
    return [each.message for each in mistakes.sorted()]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(DOCUMENTS)
def test_the_schema_and_the_loader_judge_alike(document: dict[str, Any]):
    said = complaints(document)
    if not valid(SCHEMA, document):
        assert said, "the schema refuses it, the loader does not"
    else:
        unknown = [each for each in said if not any(re.search(beyond, each) for beyond in BEYOND_THE_SCHEMA)]
        assert not unknown, "the loader refuses it, the schema does not"


# --- the model itself -------------------------------------------------------------------------------------------------


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(DOCUMENTS)
def test_what_is_plain_at_a_glance_the_model_lets_through(document: dict[str, Any]):
    if is_plain(document):
        msgspec.convert(document, FileTable)


def test_the_model_does_not_crash_the_interpreter_at_its_end():
    # msgspec 0.22 frees the pattern of a string twice where it shares a union with an array.
    code = (
        "import msgspec; from taskrun.config.model import FileTable; from taskrun import config\n"
        "msgspec.convert({'tasks': {'a': {'run': ['x'], 'retry': {'delay': '5s'}}}}, FileTable); config.schema()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_loads_is_valid_and_the_other_way_round():
    right = {"tasks": {"a": {"run": ["x"]}}}
    assert valid(SCHEMA, right)
    for wrong in ({}, {"tasks": {}}, {"tasks": {"a": {}}}, {"tasks": {"a": {"run": ["x"], "shell": "x"}}}):
        assert not valid(SCHEMA, wrong)
        with pytest.raises(ProjectError):
            config.load_text(_toml(wrong))


def _toml(document: dict[str, Any]) -> str:
    """Inline tables are enough here."""
    return "".join(f"{key} = {_inline(value)}\n" for key, value in document.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def test_every_key_in_the_reference_is_one():
    known = {field.encode_name for kind in tables().values() for field in msgspec.structs.fields(kind)}
    section = REFERENCE.read_text(encoding="utf-8").partition("## Messages")[0]
    rows = re.findall(r"^\| `([\w.-]+)` \|", section, re.MULTILINE)
    assert {row.rpartition(".")[2] for row in rows} == known


def test_every_code_of_a_message_is_in_the_reference():
    section = REFERENCE.read_text(encoding="utf-8").partition("## Messages")[2]
    codes = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    golden = Path(__file__).resolve().parents[1] / "golden" / "config"
    used = {
        code
        for path in golden.glob("*.txt")
        for code in re.findall(r"^error\[([\w-]+)\]", path.read_text(), re.MULTILINE)
    }
    assert used | {"file", "encoding", "two-files", "missing-folder"} == codes


def test_the_message_in_the_reference_is_what_is_said():
    text = REFERENCE.read_text(encoding="utf-8").partition("## Messages")[2]
    file, shown = re.search(r"```toml\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL).groups()
    with pytest.raises(ProjectError) as caught:
        config.load_text(file)
    assert config.render(caught.value.diagnostics) == shown
