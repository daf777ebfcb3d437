"""What did not work for a while, as the audit has it: circuits, paused queues, an absent database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg


class Outage(Enum):
    """A kind of incident: the actions that begin one, and those that end it."""

    CIRCUIT = (("circuit.opened", "circuit.open"), ("circuit.closed", "circuit.close", "circuit.auto"))
    PAUSE = (("queue.pause",), ("queue.resume",))
    #: Recorded when it is over, with both instants in the details.
    DATABASE = (("database.outage",), ())


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them.

    Attributes:
        what: such as a circuit's name, or a queue's.
        by: who or what began it.
        since: None where it began before the period.
        until: None where it had not ended in it.
    """

    what: str
    by: str
    since: datetime | None
    until: datetime | None

    @property
    def seconds(self) -> float | None:
        """The time to recovery."""
        if self.since is None or self.until is None:
            return None
        return round((self.until - self.since).total_seconds(), 3)

    def seconds_within(self, since: datetime, until: datetime) -> float:
        """How many seconds of it lie there."""
        begins, ends = max(self.since or since, since), min(self.until or until, until)
        return max(0.0, (ends - begins).total_seconds())

    def as_dict(self) -> dict[str, Any]:
        """The incident as commands show it."""
        instants = {"since": self.since, "until": self.until}
        told = {name: None if at is None else at.astimezone(UTC).isoformat() for name, at in instants.items()}
        return {"what": self.what, "by": self.by, **told, "seconds_to_recovery": self.seconds}


_EVENTS = """
SELECT target, at, action = ANY(%(begins)s) AS begins, actor, details
  FROM penstock.operator_actions
 WHERE at >= %(since)s AND at < %(until)s AND action = ANY(%(actions)s)
 ORDER BY target, at, recorded_at
"""


def incidents_of(connection: psycopg.Connection, parameters: Mapping[str, Any], kind: Outage) -> Sequence[Incident]:
    """The incidents of a kind within `parameters`' `since` and `until`, by their beginning."""
    begins, ends = kind.value
    asked = {**parameters, "begins": list(begins), "actions": [*begins, *ends]}
    rows = connection.execute(_EVENTS, asked).fetchall()
    if kind is Outage.DATABASE:
        found = [one for row in rows if (one := _recorded(row)) is not None]
    else:
        found = [one for what, events in groupby(rows, itemgetter(0)) for one in _paired(what, list(events))]
    return sorted(found, key=lambda one: (one.since or one.until or datetime.max.replace(tzinfo=UTC), one.what))


def merged(incidents: Sequence[Incident]) -> list[Incident]:
    """Incidents that overlap as one: several schedulers record what each saw."""
    found: list[Incident] = []
    for one in incidents:
        last = found[-1] if found else None
        if last is None or one.since is None or last.until is None or one.until is None or one.since > last.until:
            found.append(one)
        else:
            found[-1] = Incident(last.what, last.by, last.since, max(last.until, one.until))
    return found


def _paired(what: str, events: Sequence[tuple[Any, ...]]) -> Iterator[Incident]:
    """From each beginning to the next end. What begins again before it has ended, goes on."""
    since: datetime | None = None
    by = ""
    for place, (_, at, begins, actor, _) in enumerate(events):
        if begins and since is None:
            since, by = at, actor
        elif not begins and (since is not None or place == 0):
            yield Incident(what, by or actor, since, at)
            since, by = None, ""
    if since is not None:
        yield Incident(what, by, since, None)


def _recorded(row: tuple[Any, ...]) -> Incident | None:
    what, _, _, by, details = row
    try:
        since, until = (datetime.fromisoformat(details[name]).astimezone(UTC) for name in ("since", "until"))
    except (KeyError, TypeError, ValueError):
        # Somebody else's row of that name.
        return None
    return Incident(what, by, since, until)
