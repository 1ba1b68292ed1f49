"""Durations, sizes, signals and retry rules as users write them.

Each reader takes what the file model lets through and refuses what no type can: it raises ``BadValue`` and knows
nothing of files.
"""

from __future__ import annotations

import math
import os
import re

from taskrun.config.project import RetryRule

LONGEST = 1_000_000_000
"""Seconds (31 years): longer durations are refused, so that no clock ever overflows."""

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
DURATION = rf"(?=[0-9])(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
DURATION_ABOVE_ZERO = rf"(?=.*[1-9]){DURATION}"
SIZE = r"(?=.*[1-9])[0-9]{1,12}(?:\.[0-9]{1,9})? ?(?:B|[kKMGT]B|[KMGT]iB)"
SIGNAL = r"(?:SIG)?[A-Z][A-Z0-9]*"
RETRY_RULE = (
    r"!?(?:timeout|idle|start|stall|lost|failure"
    r"|exit:[0-9]{1,3}(?:-[0-9]{1,3})?"
    rf"|signal:(?:[0-9]{{1,2}}|{SIGNAL})"
    r"|exception:[^\s:]+)"
)

# Compiled when they are first used, and then kept by `re`: many a file has neither.
_PART = rf"({_NUMBER})(ms|[dhms])"
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = r"([0-9.]+) ?([A-Za-z]+)"
_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4} | {
    f"{letter}iB": 1024 ** (power + 1) for power, letter in enumerate("KMGT")
}
_NOT_FOR_STOPPING = frozenset({"STOP", "CONT", "TSTP", "TTIN", "TTOU", "CHLD", "CLD", "WINCH", "URG"})


class BadValue(Exception):  # noqa: N818 - a finding about the user's file, not an error of ours
    """A value that its type allows and its meaning does not.

    Attributes:
        problem: Goes on from the key's name: "must be ...".
        label: What to do.
        at: Where below the key, as keys and indexes.
        part: ``"value"`` or ``"key"``.
        within: The part of the text that is meant.
        code: The diagnostic's.
        more: Others of the same key.
    """

    def __init__(
        self,
        problem: str,
        label: str = "",
        *,
        at: tuple[str | int, ...] = (),
        part: str = "value",
        within: str | None = None,
        code: str = "bad-value",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.label = label
        self.at = at
        self.part = part
        self.within = within
        self.code = code
        self.more: list[BadValue] = []


def seconds(value: float | str) -> float:
    """Reads a duration.

    Args:
        value: Seconds, or text that matches ``DURATION``.

    Raises:
        BadValue: It is not finite or longer than ``LONGEST``.
    """
    if isinstance(value, str):
        result = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, value))
    elif math.isfinite(value):
        result = float(value)
    else:
        raise BadValue("is not a finite number", "leave the key out, or write `false`, for no limit")
    if result > LONGEST:
        raise BadValue("is longer than 31 years", "leave the key out, or write `false`, for no limit")
    return result


def size(value: int | str) -> int:
    """Reads a size in bytes; text matches ``SIZE``.

    Raises:
        BadValue: It is below one byte or above 2**63.
    """
    if isinstance(value, str):
        match = re.fullmatch(_SIZE, value)
        assert match is not None  # the file model has seen to that
        value = int(float(match[1]) * _BYTES[match[2]])
    if value < 1:
        raise BadValue("is less than one byte")
    if value >= 2**63:
        raise BadValue("is larger than any file can be")
    return value


def signal_number(value: int | str) -> int:
    """Reads a signal: a number, or a name with or without `SIG`.

    Raises:
        BadValue: This system has no such signal.
    """
    import signal

    if isinstance(value, int):
        if value not in signal.valid_signals():
            raise BadValue(f"is {value}, which is no signal of this system")
        return value
    name = value.removeprefix("SIG")
    number = getattr(signal, f"SIG{name}", None)
    if isinstance(number, signal.Signals):
        return int(number)
    from taskrun.config.wording import suggestion

    names = [each.name.removeprefix("SIG") for each in signal.Signals]
    raise BadValue(f"is `{value}`, which is no signal of this system", suggestion(name, names), within=value)


def stop_signal(value: int | str) -> int:
    """Reads the signal that asks a task to stop.

    Raises:
        BadValue: There is no such signal, or it ends no process.
    """
    import signal

    number = signal_number(value)
    name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
    if name.removeprefix("SIG") in _NOT_FOR_STOPPING:
        raise BadValue(f"is {name}, which does not end a process", "such as `TERM`, `INT` or `QUIT`")
    return number


def retry_rules(text: str) -> tuple[RetryRule, ...]:
    """Reads one entry of `retry.on`, which matches ``RETRY_RULE``; a range of exit codes becomes a rule each.

    Raises:
        BadValue: It names an exit code or a signal that does not exist.
    """
    negated = text.startswith("!")
    kind, _, value = text.removeprefix("!").partition(":")
    if kind == "exit":
        return tuple(RetryRule(kind=kind, value=code, negated=negated) for code in _exit_codes(value))
    if kind == "signal":
        number = signal_number(int(value) if value.isdigit() else value)
        return (RetryRule(kind=kind, value=number, negated=negated),)
    if kind == "exception":
        if not all(part.isidentifier() for part in value.split(".")):
            raise BadValue(f"names `{value}`, which is no name of a class", 'such as "exception:OSError"', within=value)
        return (RetryRule(kind=kind, value=value, negated=negated),)
    return (RetryRule(kind=kind, negated=negated),)


def _exit_codes(text: str) -> range:
    first, _, last = text.partition("-")
    codes = range(int(first), int(last or first) + 1)
    if not codes:
        raise BadValue(f"has the empty range {text}", f"did you mean `{last}-{first}`?", within=text)
    if codes[-1] > 255:
        raise BadValue(f"names the exit code {codes[-1]}", "exit codes are 0 to 255", within=text)
    return codes


def is_ffmpeg(program: str) -> bool:
    """Whether a program, as the user wrote it, is ffmpeg by its name."""
    return program.endswith("ffmpeg") and os.path.basename(program) == "ffmpeg"
