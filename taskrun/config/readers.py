"""One reader per key of a task: from the value that the file model let through to the project's value.

A reader knows nothing of files, other keys or other tasks. ``None`` stands for a default that `false` took away.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from taskrun.config.project import RetryRule, When
from taskrun.config.rules import PARSERS_NOT_YET
from taskrun.config.sources import check_plain
from taskrun.config.units import DURATION, BadValue, retry_rules, seconds, size, stop_signal
from taskrun.model import ProgressSource

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRESS_GROUPS = frozenset({"percent", "fraction", "current"})


def _same(value: Any) -> Any:
    return value


def _or_off(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A reader for a key that also takes `false`."""

    def read_or_off(value: Any) -> Any:
        if value is False:
            return None
        if value is True:
            raise BadValue("cannot be `true`", "only `false` has a meaning, without a default", code="wrong-type")
        return read(value)

    return read_or_off


def read_names(value: list[str]) -> tuple[str, ...]:
    """An array of names, each once."""
    if len(set(value)) < len(value):
        index = next(index for index, name in enumerate(value) if name in value[:index])
        raise BadValue(f"is `{value[index]}` again", "remove it", at=(index,), code="duplicate")
    return tuple(value)


def _argv(value: list[str]) -> tuple[str, ...]:
    if not value[0]:
        raise BadValue("has an empty string for the program's name", at=(0,))
    return tuple(value)


def target(value: str) -> str:
    """``module:function``."""
    module, _, function = value.partition(":")
    for part in (*module.split("."), *function.split(".")):
        if not part.isidentifier():
            raise BadValue(f"is `{value}`, in which `{part}` is no Python name", 'such as "media.video:probe"')
    return value


def _args(value: dict[str, Any] | list[Any]) -> dict[str, Any] | tuple[Any, ...]:
    check_plain(value)
    if isinstance(value, list):
        return tuple(value)
    for name in value:
        if not name.isidentifier():
            raise BadValue("is no name that a Python argument can have", at=(name,), part="key", code="bad-name")
    return value


def _log(value: Any) -> int | bool | None:
    if isinstance(value, bool):
        return None if value else False
    return size(value)


def _slots(value: int | str) -> int | None:
    return None if isinstance(value, str) else value


def _when(value: dict[str, Any] | list[dict[str, Any]]) -> tuple[When, ...]:
    if isinstance(value, list):
        return tuple(_part(index, _conditions, table) for index, table in enumerate(value))
    return (_conditions(value),)


def _conditions(table: dict[str, Any]) -> When:
    if not table:
        raise BadValue("has no condition", "add `platform`, `env` or `exists`", code="missing-key")
    found = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in table.items()}
    for variable in found.get("env", ()):
        if not variable.removeprefix("!").partition("=")[0]:
            raise BadValue(f"has `{variable}`, which names no variable", at=("env",), within=variable)
        if variable.startswith("!") and "=" in variable:
            raise BadValue(f"has `{variable}`", "write `!NAME` or `NAME=VALUE`", at=("env",), within=variable)
    return When(**found)


def _retry(value: int | dict[str, Any]) -> dict[str, Any]:
    """What is said of ``Retry``, to be merged with what the defaults say."""
    if isinstance(value, int):
        return {"attempts": value}
    found: dict[str, Any] = {}
    if "attempts" in value:
        found["attempts"] = value["attempts"]
    if "delay" in value:
        found |= _part("delay", _delay, value["delay"])
    if "on" in value:
        found["on"] = _part("on", _retry_on, value["on"])
    return found


def _retry_on(texts: list[str]) -> tuple[RetryRule, ...]:
    found: list[RetryRule] = []
    bad: list[BadValue] = []
    for index, text in enumerate(texts):
        try:
            found += _part(index, retry_rules, text)
        except BadValue as each:
            bad.append(each)
    if bad:
        bad[0].more = bad[1:]
        raise bad[0]
    return tuple(found)


def _part(place: str | int, read: Callable[[Any], Any], value: Any) -> Any:
    """Reads a part of a value: a mistake in it is one below ``place``."""
    try:
        return read(value)
    except BadValue as bad:
        for each in (bad, *bad.more):
            each.at = (place, *each.at)
        raise


def _delay(value: float | str | list[Any]) -> dict[str, Any]:
    if isinstance(value, list):
        first, longest = (_part(index, seconds, each) for index, each in enumerate(value))
        if not first:
            raise BadValue("begins with zero, which stays zero when it is doubled", at=(0,))
        if longest < first:
            raise BadValue("has a longest delay below the first", "write the first, then the longest")
        return {"first_delay": first, "longest_delay": longest, "jitter": True}
    if isinstance(value, str) and not re.fullmatch(DURATION, value):
        raise BadValue(f'must be a duration, not "{value}"', 'such as 5, "5s" or "250ms"')
    delay = seconds(value)
    return {"first_delay": delay, "longest_delay": delay, "jitter": False}


def _limits(value: dict[str, int] | list[str]) -> dict[str, int]:
    if isinstance(value, dict):
        return value
    if len(set(value)) < len(value):
        twice = next(name for index, name in enumerate(value) if name in value[:index])
        label = f"to take two, write {{ {twice} = 2 }}"
        raise BadValue(
            f"has `{twice}` twice", label, at=(value.index(twice, value.index(twice) + 1),), code="duplicate"
        )
    return dict.fromkeys(value, 1)


def _progress(value: str | dict[str, Any]) -> ProgressSource:
    if isinstance(value, str):
        if value in PARSERS_NOT_YET:
            message = f"is `{value}`, a parser that this version of taskrun does not have"
            raise BadValue(message, "use `ffmpeg`, `percent`, `fraction`, `tqdm` or a `regex`", code="not-yet")
        return ProgressSource(parser=value)
    regex = value["regex"]
    groups = _groups(regex)
    if groups.isdisjoint(_PROGRESS_GROUPS):
        label = r"name one: (?P<percent>...), (?P<fraction>...) or (?P<current>...)"
        raise BadValue("has none of the groups `percent`, `fraction` and `current`", label, at=("regex",))
    if "total" in value:
        check_plain(value["total"], ("total",))
        if "current" not in groups:
            raise BadValue("has no meaning without a group `current`", at=("total",), code="conflict")
    return ProgressSource(parser="regex", regex=regex, total=value.get("total"), stream=value.get("stream", "both"))


def _every(value: float | str) -> float:
    result = seconds(value)
    if result < 1:
        raise BadValue("is less than a second, and workers look once a second what is due")
    return result


def _cron(value: str) -> str:
    from taskrun.config.cron import cron  # few files have any

    return cron(value)


def _groups(regex: str) -> set[str]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning: possible nested set
            return set(re.compile(regex).groupindex)
    except re.error as error:
        problem, position = error.msg, error.pos
    except (RecursionError, OverflowError):
        problem, position = "too complicated", None
    place = "" if position is None else f" at character {position + 1}"
    raise BadValue(f"is not a regular expression: {problem}{place}", at=("regex",))


READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "description": ("description", _same),
    "run": ("run", _argv),
    "shell": ("shell", _same),
    "python": ("python", target),
    "args": ("args", _args),
    "shell-argv": ("shell_argv", tuple),
    "needs": ("needs", read_names),
    "finally": ("finally_", read_names),
    "hidden": ("hidden", _same),
    "aliases": ("aliases", read_names),
    "env": ("env", _same),
    "dotenv": ("dotenv", tuple),
    "cwd": ("cwd", _same),
    "when": ("when", _or_off(_when)),
    "success-codes": ("success_codes", tuple),
    "allow-failure": ("allow_failure", _same),
    "stop-signal": ("stop_signal", stop_signal),
    "stdin": ("stdin", _or_off(_same)),
    "output": ("output", _or_off(_same)),
    "log": ("log", _log),
    "leak": ("leak", _same),
    "interactive": ("interactive", _same),
    "grace": ("grace", seconds),
    "timeout": ("timeout", _or_off(seconds)),
    "start-timeout": ("start", _or_off(seconds)),
    "idle-timeout": ("idle", _or_off(seconds)),
    "stall-timeout": ("stall", _or_off(seconds)),
    "retry": ("retry", _or_off(_retry)),
    "limits": ("limits", _or_off(_limits)),
    "slots": ("slots", _slots),
    "progress": ("progress", _or_off(_progress)),
    "pool": ("pool", _or_off(_same)),
    "every": ("every", _every),
    "cron": ("cron", _cron),
}
"""By key: the field of ``TaskSpec`` (the clocks': of ``Clocks``) and the reader."""
