"""The JSON Schema of project files, made from the file model: draft-07, since the editors' TOML plug-ins read that."""

from __future__ import annotations

from typing import Any

import msgspec

from taskrun.config.kinds import END
from taskrun.config.model import FileTable
from taskrun.config.rules import GOES_WITH, NOT_WITH, NOT_YET, ONE_AT_LEAST, ONE_AT_MOST

DRAFT = "http://json-schema.org/draft-07/schema#"
_NOT_YET = " (Not carried out by this version.)"


def schema() -> dict[str, Any]:
    """The schema as values that can be written as JSON; every key has a description."""
    generated = msgspec.json.schema(FileTable)
    tables = {name: _converted(table) for name, table in generated["$defs"].items()}
    for name, table in tables.items():
        _add_rules(name, table)
    root = tables.pop("FileTable")
    return {"$schema": DRAFT, **root, "title": "taskrun", "definitions": dict(sorted(tables.items()))}


def _converted(value: Any) -> Any:
    """From msgspec's dialect (2020-12) to draft-07."""
    if isinstance(value, list):
        return [_converted(each) for each in value]
    if not isinstance(value, dict):
        return value
    converted = {key: _converted(each) for key, each in value.items()}
    if isinstance(converted.get("pattern"), str):
        converted["pattern"] = converted["pattern"].replace(END, "$")
    if "$ref" in converted:
        # Beside a `$ref` draft-07 reads nothing.
        reference = {"$ref": converted.pop("$ref").replace("#/$defs/", "#/definitions/")}
        return {**converted, "allOf": [reference]} if converted else reference
    return converted


def _add_rules(kind: str, table: dict[str, Any]) -> None:
    """The rules between keys."""
    rules: list[dict[str, Any]] = []
    if kind in ONE_AT_LEAST:
        rules.append({"anyOf": [{"required": [key]} for key in ONE_AT_LEAST[kind]]})
    for index, key in enumerate(ONE_AT_MOST.get(kind, ())):
        rules += [{"not": {"required": [key, other]}} for other in ONE_AT_MOST[kind][index + 1 :]]
    for key, others in NOT_WITH.get(kind, {}).items():
        rules += [{"not": {"required": [key, other]}} for other in others]
    if rules:
        table["allOf"] = rules
    partners = GOES_WITH.get(kind, {})
    if partners:
        table["dependencies"] = {key: _one_of(keys) for key, keys in partners.items()}
    for key in NOT_YET.get(kind, ()):
        table["properties"][key]["description"] += _NOT_YET


def _one_of(keys: tuple[str, ...]) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in keys]}
