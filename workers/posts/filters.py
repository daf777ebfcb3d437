"""Which posts an operator asks for, of all tenants: filters as addresses hold them, and the walks that answer them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import DEFAULT_TENANT
from penstock.schemas.scheduled_post import PostState
from penstock.schemas.text import is_storable

#: A post is told to be late this long after its instant: before, it may be on its way.
LATE_AFTER = timedelta(minutes=1)
#: Characters of one value of a filter.
VALUE_LIMIT = 500
#: Years that an instant of a filter may have: with another offset there is such a year, too.
_YEARS = range(2000, 3001)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d\d:\d\d$)")


class Standing(StrEnum):
    """Where a post stands as lists tell it: its state, or what an operator looks for across states."""

    SCHEDULED = PostState.SCHEDULED
    HELD = PostState.HELD
    CLAIMED = PostState.CLAIMED
    PUBLISHING = PostState.PUBLISHING
    PUBLISHED = PostState.PUBLISHED
    DEAD = PostState.DEAD
    CANCELLED = PostState.CANCELLED
    UNKNOWN_OUTCOME = PostState.UNKNOWN_OUTCOME
    EXPIRED = PostState.EXPIRED
    #: Due, and waits for its account.
    PARKED = "parked"
    #: Should have been out a minute ago, and nobody has to decide anything of it.
    LATE = "late"
    #: Waits for its instant.
    WAITING = "waiting"


# What a walk looks for, in one state each, so that it has an index. A post may be parked up to an hour ahead of its
# instant; without that end a walk for the third parked post of two would go through all that wait for theirs.
_SCHEDULED = f"state = '{PostState.SCHEDULED}'"
_IS_LATE = f"due_at < now() - INTERVAL '{LATE_AFTER.total_seconds():.0f} seconds'"
#: Conditions that together mean the posts that are late.
LATE_WALKS = (
    f"{_SCHEDULED} AND parked_at IS NULL AND {_IS_LATE}",
    f"state = '{PostState.CLAIMED}' AND {_IS_LATE}",
    f"state = '{PostState.PUBLISHING}' AND {_IS_LATE}",
)
_WALKS: Mapping[str, tuple[str, ...]] = {
    Standing.PARKED: (f"{_SCHEDULED} AND parked_at IS NOT NULL AND due_at <= now() + INTERVAL '1 hour'",),
    Standing.WAITING: (f"{_SCHEDULED} AND parked_at IS NULL",),
    Standing.LATE: LATE_WALKS,
} | {state: (f"state = '{state}'",) for state in PostState}
_OPERATORS = {"due_after": "due_at >= %(due_after)s", "due_before": "due_at < %(due_before)s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostsFilter:
    """Posts that are all of this; what is None does not matter.

    Attributes:
        owner: of `tenant`, or of the default tenant where that is None.
        due_after, due_before: aware; due at or after the one, and before the other.
    """

    state: Standing | None = None
    tenant: str | None = None
    owner: str | None = None
    platform: str | None = None
    account: UUID | None = None
    due_after: datetime | None = None
    due_before: datetime | None = None

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> Self:
        """The filter of an address or a body, as texts; empty ones are left out.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID`, naming the parameter.
        """
        given = {name: _text(name, value) for name, value in query.items() if value not in (None, "")}
        return cls(**{name: _read(name, text) for name, text in given.items()})

    def as_query(self) -> list[tuple[str, str]]:
        """The filter as parameters of an address."""
        given = [(one.name, getattr(self, one.name)) for one in fields(self)]
        return [(name, _told(value)) for name, value in given if value is not None]

    def walks(self) -> Iterator[str]:
        """A condition for each state that is asked for; together they are the filter."""
        wanted = list(PostState) if self.state is None else [self.state]
        further = "".join(f" AND {condition}" for condition in self._conditions())
        for standing in wanted:
            for walk in _WALKS[standing]:
                yield walk + further

    def parameters(self) -> dict[str, Any]:
        """The named parameters of the conditions."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "state"}
        found = {name: value for name, value in given.items() if value is not None}
        # Owners are names within a tenant, and so is their index.
        return found | ({"tenant": DEFAULT_TENANT} if self.owner is not None and self.tenant is None else {})

    def _conditions(self) -> Iterator[str]:
        for name in self.parameters():
            column = "account_id" if name == "account" else name
            yield _OPERATORS.get(name, f"{column} = %({name})s")


def _text(name: str, value: Any) -> str:
    text = str(value[-1] if isinstance(value, list) and value else value)
    if len(text) > VALUE_LIMIT or not is_storable(text):
        raise _invalid(name, f"it has over {VALUE_LIMIT} characters, or one that can't be stored")
    return text.strip()


def _read(name: str, text: str) -> Any:
    match name:
        case "state":
            if text not in set(Standing):
                raise _invalid(name, f"{text[:60]!r} is none of {', '.join(Standing)}")
            return Standing(text)
        case "account":
            try:
                return UUID(text)
            except ValueError:
                raise _invalid(name, f"{text[:60]!r} is no id of an account") from None
        case "due_after" | "due_before":
            return _instant(name, text)
        case "tenant" | "owner" | "platform":
            return text
    raise _invalid(name, "there is no such filter")


def _instant(name: str, text: str) -> datetime:
    """An instant with its offset (RFC 3339), or the beginning of a day (UTC)."""
    found = _moment(text)
    if found is None or found.year not in _YEARS:
        told = f"{text[:60]!r} is neither an instant with its offset, such as 2026-11-21T14:30:00Z, nor a day"
        raise _invalid(name, told)
    return found.astimezone(UTC)


def _moment(text: str) -> datetime | None:
    try:
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        # A `+` in an address that was not encoded is a space by the time it is read.
        found = datetime.fromisoformat(_LOST_PLUS.sub("+", text))
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def _told(value: Any) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _invalid(name: str, told: str) -> InvalidInputError:
    return InvalidInputError(Code.REQUEST_FILTER_INVALID, f"{name}: {told}", details={"parameter": name})
