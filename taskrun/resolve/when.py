"""Decides whether `when` rules a task out, at the moment it is asked."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from taskrun.resolve import globs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskrun.config.project import When


def ruled_out(tables: Sequence[When], environ: Mapping[str, str], root: str, platform: str = "") -> str | None:
    """Return why no table holds, as a clause; ``None`` where one holds, or there is none.

    Args:
        tables: With their look-ups carried out.
        environ: The caller's environment with `[env]`.
        root: What paths are relative to.
        platform: ``"linux"``, ``"macos"``; default: this machine's.
    """
    reasons: list[str] = []
    for table in tables:
        reason = _why_not(table, environ, root, platform or this_platform())
        if reason is None:
            return None
        reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons)) or None


def this_platform() -> str:
    """Return this machine's platform by the name that `when` uses."""
    return "macos" if sys.platform == "darwin" else sys.platform


def _why_not(table: When, environ: Mapping[str, str], root: str, platform: str) -> str | None:
    if table.platform and platform not in table.platform:
        return f"this is {platform}, not {' or '.join(table.platform)}"
    for condition in table.env:
        reason = _variable(condition, environ)
        if reason is not None:
            return reason
    for condition in table.exists:
        reason = _file(condition, root)
        if reason is not None:
            return reason
    return None


def _variable(condition: str, environ: Mapping[str, str]) -> str | None:
    """Check ``NAME`` (set, and not empty), ``NAME=VALUE``, or either with ``!`` in front."""
    wanted = condition.removeprefix("!")
    negated = wanted != condition
    name, equals, value = wanted.partition("=")
    actual = environ.get(name, "")
    holds = actual == value if equals else bool(actual)
    if holds != negated:
        return None
    if equals:
        return f"{name} is {value}" if negated else f"{name} is not {value}"
    return f"{name} is set" if negated else f"{name} is not set"


def _file(condition: str, root: str) -> str | None:
    """Check a path or a glob, or that there is none with ``!`` in front."""
    wanted = condition.removeprefix("!")
    negated = wanted != condition
    found = bool(globs.expand(wanted, root)) if globs.has_wildcard(wanted) else False
    exists = found or os.path.lexists(os.path.join(root, wanted))
    if exists != negated:
        return None
    return f"{wanted} exists" if negated else f"{wanted} does not exist"
