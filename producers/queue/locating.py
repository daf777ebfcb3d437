"""Where a job stands in its queue and what its record says, at one instant."""

from dataclasses import dataclass
from typing import Any

from penstock.producers.queue.records import JobState

#: How a list of jobs is named: by tenant, by worker, by park key. `alone` holds ready jobs that are leased singly,
#: `urgent` those that must not be late.
READY, LEASED, PARKED = "ready:", "leased:", "parked:"
ALONE, URGENT, SCHEDULED, DEAD = "alone", "urgent", "scheduled", "dead"
#: What steps call the state of a dead job whose letter PostgreSQL has: it stands nowhere in its queue.
ARCHIVED = "archived"
#: Where ready jobs of all tenants stand.
LANES = (ALONE, URGENT)

#: What the record of a job says, as scripts read it: state, kind, tenant, changed_at, lease, park.
Fields = list[bytes | None]


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a job stands.

    Attributes:
        suffix: of the place's key, such as `ready:acme`.
        position: jobs before it there.
        listed: the place is known to the queue, so that somebody looks into it.
    """

    suffix: str
    position: int
    listed: bool


@dataclass(frozen=True, slots=True)
class Located:
    """A job as one look found it. `state` is None where it has no record; `expected` is where its record puts it."""

    job_id: str
    state: str | None
    kind: str | None
    has_message: bool
    expected: str | None
    places: list[Place]


def expected_place(state: str | None, tenant: str, lease: str, park: str) -> str | None:
    """The place that a record names; None where its job is done or archived, or there is no record."""
    if state == JobState.READY:
        return READY + tenant
    if state == JobState.LEASED:
        return LEASED + lease.rpartition("/")[0]
    if state == JobState.PARKED:
        return PARKED + park
    return state if state in {SCHEDULED, DEAD} else None


def parse_located(job_id: str, answer: Any) -> Located:
    """What `locate.lua` tells."""
    (_now, message, *record), places = answer[:2]
    state, kind, tenant, _changed_at, lease, park = texts(record[:6])
    return Located(
        job_id,
        state,
        kind,
        bool(message),
        expected_place(state, tenant or "", lease or "", park or ""),
        parse_places(places),
    )


def texts(fields: Fields) -> list[str | None]:
    """Fields of a record as texts."""
    return [None if field is None else field.decode(errors="replace") for field in fields]


def parse_places(flat: list[Any]) -> list[Place]:
    """Places as `locate.lua` tells them."""
    return [
        Place(suffix.decode(errors="replace"), position, bool(listed))
        for suffix, position, listed in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
