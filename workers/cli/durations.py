"""Durations as operators type them: `90s`, `15m`, `2h`, `1d`, or a bare number of seconds."""

import re
from datetime import timedelta

import click

_FORM = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,3})?)(?P<unit>ms|[smhd]?)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "": timedelta(seconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
#: A longer one is a slip of the finger.
_LONGEST = timedelta(days=366)


def duration(value: str) -> timedelta:
    """The duration that an option says: above zero, a year at the most.

    Raises:
        click.BadParameter: where it is none.
    """
    found = _FORM.fullmatch(value)
    if found is not None:
        # Compared before the product is made, which could overflow.
        number, unit = float(found["number"]), _UNITS[found["unit"]]
        if 0 < number <= _LONGEST / unit:
            return number * unit
    raise click.BadParameter(f"{value!r} is no duration such as 90s, 15m, 2h or 1d, a year at the most")


def told_duration(value: timedelta) -> str:
    """The duration as an option says it, in the largest unit of which it is a whole number: `15m`, `36h`, `90s`."""
    fitting = (f"{value // _UNITS[unit]}{unit}" for unit in ("d", "h", "m", "s", "ms") if not value % _UNITS[unit])
    return next(fitting, f"{value.total_seconds():g}s")


#: The type of an option that says a duration.
DURATION = click.types.FuncParamType(duration)
