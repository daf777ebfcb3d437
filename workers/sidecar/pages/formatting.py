"""How figures and moments are written on pages: grouped numbers, short durations, times relative and exact."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_BYTES = ("bytes", "kB", "MB", "GB", "TB")
#: Below this a moment is "now": clocks of several machines differ by as much.
_NOW = timedelta(seconds=2)
NOTHING = "\u2013"
_NONE = Markup('<span class="none">{}</span>').format(NOTHING)


def number(value: float | None) -> str:
    """A number with its thousands grouped: 12,345, or 0.35. A dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}".rstrip("0").rstrip(".")


def duration(value: timedelta | float | None) -> str:
    """A duration (seconds where it is a number) in its two largest units: 4 h 12 min. A dash for None."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 0:
        return f"\u2212{duration(-seconds)}"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms" if seconds else "0 s"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return _in_units(round(seconds))


def _in_units(seconds: int) -> str:
    for at, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            following = _UNITS[at + 1] if at + 1 < len(_UNITS) else None
            more = rest // following[1] if following else 0
            return f"{whole:,} {unit}" + (f" {more} {following[0]}" if following and more else "")
    return "0 s"


def size(value: int | None) -> str:
    """A number of bytes in the unit that suits it (1 kB is 1,000 bytes). A dash for None."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in _BYTES:
        if amount < 1000 or unit == _BYTES[-1]:
            return f"{value:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError


def share(value: float | None) -> str:
    """A share of 1 as percent."""
    return NOTHING if value is None else f"{number(round(value * 100, 1))} %"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 letter`, `1,204 letters`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def moment(value: datetime | str | None) -> datetime | None:
    """An aware instant, or the RFC 3339 text of one, in UTC; None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if value is None or value.tzinfo is None:
        return None
    return value.astimezone(UTC)


def exact(value: datetime | str | None) -> str:
    """An instant to the second: 2026-11-21 03:12:07 UTC."""
    at = moment(value)
    return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def relative(at: datetime, now: datetime) -> str:
    """How far an instant is from now: 5 min ago, in 2 h, now. One unit, rounded down."""
    distance = at - now
    seconds = abs(distance).total_seconds()
    if seconds < _NOW.total_seconds():
        return "now"
    unit, whole = next((unit, int(seconds // size)) for unit, size in _UNITS if seconds >= size)
    return f"in {whole:,} {unit}" if distance > timedelta(0) else f"{whole:,} {unit} ago"


def time_element(value: datetime | str | None, now: datetime) -> Markup:
    """A `time` element: relative as text, exact in `title` and `datetime`. A dash for None."""
    at = moment(value)
    if at is None:
        return _NONE
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="seconds").replace("+00:00", "Z"), exact(at), relative(at, now)
    )


def clock_element(value: datetime | str | None, *, date: bool = False) -> Markup:
    """A `time` element that shows the time of day, UTC, with the date where asked."""
    at = moment(value)
    if at is None:
        return _NONE
    shown = f"{at:%Y-%m-%d %H:%M:%S}" if date else f"{at:%H:%M:%S}"
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}" data-fixed>{}</time>').format(stamp, exact(at), shown)


def short_id(value: object) -> str:
    """The beginning and end of an id, enough to tell it from its neighbours."""
    text = str(value)
    return text if len(text) <= 14 else f"{text[:8]}…{text[-4:]}"


def rate(per_minute: float | None) -> str:
    """Jobs a minute, as people say it."""
    if per_minute is None:
        return NOTHING
    return f"{number(round(per_minute))}/min" if per_minute >= 10 or not per_minute else f"{number(per_minute)}/min"


FILTERS: Mapping[str, Any] = {
    "number": number,
    "duration": duration,
    "size": size,
    "share": share,
    "plural": plural,
    "exact": exact,
    "short_id": short_id,
    "rate": rate,
    "clock": clock_element,
}
