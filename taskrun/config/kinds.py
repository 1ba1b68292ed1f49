"""The kinds of values in a project file: durations, sizes, names, each with its words for people.

Annotations here and in the tables are evaluated at once, not as strings: compiling two hundred strings would cost more
than all the rest of the import.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from taskrun.config.units import DURATION, DURATION_ABOVE_ZERO, LONGEST, RETRY_RULE, SIGNAL, SIZE

END = "$(?!\n)"
"""In Python `$` also matches before a last newline. The schema gets a plain `$`, which in its dialect does not."""


def exactly(pattern: str) -> str:
    """A pattern that all of a string must match."""
    return f"^(?:{pattern}){END}"


class Table(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of all tables: keys are written with dashes, unknown ones are mistakes."""


# A string with a pattern must not share a union with an array or a table: msgspec 0.22 frees the pattern as if it were
# a type when the interpreter exits, and the process dies of SIGABRT. In such a union the pattern stands in
# `extra_json_schema`, and the value's reader sees to it.

Off: TypeAlias = Annotated[bool, Meta(extra_json_schema={"const": False})]
"""``false``: takes a default away."""

Filled: TypeAlias = Annotated[str, Meta(min_length=1, title="a string that is not empty")]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]

Duration: TypeAlias = Annotated[
    Annotated[int, Meta(gt=0, le=LONGEST)]
    | Annotated[float, Meta(gt=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION_ABOVE_ZERO))],
    Meta(title="a duration above zero", examples=[90, "90s", "1h30m"]),
]
DurationOrOff: TypeAlias = Annotated[
    Annotated[int, Meta(gt=0, le=LONGEST)]
    | Annotated[float, Meta(gt=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION_ABOVE_ZERO))]
    | Off,
    Meta(title="a duration above zero, or false", examples=[90, "90s", "1h30m"]),
]
DurationOrZero: TypeAlias = Annotated[
    Annotated[int, Meta(ge=0, le=LONGEST)]
    | Annotated[float, Meta(ge=0, le=LONGEST)]
    | Annotated[str, Meta(pattern=exactly(DURATION))],
    Meta(title="a duration", examples=[5, "5s", "250ms"]),
]
Size: TypeAlias = Annotated[
    Positive | Annotated[str, Meta(pattern=exactly(SIZE))],
    Meta(title="a size", examples=[1048576, "512MiB", "1.5GB"]),
]
Signal: TypeAlias = Annotated[
    Annotated[int, Meta(ge=1, le=64)] | Annotated[str, Meta(pattern=exactly(SIGNAL))],
    Meta(title="a signal", examples=["SIGINT", "TERM", 15]),
]
ExitCode: TypeAlias = Annotated[int, Meta(ge=0, le=255, title="an exit code from 0 to 255")]
Texts: TypeAlias = list[Filled]
Names: TypeAlias = Annotated[list[Filled], Meta(extra_json_schema={"uniqueItems": True})]
OneOrMore: TypeAlias = Annotated[
    Filled | Annotated[list[Filled], Meta(min_length=1)], Meta(title="a string or an array of strings")
]

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
TaskName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=exactly(NAME),
        title="a name of letters, digits, `_`, `-` and `.` that begins with neither `-` nor `.`",
    ),
]
Identifier: TypeAlias = Annotated[
    str,
    Meta(
        pattern=exactly(r"[A-Za-z_][A-Za-z0-9_-]{0,99}"),
        title="a name of letters, digits, `_` and `-` that begins with a letter or `_`",
    ),
]
Variable: TypeAlias = Annotated[
    str, Meta(pattern=exactly("[^=]+"), title="the name of an environment variable, which has no `=`")
]
Scalar: TypeAlias = Annotated[str | int | float | bool, Meta(title="a string, a number or a boolean")]
Environment: TypeAlias = dict[Variable, str]
Target: TypeAlias = Annotated[
    str,
    Meta(pattern=exactly(r"[^\s:]+:[^\s:]+"), title="a function as module:function", examples=["media.video:probe"]),
]
Output: TypeAlias = Literal["stream", "group", "failed", "none"]
SizeText: TypeAlias = Annotated[str, Meta(pattern=exactly(SIZE))]
RetryOn: TypeAlias = Annotated[
    str,
    Meta(
        pattern=exactly(RETRY_RULE),
        title='a rule such as "exit:75", "signal:KILL", "timeout" or "exception:OSError"',
    ),
]
Delay: TypeAlias = (
    Annotated[int, Meta(ge=0, le=LONGEST)]
    | Annotated[float, Meta(ge=0, le=LONGEST)]
    | Annotated[str, Meta(extra_json_schema={"pattern": exactly(DURATION)})]
    | Annotated[list[DurationOrZero], Meta(min_length=2, max_length=2)]
)
