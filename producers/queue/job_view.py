"""One job as an operator sees it: where it stands, what it waits for, what has happened to it. Never its payload."""

import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from penstock.producers.queue.counts import parse_pause
from penstock.producers.queue.instants import instant, instant_text
from penstock.producers.queue.locating import ARCHIVED, Place, parse_places, texts
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import CATALOGUE, Code

#: Parked jobs that a tick offers at a time where nobody released them (tick.lua).
JOBS_OF_AN_OFFER = 10


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that holds a job. `lives_until` moves on as long as it is heard of."""

    boot: str
    host: str | None
    pid: str | None
    release: str | None
    started_at: str | None
    lives_until: datetime | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one instant.

    Attributes:
        since: when it came where it is.
        enqueued_at: when Redis had it; None of a done job, whose record is short.
        eligible_at: when it can run: the due time, or when its park lets some go next. None is "now" where nothing
            blocks it, and "not known" where `blocked_by` names what does.
        place: its position among the jobs of its tenant that are ready, or in the set where it waits; from 1.
        ahead: of a ready job, an estimate of how many jobs of all tenants are taken before it.
        attempts: failed ones that count. `recoveries` are leases that were lost with a worker, `crashes` those of
            them where the job was running.
        history: what happened to it, oldest first, each entry with `at` and `outcome`.
        blocked_by: what it waits for; `paused:<queue>` where that is an operator, and of a ready job the dependency
            (`storage`) whose outage holds every worker up.
        code, message, remedy: of the last failure.
        archived: it is dead, and PostgreSQL has its dead letter, with the history too.
    """

    job_id: UUID
    queue: str
    kind: str | None
    tenant: str | None
    state: str
    since: datetime | None
    enqueued_at: datetime | None
    eligible_at: datetime | None
    blocked_by: str | None
    place: int | None
    ahead: int | None
    worker: Holder | None
    attempts: int
    recoveries: int
    crashes: int
    cause: str | None
    postpones: int
    postponed_at: datetime | None
    parked_at: datetime | None
    died_at: datetime | None
    code: str | None
    message: str | None
    history: list[dict[str, Any]]
    archived: bool = False

    @property
    def remedy(self) -> str | None:
        """What to do about the last failure."""
        known = Code.__members__.get(self.code or "")
        return None if known is None else CATALOGUE[known].remedy

    def as_dict(self) -> dict[str, Any]:
        """The job as commands and endpoints show it."""
        value = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return value | {"remedy": self.remedy}


def _plain(value: Any) -> Any:
    if isinstance(value, Holder):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def parse_view(job_id: UUID, queue: str, answer: Any) -> JobView | None:
    """The job as `locate.lua` tells it with everything around it; None where the queue does not know it."""
    (_now, _message, *record), places, around = answer
    known = dict(zip(_FIELDS, texts(record), strict=True))
    state = known["state"]
    if state is None:
        return None
    archived = state == ARCHIVED
    state = str(JobState.DEAD) if archived else state
    paused, ahead, park, next_release, *worker, held_up = around
    standing = parse_places(places)
    return JobView(
        job_id=job_id,
        queue=queue,
        kind=known["kind"],
        tenant=known["tenant"],
        state=state,
        since=instant(known["changed_at"]),
        enqueued_at=instant(known["accepted_at"]),
        eligible_at=_offered_at(park, next_release, standing) if state == JobState.PARKED else instant(known["due"]),
        blocked_by=_blocked_by(queue, state, known["blocked_by"], paused, held_up),
        place=_place(standing),
        ahead=ahead,
        worker=_holder(known["lease"] or "", worker) if state == JobState.LEASED else None,
        attempts=int(known["attempts"] or 0),
        recoveries=int(known["recoveries"] or 0),
        crashes=int(known["crashes"] or 0),
        cause=known["cause"],
        postpones=int(known["postpones"] or 0),
        postponed_at=instant(known["postponed_at"]),
        parked_at=instant(known["parked_at"]),
        died_at=instant(known["died_at"]),
        code=known["code"],
        message=known["told"],
        history=_history(known["history"]),
        archived=archived,
    )


_FIELDS = (
    *(
        "state",
        "kind",
        "tenant",
        "changed_at",
        "lease",
        "park",
        "accepted_at",
        "due",
        "attempts",
        "recoveries",
        "cause",
    ),
    *("crashes", "postpones", "postponed_at", "parked_at", "code", "told", "blocked_by", "history", "died_at"),
)


def _blocked_by(queue: str, state: str, noted: str | None, paused: bytes | None, held_up: bytes | None) -> str | None:
    # What the job waits for itself comes first: while that holds, resuming the queue would not help it.
    if noted is not None and state in {JobState.SCHEDULED, JobState.PARKED}:
        return noted
    waits = state in {JobState.READY, JobState.SCHEDULED, JobState.PARKED}
    if waits and parse_pause(paused):
        return f"paused:{queue}"
    return held_up.decode(errors="replace") if held_up and state == JobState.READY else None


def _offered_at(park: bytes | None, next_release: bytes | None, standing: list[Place]) -> datetime | None:
    """When a parked job's turn comes: by the ramp's rate, or by how many are offered to workers at a time."""
    if park is None or next_release is None or not standing:
        return None
    info = json.loads(park)
    before = standing[0].position
    if info.get("rate"):
        wait = timedelta(seconds=before / float(info["rate"]))
    else:
        wait = timedelta(milliseconds=float(info.get("offer") or 0)) * (before // JOBS_OF_AN_OFFER)
    first = instant(next_release)
    return None if first is None else first + wait


def _place(standing: list[Place]) -> int | None:
    return standing[0].position + 1 if standing else None


def _holder(lease: str, worker: list[bytes | None]) -> Holder:
    lives_until, host, pid, release, started_at = texts(worker)
    return Holder(lease.rpartition("/")[0], host, pid, release, _moment(started_at), instant(lives_until))


def _moment(text: str | None) -> str | None:
    """An instant that a worker noted: in milliseconds, or as text."""
    if text is None or not text.isdecimal():
        return text
    return instant_text(text)


def _history(text: str | None) -> list[dict[str, Any]]:
    entries = json.loads(text) if text else []
    return [entry | {"at": _moment(str(entry["at"]))} if "at" in entry else entry for entry in entries]
