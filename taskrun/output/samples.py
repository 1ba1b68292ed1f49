"""What a task can say about itself, whichever way it says it: the closed union that every parser and channel yields.

It knows neither where a line came from nor what is done with it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from taskrun.model import Value


class Sample(Value, frozen=True, kw_only=True):
    """How far a task says it is. All fields ``None`` but ``message``: it is at work and cannot tell how far it is.

    Attributes:
        fraction: 0 to 1 as said; the tracker clamps it. ``None``: to be had from ``current`` and ``total``, or unknown.
        current: Units done.
        total: Units in all.
        message: What it does just now; ``None`` leaves what was said before.
        phase: Number of the phase from 1. Progress starts anew with each.
        phases: How many phases there will be.
    """

    fraction: float | None = None
    current: float | None = None
    total: float | None = None
    message: str | None = None
    phase: int | None = None
    phases: int | None = None


class Total(Value, frozen=True, kw_only=True):
    """How many units there are in all, for later steps and samples that do not say so themselves."""

    total: float


class Step(Value, frozen=True, kw_only=True):
    """So many units more are done."""

    amount: float = 1.0


class Phase(Value, frozen=True, kw_only=True):
    """A new phase begins: progress starts anew."""

    number: int
    count: int | None = None
    name: str | None = None


class Status(Value, frozen=True, kw_only=True):
    """What it does just now, for people. Empty: nothing worth saying."""

    text: str


class Message(Value, frozen=True, kw_only=True):
    """A remark for people.

    Attributes:
        level: ``"error"``, ``"warning"`` or ``"notice"``.
        file: The file it is about, as the task named it.
        line: From 1.
    """

    level: str
    text: str
    file: str | None = None
    line: int | None = None


class Output(Value, frozen=True, kw_only=True):
    """One entry of the task's result: text from ``output KEY=VALUE``, any JSON value from a JSON object."""

    key: str
    value: Any


class Unknown(Value, frozen=True, kw_only=True):
    """A line of the channel that is none of the known ones; ``why`` is a clause for people."""

    line: str
    why: str


Movement: TypeAlias = Sample | Total | Step | Phase | Status
"""What the tracker takes."""

Line: TypeAlias = Movement | Message | Output | Unknown
"""All that a line can mean."""
