"""The rules of date, time and datetime."""

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from penstock.schemas.errors import Code
from penstock.workers.answers.json_text import Answer
from penstock.workers.answers.rule import RefusedAnswerError, Shape, canonical_text, require_text

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
#: RFC 3339 §5.6 (the T and the Z in either case, or a space for the T), of which the offset may be missing.
_DATETIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<minute>(?:[01][0-9]|2[0-3]):[0-5][0-9])(?P<second>:[0-5][0-9](?P<fraction>\.[0-9]{1,9})?)?"
    r"(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)


@dataclass(frozen=True, slots=True)
class DateRule:
    """A day of the calendar, years 0001 to 9999."""

    def read(self, answer: Answer) -> Answer:
        """`YYYY-MM-DD`."""
        text = require_text(answer, "a date as a string, YYYY-MM-DD")
        if not _is_day(text):
            raise RefusedAnswerError((Code.ANSWER_DATE_INVALID, "send a day of the calendar as YYYY-MM-DD"))
        return text

    def shape(self) -> Shape:
        """`YYYY-MM-DD`, which is all that msgspec takes for a date."""
        return Shape(dt.date)


@dataclass(frozen=True, slots=True)
class TimeRule:
    """A time of the day."""

    def read(self, answer: Answer) -> Answer:
        """`HH:MM` or `HH:MM:SS`, as it was sent."""
        text = require_text(answer, "a time as a string, HH:MM or HH:MM:SS")
        if not _TIME.fullmatch(text):
            raise RefusedAnswerError((Code.ANSWER_TIME_INVALID, "send HH:MM or HH:MM:SS, from 00:00 to 23:59:59"))
        return text

    def shape(self) -> Shape:
        """What reading leaves as it is."""
        return canonical_text(self)


@dataclass(frozen=True, slots=True)
class DatetimeRule:
    """An instant, or a local time in `zone`."""

    zone: ZoneInfo

    def read(self, answer: Answer) -> Answer:
        """The instant in UTC, `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, the fraction as it was sent."""
        match = _DATETIME.fullmatch(require_text(answer, "a datetime as a string, such as 2026-03-29T02:30:00+01:00"))
        if match is None or (match["offset"] and not match["second"]):
            raise RefusedAnswerError((Code.ANSWER_DATETIME_INVALID, self._wanted()))
        # Python's datetime has microseconds only, and no offset or zone rule moves a fraction of a second.
        second = (match["second"] or ":00")[:3]
        try:
            instant = self._instant(f"{match['date']}T{match['minute']}{second}", match["offset"])
        except (ValueError, OverflowError):
            raise RefusedAnswerError((Code.ANSWER_DATETIME_INVALID, self._wanted())) from None
        return f"{instant.isoformat()}{match['fraction'] or ''}Z"

    def shape(self) -> Shape:
        """What reading leaves as it is."""
        return canonical_text(self)

    def _instant(self, local: str, offset: str | None) -> dt.datetime:
        """The instant as a naive datetime in UTC.

        Raises:
            ValueError, OverflowError: for what is not on calendar and clock, and outside the years 0001 to 9999.
        """
        if offset is not None:
            return _in_utc(dt.datetime.fromisoformat(local + offset.upper()))
        # fold=0: of the two instants of an hour that the clocks repeat, the first.
        moment = dt.datetime.fromisoformat(local).replace(tzinfo=self.zone, fold=0)
        instant = _in_utc(moment)
        if instant.replace(tzinfo=dt.UTC).astimezone(self.zone).replace(tzinfo=None) != moment.replace(tzinfo=None):
            raise ValueError("the clocks skip that time")
        return instant

    def _wanted(self) -> str:
        return (
            "send RFC 3339 such as 2026-03-29T02:30:00+01:00, with at most nine digits of a second; without offset"
            f" it must be a time that exists in {self.zone.key}"
        )


def _is_day(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        dt.date(*(int(part) for part in match.groups()))
    except ValueError:
        return False
    return True


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)
