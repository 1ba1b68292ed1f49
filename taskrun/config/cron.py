"""Whether a `cron` key is right: five fields, as cron has them. When its moments are is the queue's affair."""

from __future__ import annotations

from taskrun.config.units import BadValue

_HELP = 'five fields: minute, hour, day, month, weekday; such as "30 3 * * 1-5"'
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # minute, hour, day, month, weekday


def cron(value: str) -> str:
    """Reads a cron expression, to single blanks between its fields.

    Raises:
        BadValue: It is none, or its moment never comes.
    """
    fields = value.split()
    if len(fields) != len(_RANGES):
        raise BadValue(f'is "{value}", which is no cron expression', _HELP)
    if not _is_plain(fields):
        _check(" ".join(fields), value)
    return " ".join(fields)


def _is_plain(fields: list[str]) -> bool:
    """Sees that an expression is plainly right without the library, whose import is a fifth of a start."""
    if "*" not in fields[2:4]:
        return False  # not every month has a 31st
    return all(map(_is_plain_field, fields, _RANGES))


def _is_plain_field(field: str, bounds: tuple[int, int]) -> bool:
    least, most = bounds
    if field.startswith("*"):
        return field == "*" or (field[1] == "/" and _is_number(field[2:], 1, most))
    return all(_is_number(part, least, most) for part in field.split(","))


def _is_number(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 2 and least <= int(text) <= most


def _check(expression: str, written: str) -> None:
    import datetime as dt

    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(expression, dt.datetime(2000, 1, 1)))  # noqa: DTZ001 - of no zone
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise BadValue(f'is "{written}", which is no cron expression: its {field} is wrong', _HELP) from None
    except StopIteration:
        raise BadValue(f'is "{written}", which never comes') from None
