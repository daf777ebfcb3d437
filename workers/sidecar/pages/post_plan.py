"""What pages show of the calendar: hours of today and days of the week, each with what became of its posts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from penstock.schemas.scheduled_post import PostState
from penstock.workers.posts.calendar import Planned

#: Days that the agenda shows, today included.
DAYS = 7
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_AHEAD = frozenset({PostState.SCHEDULED, PostState.CLAIMED, PostState.PUBLISHING})
_WANTING = frozenset({PostState.HELD, PostState.UNKNOWN_OUTCOME, PostState.DEAD, PostState.EXPIRED})


@dataclass(frozen=True, slots=True)
class PlanRow:
    """An hour or a day.

    Attributes:
        out, ahead: posts that are published, and those that wait for their instant or are on their way.
        wanting: posts that did not go out as planned: held, expired, dead, or of unknown outcome.
        platforms: posts by platform, cancelled ones aside.
        hours: of a day, the posts of each hour, cancelled ones aside.
    """

    start: datetime
    end: datetime
    out: int = 0
    ahead: int = 0
    wanting: int = 0
    cancelled: int = 0
    platforms: Mapping[str, int] = field(default_factory=dict)
    hours: Sequence[int] = ()

    @property
    def total(self) -> int:
        """All posts, cancelled ones aside."""
        return self.out + self.ahead + self.wanting

    @property
    def told(self) -> str:
        """The platforms in words."""
        return ", ".join(f"{count:,} {name}" for name, count in sorted(self.platforms.items()))

    @property
    def query(self) -> list[tuple[str, str]]:
        """The filter of its posts, as parameters of an address."""
        return [("due_after", _address(self.start)), ("due_before", _address(self.end))]


@dataclass(frozen=True, slots=True)
class Agenda:
    """The hours of today that have posts, and the days of the week that begins today."""

    hours: Sequence[PlanRow]
    days: Sequence[PlanRow]

    @property
    def today(self) -> PlanRow:
        """Today."""
        return self.days[0]


def today_of(now: datetime) -> datetime:
    """The beginning of today, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def agenda_of(planned: Sequence[Planned], now: datetime) -> Agenda:
    """The agenda of counts by hour from the beginning of today on."""
    start = today_of(now)
    hours = [_row(planned, start + place * _HOUR, _HOUR) for place in range(24)]
    days = [_row(planned, start + place * _DAY, _DAY) for place in range(DAYS)]
    return Agenda([row for row in hours if row.total], days)


def _row(planned: Sequence[Planned], start: datetime, length: timedelta) -> PlanRow:
    within = [one for one in planned if start <= one.at < start + length]
    wanted = [one for one in within if one.state != PostState.CANCELLED]
    platforms: dict[str, int] = {}
    for one in wanted:
        platforms[one.platform] = platforms.get(one.platform, 0) + one.count
    hours = [0] * (length // _HOUR)
    for one in wanted:
        hours[(one.at - start) // _HOUR] += one.count
    return PlanRow(
        start,
        start + length,
        out=sum(one.count for one in within if one.state == PostState.PUBLISHED),
        ahead=sum(one.count for one in within if one.state in _AHEAD),
        wanting=sum(one.count for one in within if one.state in _WANTING),
        cancelled=sum(one.count for one in within if one.state == PostState.CANCELLED),
        platforms=platforms,
        hours=hours,
    )


def _address(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
