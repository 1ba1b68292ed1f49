"""taskrun's side of `echoing.py`."""

from __future__ import annotations

from dataclasses import dataclass

from taskrun.workers import Handlers, Request


@dataclass(frozen=True)
class Echoed:
    number: int
    name: str
    size: float
    tags: list[str]
    done: bool


@dataclass(frozen=True)
class Echo(Request[Echoed]):
    number: int
    name: str
    size: float
    tags: list[str]
    done: bool


handlers = Handlers()


@handlers.on(Echo)
def echo(request: Echo) -> Echoed:
    return Echoed(request.number, request.name, request.size, request.tags, request.done)
