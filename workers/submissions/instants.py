"""Instants of submissions: RFC 3339 in, microseconds out."""

import datetime as dt
import re
from collections.abc import Iterable

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_DAY_US = dt.timedelta(days=1) // _MICROSECOND

#: RFC 3339 §5.6: seconds and an offset must be there; a space may stand for the T.
_RFC_3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?(?:[Zz]|([+-]\d{2}:[0-5]\d))\Z", re.ASCII)

#: How far ahead of its enqueueing a submission may lie: clocks are wrong, but not by years.
AHEAD = dt.timedelta(days=1)


def unix_microseconds(instant: dt.datetime) -> int:
    """An aware instant as microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


def month_of(unix_us: int) -> dt.date:
    """The first day of the UTC month that the instant lies in."""
    return (_EPOCH + unix_us * _MICROSECOND).date().replace(day=1)


def months_of(instants_us: Iterable[int]) -> set[dt.date]:
    """The months that the instants lie in. Mostly that is one, so only the days are looked at one by one."""
    days = {unix_us // _DAY_US for unix_us in instants_us}
    return {month_of(day * _DAY_US) for day in days}


def parse_instant(text: str) -> int | None:
    """RFC 3339 with an offset as microseconds since 1970 (finer digits are cut); None for any other text."""
    parts = _RFC_3339.match(text)
    if parts is None:
        return None
    day, time, fraction, offset = parts.groups()
    try:
        instant = dt.datetime.fromisoformat(f"{day}T{time}{(fraction or '')[:7]}{offset or '+00:00'}")
        return unix_microseconds(instant)
    except (ValueError, OverflowError):
        return None


def within_bounds(unix_us: int, enqueued_us: int) -> Fault | None:
    """A fault where a submission's instant lies before 1970 or too far ahead of its enqueueing."""
    if 0 <= unix_us <= enqueued_us + AHEAD // _MICROSECOND:
        return None
    return Fault(
        None,
        Code.SUBMISSION_TIME_RANGE,
        "submitted_at must lie between 1970-01-01 and a day after the batch was enqueued",
    )
