"""Instants as operators write them: RFC 3339, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})(s|m|h|d|w)(?: ?ago)?")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_moment(text: str, now: datetime) -> datetime | None:
    """The instant in UTC that `text` names: with an offset, or so long before `now`; None where it names none."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return (now - int(ago[1]) * _UNITS[ago[2]]).astimezone(UTC)
        # A `+` in an address that was not encoded is a space by the time it is read.
        found = datetime.fromisoformat(re.sub(r"(?<=\d) (?=\d\d:\d\d$)", "+", text.strip()))
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
