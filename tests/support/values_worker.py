"""Handlers that return what is hard to carry; opened as ``support.values_worker:handlers``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskrun.workers import Handlers, Request


@dataclass(frozen=True)
class Give(Request[Any]):
    """Gives what ``VALUES`` has under that name."""

    name: str


@dataclass(frozen=True)
class GiveNumber(Request[int]):
    """Likewise, where a whole number was promised."""

    name: str


@dataclass(frozen=True)
class Take(Request[Path | None]):
    """Gives its path back."""

    path: Path | None
    anything: Any = None


class Foreign:
    """Of no type that can be carried."""


VALUES = {
    "number": lambda: 3,
    "text": lambda: "three",
    "surrogate": lambda: "\ud800",
    "overflow": lambda: {"deep": [2**64]},
    "foreign": Foreign,
    "generator": lambda: (each for each in "abc"),
    "large": lambda: bytes(64 * 1024 * 1024 + 1),
    "euros": lambda: "\u20ac" * 1_200_000,
}

handlers = Handlers()


@handlers.on(Give)
def give(request: Give) -> Any:
    return VALUES[request.name]()


@handlers.on(GiveNumber)
def give_number(request: GiveNumber) -> int:
    return VALUES[request.name]()


@handlers.on(Take)
def take(request: Take) -> Path | None:
    return request.path
